"""The pipes between us and a child. They are our own: the event loop's would cost a thread or two copies more."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import anyio
import anyio.lowlevel

READ_BYTES = 256 * 1024
FOLLOW_INTERVAL_S = 0.02
"""How often a followed file is looked at; no portable call waits for a file to grow."""


@dataclass(slots=True)
class Streams:
    """Our ends of a child's stdin, stdout and stderr, none of them blocking, and the child's ends until it has them."""

    stdin: int | None
    stdout: int | None
    stderr: int | None
    follows: bool
    """Whether stdout is a file that grows."""
    theirs: tuple[int, ...]
    _file_end: int | None = None

    @classmethod
    def open(cls, stdout_file: Path | None) -> Self:
        """New pipes; with `stdout_file` stdout is that file, made when missing and emptied.

        Raises:
            OSError: too many open files, or the file cannot be made.
        """
        opened: list[int] = []
        try:
            stdin, our_stdin = _pipe(opened)
            our_stderr, stderr = _pipe(opened)
            if stdout_file is None:
                our_stdout, stdout = _pipe(opened)
            else:
                stdout = os.open(stdout_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
                opened.append(stdout)
                our_stdout = os.open(stdout_file, os.O_RDONLY)
                opened.append(our_stdout)
        except OSError:
            for descriptor in opened:
                os.close(descriptor)
            raise
        for descriptor in (our_stdin, our_stdout, our_stderr):
            os.set_blocking(descriptor, False)
        return cls(our_stdin, our_stdout, our_stderr, stdout_file is not None, (stdin, stdout, stderr))

    async def write(self, data: bytes) -> bool:
        """Write all of `data`. False when nobody reads it."""
        view = memoryview(data)
        while view and self.stdin is not None:
            try:
                view = view[os.write(self.stdin, view) :]
            except BlockingIOError:
                try:
                    await anyio.wait_writable(self.stdin)
                except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
                    return False
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.EBADF):
                    raise
                return False
        return not view

    async def read_stdout(self, exited: anyio.Event) -> bytes:
        """What came since the last time; ``b""`` at the end. A file ends where it ended when its writer `exited`."""
        if not self.follows:
            return await _read(self.stdout)
        while self.stdout is not None:
            await anyio.lowlevel.checkpoint()
            if exited.is_set() and self._file_end is None:
                # Something that its writer left behind may go on writing for ever.
                self._file_end = os.fstat(self.stdout).st_size
            room = READ_BYTES if self._file_end is None else self._file_end - os.lseek(self.stdout, 0, os.SEEK_CUR)
            if chunk := os.read(self.stdout, max(min(room, READ_BYTES), 0)):
                return chunk
            if self._file_end is not None:
                break
            with anyio.move_on_after(FOLLOW_INTERVAL_S):
                await exited.wait()
        return b""

    async def read_stderr(self) -> bytes:
        """What came since the last time; ``b""`` at the end."""
        return await _read(self.stderr)

    def give_away(self) -> None:
        """Close the child's ends: it has them now, or will never be."""
        theirs, self.theirs = self.theirs, ()
        for descriptor in theirs:
            os.close(descriptor)

    def close_stdin(self) -> None:
        """End the child's input."""
        self.stdin = _shut(self.stdin)

    def close(self) -> None:
        """Close every end we have. Whoever reads or writes gets the end of the stream."""
        self.give_away()
        self.stdin = _shut(self.stdin)
        self.stdout = _shut(self.stdout)
        self.stderr = _shut(self.stderr)


def _pipe(opened: list[int]) -> tuple[int, int]:
    ends = os.pipe()
    opened += ends
    return ends


async def _read(descriptor: int | None) -> bytes:
    while descriptor is not None:
        # A child that always has more to say must not keep every other task, and a cancellation, waiting.
        await anyio.lowlevel.checkpoint()
        try:
            return os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            try:
                await anyio.wait_readable(descriptor)
            except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                break
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            break
    return b""


def _shut(descriptor: int | None) -> None:
    if descriptor is not None:
        with contextlib.suppress(Exception):  # outside an event loop nobody can be waiting for it
            anyio.notify_closing(descriptor)
        os.close(descriptor)
