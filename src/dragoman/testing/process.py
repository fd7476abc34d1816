"""A process that is none: what a test feeds it, it says; what is done to it, it notes, with the time.

With a virtual clock, an hour of waiting costs milliseconds, and every wait can be checked from both sides.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Collection
from itertools import count

import anyio
import anyio.lowlevel

from dragoman.latch import Latch
from dragoman.processes import Detached

_pids = count(1_000_000_000)  # no kernel gives such pids, so nothing that looks one up finds a stranger


class FakeProcess:
    """A `dragoman.processes.Child` without a process.

    `ignores` are signals that do not end it; `term_code` is its exit code at SIGTERM, `eof_code` at the end of its
    input (None: it stays). One that `never_reads` takes nothing from its stdin. `log` has what was done to it:
    ``(seconds since it began, what)``, such as ``(0.5, "SIGTERM")``.
    """

    def __init__(
        self,
        *,
        ignores: Collection[signal.Signals] = (),
        term_code: int = -signal.SIGTERM,
        eof_code: int | None = None,
        never_reads: bool = False,
    ) -> None:
        self.pid = next(_pids)
        self.started_at = time.time()
        self.exited = Latch()
        self.lost = False
        self.written = b""
        self.log: list[tuple[float, str]] = []
        self._began = anyio.current_time()
        self._ignores = ignores
        self._term_code = term_code
        self._eof_code = eof_code
        self._never_reads = never_reads
        self._code: int | None = None
        self._stdin_closed = anyio.Event()
        self._out = _Output()
        self._err = _Output()

    def feed(self, data: bytes) -> None:
        """It writes `data` to its stdout."""
        self._out.feed(data)

    def feed_stderr(self, data: bytes) -> None:
        """It writes `data` to its stderr."""
        self._err.feed(data)

    def close_output(self) -> None:
        """It closes its stdout and stderr."""
        self._out.end()
        self._err.end()

    def exit(self, code: int, *, holds_output: bool = False) -> None:
        """It ends. `holds_output`: a grandchild keeps its streams open."""
        if self._code is None:
            self._code = code
            self._note("exit")
            self.exited.set()
            if not holds_output:
                self.close_output()

    @property
    def exit_code(self) -> int | None:
        """See `Child.exit_code`."""
        return self._code

    async def write(self, data: bytes) -> bool:
        """See `Child.write`."""
        await anyio.lowlevel.checkpoint()
        if self._never_reads:
            await self._stdin_closed.wait()
        if self._stdin_closed.is_set() or self._code is not None:
            return False
        self.written += data
        return True

    def write_at_once(self, data: bytes) -> bool:
        """See `Child.write_at_once`."""
        return False

    def close_stdin(self) -> None:
        """See `Child.close_stdin`."""
        if not self._stdin_closed.is_set():
            self._stdin_closed.set()
            self._note("eof")
            if self._eof_code is not None:
                self.exit(self._eof_code)

    async def read_stdout(self) -> bytes:
        """See `Child.read_stdout`."""
        return await self._out.read()

    async def read_stderr(self) -> bytes:
        """See `Child.read_stderr`."""
        return await self._err.read()

    async def wait(self) -> int:
        """See `Child.wait`."""
        await self.exited.wait()
        return -signal.SIGKILL if self._code is None else self._code

    async def detach(self, detached: Detached) -> bool:
        """See `Child.detach`: it cannot be."""
        return False

    def signal(self, number: signal.Signals) -> None:
        """See `Child.signal`."""
        self._note(number.name)
        if number not in self._ignores:
            self.exit(self._term_code if number == signal.SIGTERM else -number)

    def kill(self) -> None:
        """See `Child.kill`."""
        self.signal(signal.SIGKILL)

    def close(self) -> None:
        """See `Child.close`."""
        self._note("close")
        self._stdin_closed.set()
        self.close_output()
        self.exited.set()

    def leave(self) -> None:
        """See `Child.leave`: it goes on, but nothing of it is seen any more."""
        self._note("leave")
        self._stdin_closed.set()
        self.close_output()
        self.exited.set()

    async def gone(self) -> bool:
        """See `Child.gone`."""
        return self._code is not None or signal.SIGKILL not in self._ignores

    def _note(self, what: str) -> None:
        self.log.append((round(anyio.current_time() - self._began, 6), what))


class _Output:
    """One of its outputs: chunks, and an end."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._ended = False
        self._changed = anyio.Event()

    def feed(self, data: bytes) -> None:
        if not self._ended:
            self._chunks.append(data)
            self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    async def read(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        while not self._chunks and not self._ended:
            await self._changed.wait()
        return self._chunks.pop(0) if self._chunks else b""

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
