"""A process that owns a child, to be killed with or without those who watch over it."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio.abc import Process

_SCRIPT = """\
import json
import sys
from pathlib import Path

import anyio

from dragoman.processes import Command, Spawner


async def main():
    spawner = Spawner()
    child = await spawner.spawn(Command(sys.argv[2:], json.loads(sys.argv[1]), Path("/")))
    print(f"{spawner.guardian_pid} {child.shepherd_pid} {child.pid}", flush=True)
    await anyio.sleep_forever()


anyio.run(main)
"""


@dataclass(frozen=True)
class Owner:
    """A process that waits for nothing, and the pids of those it has."""

    process: Process
    guardian: int
    shepherd: int
    child: int


@asynccontextmanager
async def owner_of(env: Mapping[str, str], *argv: str) -> AsyncGenerator[Owner]:
    """A process that has started this command. Whoever leaves the block has killed it."""
    command = [sys.executable, "-c", _SCRIPT, json.dumps(env), *argv]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        yield Owner(process, *map(int, (await process.stdout.receive()).split()))
