"""What the layers around an attempt cost, with a process that is none: ``python -m benchmarks.layers FOLDER CALLS``.

Prints JSON: seconds of each call of the runner alone, through all layers, and through all with its turn kept.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import anyio

from dragoman.adapters.base import Completed
from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.engine.accounts import account_of
from dragoman.engine.call import Call
from dragoman.engine.context import Context, Route
from dragoman.engine.finding import Program, Versions
from dragoman.engine.host import DialogueHost
from dragoman.engine.run import Runner
from dragoman.processes import Child, Command, PrivateFolder, Spawner
from dragoman.schemas import LLMRequest, TimeoutConfig
from dragoman.testing import FakeAdapter, FakeProcess

NAME = "fake"
WARM_UP = 30


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
    settings = configuration.provider(NAME)
    program = Program((str(folder / "dragoman-fake"),), folder / "dragoman-fake")
    route = Route(NAME, adapter, settings, program, TimeoutConfig(), account_of(adapter.profile, settings, environ))
    times: dict[str, list[float]] = {"runner": [], "layers": [], "kept": []}

    async with anyio.create_task_group() as tasks:

        def serve(host: DialogueHost, _folder: PrivateFolder, _context: Context) -> None:
            tasks.start_soon(host.serve)

        runner = Runner(configuration, environ, (folder,), spawner, Versions(spawner), serve)

        async def alone() -> None:
            context = Context(Call(LLMRequest(prompt="hi", provider=NAME), "bench"), configuration.limits.capture_bytes)
            context.route = route
            outcome = await runner.run(context)
            assert isinstance(outcome, Completed)
            assert context.reply(outcome).text == "Paris"

        async with Engine(
            configuration,
            adapters={NAME: adapter},
            environ=environ,
            folder=folder,
            spawner=spawner,
            store_file=folder / "layers.db",
        ) as engine:

            async def whole(*, remember: bool) -> None:
                request = LLMRequest(prompt="hi", provider=NAME, remember=remember)
                reply = await engine.submit(request).outcome()
                assert reply.text == "Paris", reply.error

            for number in range(calls + WARM_UP):
                for name in times:
                    before = time.perf_counter()
                    await (alone() if name == "runner" else whole(remember=name == "kept"))
                    if number >= WARM_UP:
                        times[name].append(time.perf_counter() - before)
    return times


if __name__ == "__main__":
    os.environ["DRAGOMAN_HOME"] = str(Path(sys.argv[1]) / "layers")
    sys.stdout.write(json.dumps(anyio.run(measure, Path(sys.argv[1]), int(sys.argv[2]))))
