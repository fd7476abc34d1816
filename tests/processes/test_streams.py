"""Our ends of the pipes."""

import errno
import fcntl
import os
import sys

import anyio
import pytest

from dragoman.latch import Latch
from dragoman.processes import streams as streams_module
from dragoman.processes.streams import PIPE_BYTES, READ_BYTES, PipeEnd

pytestmark = pytest.mark.anyio
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a pipe be made larger")


def room(pipe: int) -> int:
    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)


async def read(end: PipeEnd) -> bytes:
    with anyio.fail_after(60):
        return await end.read(Latch())


@linux
async def test_a_pipe_that_is_found_full_is_made_larger_and_another_one_is_not() -> None:
    ours, theirs = os.pipe()
    end = PipeEnd(ours)
    try:
        os.write(theirs, b"x" * (PIPE_BYTES - 1))
        assert len(await read(end)) == PIPE_BYTES - 1
        assert room(theirs) == PIPE_BYTES
        os.write(theirs, b"x" * PIPE_BYTES)
        assert len(await read(end)) == PIPE_BYTES
        assert room(theirs) == READ_BYTES
        os.write(theirs, b"y" * READ_BYTES)
        assert await read(end) == b"y" * READ_BYTES
    finally:
        end.close()
        os.close(theirs)


@linux
async def test_what_is_in_a_full_pipe_is_read_though_the_system_makes_no_pipe_larger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EPERM, "too many large pipes")

    ours, theirs = os.pipe()
    end = PipeEnd(ours)
    try:
        monkeypatch.setattr(streams_module.fcntl, "fcntl", refuse)
        for letter in (b"a", b"b"):
            os.write(theirs, letter * PIPE_BYTES)
            assert await read(end) == letter * PIPE_BYTES
    finally:
        end.close()
        os.close(theirs)
