"""An engine whose children are no processes and whose time is virtual: an hour of waiting costs milliseconds."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman.config import Configuration
from dragoman.engine import Call, Engine, record
from dragoman.processes import Child, Command, Spawner
from dragoman.schemas import LLMRequest, LLMResponse
from dragoman.testing import FakeAdapter, FakeProcess

HOUR = 3600.0


class FakeSpawner(Spawner):
    """Gives out a new `FakeProcess` each time, made by `make`; or never comes to an end."""

    def __init__(self, make: Callable[[], FakeProcess] = FakeProcess, *, hangs: bool = False) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self._make = make
        self._hangs = hangs
        self._spawned = anyio.Event()

    async def spawn(self, command: Command) -> Child:
        if self._hangs:
            await anyio.sleep_forever()
        process = self._make()
        self.processes.append(process)
        spawned, self._spawned = self._spawned, anyio.Event()
        spawned.set()
        return process

    async def process(self, number: int = 0) -> FakeProcess:
        """The process of this number, once it is there."""
        while len(self.processes) <= number:
            await self._spawned.wait()
        return self.processes[number]


@asynccontextmanager
async def engine(
    folder: Path, spawner: Spawner, *adapters: FakeAdapter, configuration: dict[str, Any] | None = None
) -> AsyncGenerator[Engine]:
    """An engine of the fake provider, whose program is there but never run. It tries once unless told otherwise."""
    (folder / "dragoman-fake").touch(mode=0o700)
    async with Engine(
        Configuration.model_validate({"retry": {"max_attempts": 1}, **(configuration or {})}),
        adapters={adapter.profile.name: adapter for adapter in adapters or (FakeAdapter(),)},
        environ={"PATH": str(folder), "HOME": str(folder)},
        folder=folder,
        spawner=spawner,
        clock=anyio.current_time,
    ) as running:
        # The store is opened in a thread, for which virtual time does not wait.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(record, "OPEN_S", math.inf)
            await running.jobs.listed()
        yield running


def request(**timeouts: float) -> LLMRequest:
    """A question to the fake provider with these clocks, the others so long that they tell nothing.

    Nothing of it is kept: virtual time does not wait for the thread that writes.
    """
    never = dict.fromkeys(("queue", "spawn", "startup", "idle", "attempt", "call"), 1000 * HOUR)
    return LLMRequest.model_validate(
        {"prompt": "hi", "provider": "fake", "remember": False, "timeouts": {**never, **timeouts}}
    )


async def timed(call: Call) -> tuple[LLMResponse, float]:
    """A reply, and the seconds until it came."""
    before = anyio.current_time()
    reply = await call.outcome()
    return reply, round(anyio.current_time() - before, 6)


def line(**members: object) -> bytes:
    """A line of the fake CLI's protocol."""
    return json.dumps(members).encode() + b"\n"
