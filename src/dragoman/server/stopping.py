"""Why a server ends: its transport did, or a signal came. Ending is bounded, whatever is left to do."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager

import anyio

from dragoman.engine import Engine


class ServerStopped(Exception):  # noqa: N818 - not a fault
    """Raised inside an engine to leave it at once: nobody waits for an answer any more."""


class Stop:
    """Set `wanted` to stop. A signal sets both events, and ends a process that still runs `leave_s` later."""

    def __init__(self, engine: Engine, leave_s: float) -> None:
        self.wanted = anyio.Event()
        self.signalled = anyio.Event()
        self._signal: int | None = None
        self._engine = engine
        self._leave_s = leave_s

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        return 0 if self._signal is None else 128 + self._signal

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
        self.wanted.set()
        self.signalled.set()
        last = threading.Timer(self._leave_s, self._end)
        last.daemon = True
        last.start()

    def _end(self) -> None:
        self._engine.kill()
        os._exit(self.exit_code)
