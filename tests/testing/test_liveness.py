"""Life and death of a test's processes, seen by the kernel's word."""

import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from dragoman.processes import Child, Command, Spawner
from dragoman.testing import FakeCli, Liveness
from dragoman.testing.fakes import Step

PROC = Path("/proc")

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


async def start(spawner: Spawner, folder: Path, *steps: Step) -> Child:
    return await spawner.spawn(Command([str(FakeCli(folder).script(*steps))], {"MARK": "1"}, folder))


async def test_a_gate_holds_output_back_until_it_is_opened(spawner: Spawner, tmp_path: Path) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live:
            child = await start(
                spawner,
                tmp_path,
                {"out": "a"},
                live.connect(),
                {"wait": "gate"},
                {"out": "b"},
                {"wait": live.port},
                {"out": "c"},
            )
            for expected in (b"a", b"b", b"c"):
                assert await child.read_stdout() == expected
                await live.connected()
                if expected != b"c":
                    await live.release("cli")
            await live.all_gone()
            child.close()


async def test_a_killed_process_is_seen_to_be_gone(spawner: Spawner, tmp_path: Path) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live:
            child = await start(spawner, tmp_path, live.connect(), {"sleep": 100})
            [peer] = await live.connected()
            assert (peer.pid, peer.name) == (child.pid, "cli")
            with pytest.raises(TimeoutError, match=rf"still alive after 0.01 s: cli \(pid {child.pid}\)"):
                await live.all_gone(0.01)
            child.close()
            await live.all_gone()
            assert live.alive == []


async def test_who_does_not_connect_is_missed_by_number(tmp_path: Path) -> None:
    async with Liveness() as live:
        with pytest.raises(TimeoutError, match=r"0 of 1 processes connected within 0\.01 s"):
            await live.connected(timeout_s=0.01)


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("double_fork", [False, True])
async def test_a_grandchild_dies_with_the_group_unless_it_has_a_session_of_its_own(
    spawner: Spawner, tmp_path: Path, *, detached: bool, double_fork: bool
) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live:
            again: Step = {"connect": live.port, "as": "deaf"}
            grandchild: Step = {"setsid": detached, "double_fork": double_fork, "ignore_term": True}
            grandchild["connect"] = live.port
            grandchild["steps"] = [{"wait": "gate"}, again, {"wait": "gate"}, {**again, "as": "survivor"}]
            child = await start(spawner, tmp_path, {"grandchild": grandchild}, {"sleep": 100})
            [peer] = await live.connected()
            assert peer.name == "grandchild"
            assert (os.getsid(peer.pid) == child.pid) is not detached
            os.kill(peer.pid, signal.SIGTERM)
            await live.release()
            await live.connected(2)
            child.close()
            if detached:
                await live.release("deaf")
                await live.connected(3)
            else:
                await live.all_gone()


@pytest.mark.skipif(not PROC.exists(), reason="reads /proc")
@pytest.mark.parametrize("double_fork", [False, True])
async def test_a_grandchild_of_a_double_fork_is_nobodys_child(
    spawner: Spawner, tmp_path: Path, *, double_fork: bool
) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live:
            child = await start(
                spawner, tmp_path, {"grandchild": {"connect": live.port, "double_fork": double_fork}}, {"sleep": 100}
            )
            [peer] = await live.connected()
            parent = int((PROC / str(peer.pid) / "stat").read_text().rsplit(")")[1].split()[1])
            child.close()
    assert (parent == child.pid) is not double_fork


@pytest.mark.skipif(sys.platform != "linux", reason="needs a pidfd")
async def test_a_grandchild_that_outlives_everybody_ends_with_the_test(spawner: Spawner, tmp_path: Path) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live:
            child = await start(spawner, tmp_path, {"grandchild": {"connect": live.port, "setsid": True}})
            [peer] = await live.connected()
            assert await child.wait() == 0
            watch = os.pidfd_open(peer.pid)
            child.close()
        await anyio.wait_readable(watch)
        os.close(watch)


async def test_the_tests_own_error_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with Liveness():
            raise ZeroDivisionError


@pytest.mark.skipif(not PROC.exists(), reason="reads /proc")
@pytest.mark.parametrize("clear", [True, False])
async def test_a_grandchilds_environment_is_empty_when_asked(spawner: Spawner, tmp_path: Path, *, clear: bool) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live:
            child = await start(spawner, tmp_path, {"grandchild": {"connect": live.port, "clear_env": clear}})
            [peer] = await live.connected()
            environment = (PROC / str(peer.pid) / "environ").read_bytes()
            child.close()
    assert environment == b"" if clear else b"MARK=1" in environment


@pytest.mark.parametrize("held", [True, False])
async def test_a_grandchild_holds_the_streams_only_when_asked(spawner: Spawner, tmp_path: Path, *, held: bool) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live:
            child = await start(
                spawner, tmp_path, {"grandchild": {"connect": live.port, "hold_stdout": held}}, {"out": "x"}
            )
            await live.connected()
            await child.wait()
            assert await child.read_stdout() == b"x"
            with anyio.move_on_after(0.05) as waited:
                assert await child.read_stdout() == b""
            assert waited.cancelled_caught is held
            child.close()
