"""The fake process keeps the contract of a child, as a real one does."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from dragoman.processes import Child, Command, Spawner
from dragoman.testing import FakeProcess

pytestmark = pytest.mark.anyio

Start = Callable[[], Awaitable[Child]]


@pytest.fixture(params=["fake", "real"])
def start(request: pytest.FixtureRequest, spawner: Spawner) -> Start:
    """Starts a child that ends with its input."""

    async def fake() -> Child:
        return FakeProcess(eof_code=0)

    async def real() -> Child:
        return await spawner.spawn(Command(["/bin/sh", "-c", "cat > /dev/null"], {}, Path("/")))

    return fake if request.param == "fake" else real


@pytest.mark.parametrize("end", ["eof", "SIGTERM", "SIGKILL"])
async def test_a_child_ends_once_and_says_how(start: Start, end: str) -> None:
    child = await start()
    with anyio.fail_after(60):
        assert (child.exit_code, child.lost, child.pid > 1) == (None, False, True)
        assert await child.write(b"x" * 10)
        if end == "eof":
            child.close_stdin()
        else:
            child.signal(signal.Signals[end])
        code = await child.wait()
        assert code == child.exit_code == (0 if end == "eof" else -signal.Signals[end])
        assert child.exited.is_set()
        assert (await child.read_stdout(), await child.read_stderr()) == (b"", b"")
        child.close()
        assert await child.gone()


async def test_a_closed_child_takes_and_says_nothing_more(start: Start) -> None:
    child = await start()
    with anyio.fail_after(60):
        child.close()
        assert child.exited.is_set()
        assert not await child.write(b"x")
        assert await child.read_stdout() == b""
        assert await child.gone()


async def test_a_fake_says_what_it_is_fed_and_notes_what_is_done_to_it() -> None:
    process = FakeProcess(ignores=[signal.SIGTERM])
    process.feed(b"one")
    process.feed(b"two")
    process.feed_stderr(b"oh")
    assert [await process.read_stdout(), await process.read_stdout(), await process.read_stderr()] == [
        b"one",
        b"two",
        b"oh",
    ]
    await process.write(b"ab")
    await process.write(b"cd")
    process.signal(signal.SIGTERM)
    assert process.exit_code is None
    process.exit(3, holds_output=True)
    process.exit(4)
    process.feed(b"a grandchild's")
    assert (process.written, process.exit_code, await process.read_stdout()) == (b"abcd", 3, b"a grandchild's")
    assert [what for _, what in process.log] == ["SIGTERM", "exit"]


async def test_a_fake_that_never_reads_takes_nothing_until_its_input_is_closed() -> None:
    process = FakeProcess(never_reads=True)
    with anyio.move_on_after(0) as patience:
        await process.write(b"x")
    assert patience.cancelled_caught
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(process.write, b"x")
            process.close_stdin()
    assert process.written == b""
