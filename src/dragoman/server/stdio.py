"""Serving one client over stdin and stdout, and leaving at once when it goes or a signal comes.

The SDK reads stdin in a thread that nothing can cancel, so the server runs as a task beside the engine: the engine is
closed first, which stops every child, and after a signal the process then ends without that thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import anyio

from dragoman.adapters.base import Adapter
from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.log import logger, setup_logging
from dragoman.server.server import DragomanServer

LEAVE_S = 0.25
"""After so long the process ends whatever is left to do. Claude Code kills a server 0.3 s after it told it to stop."""
FLUSH_S = 2.0
"""How long a client that closed stdin may take to read what it was sent before."""


def run(configuration: Configuration, transport: Literal["stdio"] = "stdio") -> None:
    """Serve until the client closes stdin. After a signal to stop, the process ends in here with 128 + its number.

    Raises:
        ValueError: the transport is not one that there is.
    """
    if transport != "stdio":
        raise ValueError(f"the transport {transport!r} is not available; use 'stdio'")
    log = configuration.log
    # Before the SDK does it in its own way.
    setup_logging(log.level, json=log.as_json, file=log.file)
    anyio.run(serve_stdio, configuration)


async def serve_stdio(
    configuration: Configuration,
    *,
    adapters: Mapping[str, Adapter] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    store_file: Path | None = None,
) -> None:
    """What `run` does, inside an event loop of asyncio. The arguments are those of `Engine`."""
    engine = Engine(configuration, adapters=adapters, environ=environ, folder=folder, store_file=store_file)
    stop = _Stop(engine)
    with stop.on_signals():
        async with anyio.create_task_group() as tasks:
            with suppress(_ClientGone):
                async with engine:
                    tasks.start_soon(stop.after, DragomanServer(engine, disconnected=stop.wanted.set))
                    await stop.wanted.wait()
                    # Nobody waits for an answer any more: left with an error, the engine is patient with no child.
                    raise _ClientGone
            await stop.leave()


class _ClientGone(Exception):  # noqa: N818 - not a fault
    """The client closed stdin, or asked this process to stop."""


class _Stop:
    """Why serving ends: the server did, or a signal came."""

    def __init__(self, engine: Engine) -> None:
        self.wanted = anyio.Event()
        self._engine = engine
        self._serving = anyio.CancelScope()
        self._served = anyio.Event()
        self._signal: int | None = None

    async def after(self, server: DragomanServer) -> None:
        """Serve; when that ends, it is time to stop."""
        try:
            with self._serving:
                await server.run_stdio_async()
        except* BrokenPipeError:
            logger.debug("the client went away while it was told something")
        self.wanted.set()
        self._served.set()

    async def leave(self) -> None:
        """Return when stdin and stdout are let go of; end the process when they are not, or a signal asked for it."""
        if self._signal is None:
            with anyio.move_on_after(FLUSH_S):
                await self._served.wait()
                return
        os._exit(0 if self._signal is None else 128 + self._signal)

    @contextmanager
    def on_signals(self) -> Generator[None]:
        """While inside, a signal to stop reaches every child at once and sets `wanted`."""
        loop = asyncio.get_running_loop()
        # Shells ignore SIGINT for what they start in the background, and a client's would be lost; nohup's is meant.
        heard = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            heard.append(signal.SIGHUP)
        for number in heard:
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number in heard:
                loop.remove_signal_handler(number)

    def _stop(self, number: int) -> None:
        if self._signal is not None:
            return
        self._signal = number
        self._engine.terminate()
        self._serving.cancel()
        self.wanted.set()
        last = threading.Timer(LEAVE_S, self._end, (number,))
        last.daemon = True
        last.start()

    def _end(self, number: int) -> None:
        self._engine.kill()
        os._exit(128 + number)
