"""What the layers around an attempt cost, with a process that is none: ``python -m benchmarks.layers FOLDER CALLS``.

Prints JSON: seconds of each call through an engine without limits, breakers and retries; through all layers; and
through all of them with its turn kept.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import anyio

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.engine.context import Handler
from dragoman.engine.layers.breakers import Breakers
from dragoman.engine.layers.places import Machine
from dragoman.processes import Child, Command, Spawner
from dragoman.schemas import LLMRequest
from dragoman.testing import FakeAdapter, FakeProcess

NAME = "fake"
WARM_UP = 30


class Bare(Engine):
    """An engine that knows who answers, and tries once."""

    def resilient(self, way: Handler, machine: Machine, breakers: Breakers) -> Handler:  # noqa: ARG002 - it has none of them
        """See `Engine.resilient`."""
        return self.providers.route_layer(way)


class AnsweringProcess(FakeProcess):
    """It answers when its input ends, and ends."""

    def close_stdin(self) -> None:
        """See `Child.close_stdin`."""
        self.feed(b'{"text": "Paris"}\n{"done": {}}\n')
        super().close_stdin()
        self.exit(0)


class AnsweringSpawner(Spawner):
    """Gives out processes that answer."""

    async def spawn(self, command: Command) -> Child:  # noqa: ARG002 - whatever it is
        """See `Spawner.spawn`."""
        return AnsweringProcess()


async def measure(folder: Path, calls: int) -> dict[str, list[float]]:
    """Each way in turn, so that what else the machine does falls on all alike."""
    (folder / "dragoman-fake").touch(mode=0o700)
    configuration = Configuration.model_validate({"providers": {NAME: {"command": [str(folder / "dragoman-fake")]}}})
    environ = {"PATH": str(folder), "HOME": str(folder)}
    spawner, adapter = AnsweringSpawner(), FakeAdapter(NAME)
    times: dict[str, list[float]] = {"bare": [], "layers": [], "kept": []}

    async with AsyncExitStack() as stack:

        async def opened(kind: type[Engine]) -> Engine:
            return await stack.enter_async_context(
                kind(
                    configuration,
                    adapters={NAME: adapter},
                    environ=environ,
                    folder=folder,
                    spawner=spawner,
                    store_file=folder / f"{kind.__name__}.db",
                )
            )

        bare, engine = await opened(Bare), await opened(Engine)
        for number in range(calls + WARM_UP):
            for name in times:
                request = LLMRequest(prompt="hi", provider=NAME, remember=name == "kept")
                before = time.perf_counter()
                reply = await (bare if name == "bare" else engine).submit(request).outcome()
                if number >= WARM_UP:
                    times[name].append(time.perf_counter() - before)
                assert reply.text == "Paris", reply.error
    return times


if __name__ == "__main__":
    os.environ["DRAGOMAN_HOME"] = str(Path(sys.argv[1]) / "layers")
    sys.stdout.write(json.dumps(anyio.run(measure, Path(sys.argv[1]), int(sys.argv[2]))))
