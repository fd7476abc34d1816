"""The pipes and files between us and a child. The pipes are our own: the event loop's would cost a thread or two copies
more.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import anyio
import anyio.lowlevel

from dragoman.latch import Latch
from dragoman.processes import wire
from dragoman.processes.child import Detached

READ_BYTES = 256 * 1024
PIPE_BYTES = 64 * 1024
"""What a pipe holds, unless it was made larger."""
KEPT_BYTES = 4 * 1024 * 1024
"""How much of each pipe is kept for the case that a file is to go on with it. Past that it is let go: a child that said
so much before anybody lost patience ends with its server."""
FOLLOW_INTERVAL_S = 0.02
"""How often a followed file is looked at; no portable call waits for a file to grow."""
NEW = os.O_CREAT | os.O_EXCL
PLACEHOLDER = b" " * 256
"""Holds a place on the disk for what a shepherd writes: longer than that ever is."""


class GrowingFile:
    """A file that a child writes, read from its beginning while it grows."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._end: int | None = None

    def skip(self, size: int) -> None:
        """Leave out so much of its beginning."""
        if self._descriptor is not None:
            os.lseek(self._descriptor, size, os.SEEK_SET)

    async def read(self, exited: Latch) -> bytes:
        """What came since the last time; ``b""`` at the end. It ends where it ended when its writer `exited`."""
        while True:
            await anyio.lowlevel.checkpoint()
            if self._descriptor is None:
                return b""
            if exited.is_set() and self._end is None:
                # Something that its writer left behind may go on writing for ever.
                self._end = os.fstat(self._descriptor).st_size
            room = READ_BYTES if self._end is None else self._end - os.lseek(self._descriptor, 0, os.SEEK_CUR)
            if chunk := os.read(self._descriptor, max(min(room, READ_BYTES), 0)):
                return chunk
            if self._end is not None:
                return b""
            with anyio.move_on_after(FOLLOW_INTERVAL_S):
                await exited.wait()

    def close(self) -> None:
        """Close it. Whoever reads gets the end."""
        self._descriptor = _shut(self._descriptor, is_awaited=False)


class PipeEnd:
    """Our end of a pipe that a child writes into. One that is found full is made larger: each read costs some time."""

    def __init__(self, descriptor: int, *, keeps: bool = False) -> None:
        self._descriptor: int | None = descriptor
        self._waited = True
        self._is_waiting = False
        self._is_large = False
        self._goes_on: anyio.Event | None = None
        self.kept = bytearray() if keeps else None
        """All that was read; None: it was not to be kept, or became too much."""
        os.set_blocking(descriptor, False)

    async def read(self, _exited: Latch) -> bytes:
        """What came since the last time; ``b""`` at the end."""
        if not self._waited:
            # A child that always has more to say must not keep every other task, and a cancellation, waiting.
            await anyio.lowlevel.checkpoint()
        self._waited = False
        while self._descriptor is not None:
            if self._goes_on is not None:
                await self._goes_on.wait()
                continue
            try:
                chunk = os.read(self._descriptor, READ_BYTES)
            except BlockingIOError:
                self._waited = self._is_waiting = True
                try:
                    await anyio.wait_readable(self._descriptor)
                except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                    break
                finally:
                    self._is_waiting = False
            else:
                if self.kept is not None:
                    self.kept += chunk
                    if len(self.kept) > KEPT_BYTES:
                        self.kept = None
                if len(chunk) >= PIPE_BYTES and not self._is_large:
                    self._is_large = True
                    _enlarge(self._descriptor)
                return chunk
        return b""

    def hold(self) -> int:
        """Read no more until `go_on`; its descriptor, for somebody else to read. It is open."""
        assert self._descriptor is not None  # noqa: S101 - see above
        self._goes_on = anyio.Event()
        return self._descriptor

    def go_on(self) -> None:
        """Nobody else reads it: whoever reads here goes on."""
        if self._goes_on is not None:
            self._goes_on.set()
            self._goes_on = None

    def close(self) -> None:
        """Close it. Whoever reads gets the end."""
        self._descriptor = _shut(self._descriptor, is_awaited=self._is_waiting)
        self.go_on()


@dataclass(slots=True, weakref_slot=True, eq=False)
class Streams:
    """Our ends of a child's stdin, stdout and stderr, none of them blocking, and what the child is to have."""

    stdin: int | None
    stdout: GrowingFile | PipeEnd
    stderr: GrowingFile | PipeEnd
    theirs: tuple[int, ...]
    """Its ends of them, and the claim to a detached child, until it has them."""
    files: Sequence[GrowingFile] = ()
    """What stdout and stderr go on in, as soon as somebody else reads the pipes."""
    is_full: bool = False
    """Whether a task waits for stdin to be read."""

    @classmethod
    def open(cls, stdout_file: Path | None, *, keeps: bool = False) -> Self:
        """New pipes; with `stdout_file` stdout is that file, made when missing and emptied. `keeps`: see `to_files`.

        Raises:
            OSError: too many open files, or the file cannot be made.
        """
        with _closed_on_failure() as opened:
            stdin, our_stdin = _pipe(opened)
            our_stderr, stderr = _pipe(opened)
            os.set_blocking(our_stdin, False)
            if stdout_file is None:
                our_stdout, stdout = _pipe(opened)
                ends = PipeEnd(our_stdout, keeps=keeps), PipeEnd(our_stderr, keeps=keeps)
                return cls(our_stdin, *ends, (stdin, stdout, stderr))
            stdout = _open(opened, stdout_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
            our_stdout = _open(opened, stdout_file, os.O_RDONLY)
            return cls(our_stdin, GrowingFile(our_stdout), PipeEnd(our_stderr), (stdin, stdout, stderr))

    @classmethod
    def detached(cls, detached: Detached) -> Self:
        """Files in its folder, of which there are none yet.

        Raises:
            OSError: they cannot be made: the folder is missing or has them already, the disk is full.
        """
        folder = detached.folder
        with _closed_on_failure() as opened:
            claim = _open(opened, folder / wire.CLAIM, os.O_RDWR | NEW)
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(claim, PLACEHOLDER)
            _write_new(folder / wire.EXIT_TO_BE, PLACEHOLDER)
            _write_new(folder / "stdin", detached.stdin)
            stdin = _open(opened, folder / "stdin", os.O_RDONLY)
            stdout = _open(opened, folder / "stdout", os.O_WRONLY | os.O_APPEND | NEW)
            stderr = _open(opened, folder / "stderr", os.O_WRONLY | os.O_APPEND | NEW)
            our_stdout = _open(opened, folder / "stdout", os.O_RDONLY)
            our_stderr = _open(opened, folder / "stderr", os.O_RDONLY)
            return cls(None, GrowingFile(our_stdout), GrowingFile(our_stderr), (stdin, stdout, stderr, claim))

    def rewind(self) -> None:
        """Before a detached child is started, maybe once more: to the beginning of its input, with no output yet."""
        match self.theirs:
            case (stdin, stdout, stderr, _):
                os.lseek(stdin, 0, os.SEEK_SET)
                os.ftruncate(stdout, 0)
                os.ftruncate(stderr, 0)
            case _:
                pass

    def to_files(self, detached: Detached) -> Sequence[int] | None:
        """Stop reading the pipes, and begin the files of a detached child with what was read.

        What a shepherd needs to go on there: the pipes, the files and the claim. None: not all is kept, or there are no
        pipes any more; then nothing was done. Afterwards one of `are_files` and `are_pipes` is to be said.

        Raises:
            OSError: there is no room, or the folder is missing or has such files; nothing was done.
        """
        pipes = [pipe for pipe in (self.stdout, self.stderr) if isinstance(pipe, PipeEnd) and pipe.kept is not None]
        if len(pipes) < 2:
            return None
        made = self.detached(detached)
        files = [file for file in (made.stdout, made.stderr) if isinstance(file, GrowingFile)]
        stdin, *written, claim = made.theirs
        os.close(stdin)
        made.theirs = (*written, claim)
        try:
            for pipe, descriptor, file in zip(pipes, written, files, strict=True):
                _write_all(descriptor, pipe.kept or b"")
                file.skip(len(pipe.kept or b""))
        except OSError:
            made.close()
            raise
        self.theirs, self.files = made.theirs, files
        return [*(pipe.hold() for pipe in pipes), *written, claim]

    def are_files(self) -> None:
        """A shepherd reads the pipes."""
        if self.files:
            pipes = self.stdout, self.stderr
            (self.stdout, self.stderr), self.files = self.files, ()
            self.give_away()
            for pipe in pipes:
                pipe.close()

    def are_pipes(self) -> None:
        """No shepherd reads the pipes, nor ever will."""
        if self.files:
            files, self.files = self.files, ()
            self.give_away()
            for file in files:
                file.close()
            for pipe in (self.stdout, self.stderr):
                if isinstance(pipe, PipeEnd):
                    pipe.go_on()

    async def read(self, stream: Literal["stdout", "stderr"], exited: Latch) -> bytes:
        """What came since the last time, from wherever it comes by now; ``b""`` at the end."""
        while True:
            source: GrowingFile | PipeEnd = getattr(self, stream)
            chunk = await source.read(exited)
            if chunk or source is getattr(self, stream):
                return chunk

    async def write(self, data: bytes) -> bool:
        """Write all of `data`. False when nobody reads it."""
        view = memoryview(data)
        while view and self.stdin is not None:
            try:
                view = view[os.write(self.stdin, view) :]
            except BlockingIOError:
                self.is_full = True
                try:
                    await anyio.wait_writable(self.stdin)
                except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
                    return False
                finally:
                    self.is_full = False
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.EBADF):
                    raise
                return False
        return not view

    def write_at_once(self, data: bytes) -> bool:
        """See `Child.write_at_once`."""
        if self.stdin is None or len(data) > select.PIPE_BUF:
            return False
        try:
            # So little goes whole or not at all.
            os.write(self.stdin, data)
        except OSError:
            return False
        return True

    def give_away(self) -> None:
        """Close the child's ends: it has them now, or will never be."""
        theirs, self.theirs = self.theirs, ()
        for descriptor in theirs:
            os.close(descriptor)

    def close_stdin(self) -> None:
        """End the child's input."""
        self.stdin = _shut(self.stdin, is_awaited=self.is_full)

    def close(self) -> None:
        """Close every end we have. Whoever reads or writes gets the end of the stream."""
        self.give_away()
        self.stdin = _shut(self.stdin, is_awaited=self.is_full)
        for end in (self.stdout, self.stderr, *self.files):
            end.close()
        self.files = ()


def _pipe(opened: list[int]) -> tuple[int, int]:
    ends = os.pipe()
    opened += ends
    return ends


def _enlarge(pipe: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # the user has too many large pipes, or the system has none
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, READ_BYTES)


def _open(opened: list[int], file: Path, flags: int) -> int:
    descriptor = os.open(file, flags, 0o600)
    opened.append(descriptor)
    return descriptor


def _write_all(descriptor: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _write_new(file: Path, data: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | NEW, 0o600), "wb") as new:
        new.write(data)


@contextlib.contextmanager
def _closed_on_failure() -> Generator[list[int]]:
    opened: list[int] = []
    try:
        yield opened
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        raise


def _shut(descriptor: int | None, *, is_awaited: bool) -> None:
    if descriptor is not None:
        if is_awaited:
            with contextlib.suppress(Exception):  # outside an event loop nobody can be waiting for it
                anyio.notify_closing(descriptor)
        os.close(descriptor)
