"""Serving one client over stdin and stdout, and leaving at once when it goes or a signal comes.

A client that does not read what it is told holds a thread that nothing can cancel, and so does stdin on Windows. So the
server runs as a task beside the engine: the engine is closed first, which stops every child, and after a signal the
process then ends without that thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import cast

import anyio
from anyio.abc import TaskGroup
from mcp.server import MCPServer

from dragoman.adapters.base import Adapter
from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.log import logger
from dragoman.server.departures import Departure
from dragoman.server.pipes import LinesIn, claimed
from dragoman.server.server import DragomanServer
from dragoman.server.stopping import ServerStopped, Stop

LEAVE_S = 0.25
"""After so long the process ends whatever is left to do. Claude Code kills a server 0.3 s after it told it to stop."""
GONE_S = 0.25
"""How long requests may take to end after a client closed stdin: one that waits for the disk does not let itself be
cancelled. Then their engine is closed all the same, and with it the store that they wait for."""
FLUSH_S = 2.0
"""How long a client that closed stdin may take to read what it was sent before."""


async def serve_stdio(
    configuration: Configuration,
    *,
    adapters: Mapping[str, Adapter] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    store_file: Path | None = None,
) -> None:
    """Serve until the client closes stdin; after a signal to stop, the process ends in here with 128 + its number.

    Runs inside an event loop of asyncio. The arguments are those of `Engine`.
    """
    engine = Engine(configuration, adapters=adapters, environ=environ, folder=folder, store_file=store_file)
    stop = Stop(engine, LEAVE_S)
    connection = _Connection(stop)
    with stop.on_signals():
        async with anyio.create_task_group() as tasks:
            with suppress(ServerStopped):
                async with engine:
                    tasks.start_soon(connection.serve, DragomanServer(engine, connection.lifespan))
                    await stop.wanted.wait()
                    raise ServerStopped
            await connection.leave()


class _Connection:
    """The one client. When it leaves, it is time to stop."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._served = anyio.Event()

    @asynccontextmanager
    async def lifespan(self, _: MCPServer[Departure | None]) -> AsyncGenerator[None]:
        """As long as stdin is open."""
        try:
            # The SDK points fd 1 at stderr while it serves, but what print() leaves in a buffer would reach the wire
            # when the process ends.
            with redirect_stdout(sys.stderr):
                yield
        finally:
            self._stop.wanted.set()

    async def serve(self, server: DragomanServer) -> None:
        """Serve until stdin and stdout are let go of, or a signal comes."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._end_on_signal, tasks.cancel_scope)
                tasks.start_soon(server.watch)
                await self._serve(server, tasks)
                tasks.cancel_scope.cancel()
        except* BrokenPipeError:
            logger.debug("the client went away while it was told something")
        self._stop.wanted.set()
        self._served.set()

    async def leave(self) -> None:
        """Return when stdin and stdout are let go of; end the process when they are not, or a signal asked for it."""
        if not self._stop.signalled.is_set():
            with anyio.move_on_after(FLUSH_S):
                await self._served.wait()
                return
        os._exit(self._stop.exit_code)

    async def _serve(self, server: DragomanServer, tasks: TaskGroup) -> None:
        if sys.platform == "win32":
            await server.run_lines()
            return
        with claimed() as (stdin, stdout):
            tasks.start_soon(self._end_with, stdin)
            # The SDK asks of its files only what ours can.
            await server.run_lines(*cast("tuple[anyio.AsyncFile[str], anyio.AsyncFile[str]]", (stdin, stdout)))

    async def _end_with(self, stdin: LinesIn) -> None:
        await stdin.ended.wait()
        await anyio.sleep(GONE_S)
        self._stop.wanted.set()

    async def _end_on_signal(self, serving: anyio.CancelScope) -> None:
        await self._stop.signalled.wait()
        serving.cancel()
