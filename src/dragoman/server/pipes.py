"""Stdin and stdout as the SDK's transport reads and writes them, without a thread for every line.

The SDK's own streams hand each read, write and flush to a thread, which costs a short call a tenth of its time, and
reading in a thread cannot be cancelled. Here a line is read when there is something to read, and written at once when
it certainly fits; only what may have to wait for the client is written in a thread.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

import anyio
import anyio.lowlevel
import anyio.to_thread

from dragoman.latch import Latch
from dragoman.schemas.text import readable

READ_BYTES = 1 << 16
FITS = 4096
"""So much can be written to a pipe or socket that says it is writable without waiting for the reader (``PIPE_BUF``)."""


class LinesIn:
    """The lines of a descriptor, as text."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._can_wait = True
        self.ended = Latch()
        """Set when the client has closed it."""

    async def __aiter__(self) -> AsyncIterator[str]:
        begun: list[bytes] = []
        while chunk := await self._read():
            *ended, rest = chunk.split(b"\n")
            for piece in ended:
                begun.append(piece)
                yield _joined(begun)
            if rest:
                begun.append(rest)
        self.ended.set()
        if begun:
            yield _joined(begun)

    async def _read(self) -> bytes:
        while True:
            if self._can_wait:
                try:
                    await anyio.wait_readable(self._descriptor)
                except PermissionError:
                    # A file, or the null device: always readable, and nothing epoll would wait for.
                    self._can_wait = False
            else:
                await anyio.lowlevel.checkpoint()
            try:
                return os.read(self._descriptor, READ_BYTES)
            except BlockingIOError:
                continue


def _joined(pieces: list[bytes]) -> str:
    """A line. The pieces are let go of first: one of megabytes is not to be held thrice."""
    line = b"".join(pieces)
    pieces.clear()
    return readable(line.decode(errors="replace"))


class LinesOut:
    """Writes text to a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._writable = select.poll()
        self._writable.register(descriptor, select.POLLOUT)

    async def write(self, text: str) -> None:
        """Write all of it.

        Raises:
            BrokenPipeError: the client is gone.
        """
        data = memoryview(text.encode())
        if len(data) <= FITS and self._writable.poll(0):
            data = data[os.write(self._descriptor, data) :]
        if data:
            await anyio.to_thread.run_sync(self._write_all, data)

    async def flush(self) -> None:
        """Nothing is held back."""

    def _write_all(self, data: memoryview) -> None:
        while data:
            self._writable.poll()
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                continue


@contextmanager
def claimed() -> Generator[tuple[LinesIn, LinesOut]]:
    """The streams, which inside are nobody else's: fd 0 is the null device, and fd 1 is stderr, so that what a stray
    ``print`` or child writes does not get between the messages."""
    import fcntl

    private = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3) for number in (0, 1)]
    null = os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(null, 0)
        try:
            os.dup2(2, 1)
        except OSError:
            os.dup2(null, 1)  # there is no stderr
    finally:
        os.close(null)
    try:
        yield LinesIn(private[0]), LinesOut(private[1])
    finally:
        sys.stdout.flush()
        for number, descriptor in enumerate(private):
            # The copies stay open: a thread may still write to one, and must not meet another file under its number.
            os.dup2(descriptor, number)
