"""Stdin and stdout of the stdio transport."""

import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from dragoman.server.pipes import FITS, LinesIn, LinesOut
from tests.server.conftest import WHEN_IT_MATTERS

pytestmark = pytest.mark.anyio


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue  # the test closed it


async def lines_of(descriptor: int) -> list[str]:
    with anyio.fail_after(WHEN_IT_MATTERS):
        return [line async for line in LinesIn(descriptor)]


async def test_lines_are_whole_however_they_are_cut(pipe: tuple[int, int]) -> None:
    said = "one\r\nzwölf 🎈\n\nlast without an end".encode()
    heard: list[str] = []

    async def hear() -> None:
        heard.extend(await lines_of(pipe[0]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hear)
        for byte in said:
            os.write(pipe[1], bytes([byte]))
            await anyio.wait_all_tasks_blocked()
        os.close(pipe[1])
    assert heard == ["one\r", "zwölf 🎈", "", "last without an end"]


async def test_what_is_no_text_is_a_line_all_the_same(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"\xff\xfe\n")
    os.close(pipe[1])
    assert await lines_of(pipe[0]) == ["��"]


async def test_a_line_of_megabytes_arrives_whole(pipe: tuple[int, int]) -> None:
    said = b"x" * 3_000_000 + b"\nnext\n"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, _write_and_close, pipe[1], said)
        assert [len(line) for line in await lines_of(pipe[0])] == [3_000_000, 4]


def _write_and_close(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


async def test_a_file_and_the_null_device_are_read_to_their_end(tmp_path: Path) -> None:
    file = tmp_path / "messages"
    file.write_text("one\ntwo\n")
    for path, lines in ((file, ["one", "two"]), (Path(os.devnull), [])):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            assert await lines_of(descriptor) == lines
        finally:
            os.close(descriptor)


async def test_reading_can_be_cancelled(pipe: tuple[int, int]) -> None:
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lines_of, pipe[0])
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()


async def test_a_reader_that_is_slow_holds_up_nobody_else(pipe: tuple[int, int]) -> None:
    out = LinesOut(pipe[1])
    messages = ["a" * (FITS - 1) + "\n", "b" * 1_000_000 + "\n", "c\n"]
    read = bytearray()
    ticks = 0

    async def write() -> None:
        for message in messages:
            await out.write(message)
        os.close(pipe[1])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        while ticks < 100:
            # Nothing was read yet and the second message fits into no pipe, but the loop turns.
            await anyio.lowlevel.checkpoint()
            ticks += 1
        with anyio.fail_after(WHEN_IT_MATTERS):
            while chunk := await anyio.to_thread.run_sync(os.read, pipe[0], 1 << 16):
                read += chunk
    assert read.decode() == "".join(messages)


@pytest.mark.parametrize("length", [1, FITS * 100])
async def test_a_reader_that_is_gone_is_noticed(pipe: tuple[int, int], length: int) -> None:
    os.close(pipe[0])
    with pytest.raises(BrokenPipeError):
        await LinesOut(pipe[1]).write("x" * length)


async def test_a_stream_that_does_not_block_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    text = "x" * 500_000
    read = bytearray()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(LinesOut(pipe[1]).write, text)
        with anyio.fail_after(WHEN_IT_MATTERS):
            while len(read) < len(text):
                read += await anyio.to_thread.run_sync(os.read, pipe[0], 1 << 16)
    assert read.decode() == text
