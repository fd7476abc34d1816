"""A child's streams, its exit and its group."""

import os
import signal
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from dragoman.processes import Child, Command, Spawner, SpawnError, capture

pytestmark = pytest.mark.anyio
ENV = {"PATH": "/usr/bin:/bin"}


async def shell(spawner: Spawner, script: str, folder: Path, stdout_file: Path | None = None) -> Child:
    return await spawner.spawn(Command(["/bin/sh", "-c", script], ENV, folder, stdout_file))


async def read_all(child: Child) -> bytes:
    data = b""
    while chunk := await child.read_stdout():
        data += chunk
    return data


def descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def test_stdin_is_written_while_stdout_is_read(spawner: Spawner, tmp_path: Path) -> None:
    child = await shell(spawner, "cat", tmp_path)
    sent = os.urandom(4 * 1024 * 1024)
    received = b""

    async def write() -> None:
        assert await child.write(sent)
        child.close_stdin()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            received = await read_all(child)
        assert await child.wait() == 0
    child.close()
    assert received == sent


async def test_a_child_that_does_not_read_its_stdin_makes_the_write_end(spawner: Spawner, tmp_path: Path) -> None:
    child = await shell(spawner, "exec <&-; exit 3", tmp_path)
    with anyio.fail_after(60):
        assert await child.write(b"x" * 1_000_000) is False
        assert await child.wait() == 3
    child.close()


async def test_an_end_by_signal_is_minus_the_signal(spawner: Spawner, tmp_path: Path) -> None:
    child = await shell(spawner, "kill -SEGV $$", tmp_path)
    with anyio.fail_after(60):
        assert await child.wait() == -signal.SIGSEGV
    child.close()


async def test_closing_stops_the_whole_group_though_its_leader_has_ended(spawner: Spawner, tmp_path: Path) -> None:
    child = await shell(spawner, "sleep 1000 & echo $!", tmp_path)
    with anyio.fail_after(60):
        grandchild = int(await child.read_stdout())
        await child.wait()
        watch = os.pidfd_open(grandchild)
        child.close()
        await anyio.wait_readable(watch)
    os.close(watch)


async def test_closing_twice_is_the_same_as_once(spawner: Spawner, tmp_path: Path) -> None:
    child = await shell(spawner, "sleep 1000", tmp_path)
    child.close()
    child.close()
    with anyio.fail_after(60):
        assert await child.gone()
    assert child.exit_code == -signal.SIGTERM


async def test_no_descriptor_is_left_open(spawner: Spawner, tmp_path: Path) -> None:
    await capture(spawner, Command(["/bin/sh", "-c", "exit"], ENV, tmp_path), 60)
    before = descriptors()
    for _ in range(5):
        await capture(spawner, Command(["/bin/sh", "-c", "echo hello"], ENV, tmp_path), 60)
        with pytest.raises(SpawnError):
            await spawner.spawn(Command([str(tmp_path / "missing")], ENV, tmp_path))
    assert descriptors() == before


async def test_a_file_is_followed_while_it_grows_and_read_to_its_end(spawner: Spawner, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    child = await shell(spawner, f"echo one; cat {gate}; echo two", tmp_path, tmp_path / "out")
    seen: list[bytes] = []
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.wait)
            seen.append(await child.read_stdout())
            gate.write_bytes(b"opened\n")
            seen.append(await read_all(child))
    child.close()
    assert seen[0] == b"one\n"
    assert b"".join(seen) == b"one\nopened\ntwo\n"


async def test_what_cannot_be_started_says_why(spawner: Spawner, tmp_path: Path) -> None:
    with pytest.raises(SpawnError, match="No such file"):
        await spawner.spawn(Command([str(tmp_path / "missing")], ENV, tmp_path))
    text = tmp_path / "text"
    text.write_text("not executable")
    with pytest.raises(SpawnError, match="Permission denied"):
        await spawner.spawn(Command([str(text)], ENV, tmp_path))
    with pytest.raises(SpawnError, match="too long"):
        await spawner.spawn(Command(["/bin/echo", "x" * 200_000], ENV, tmp_path))


async def test_a_child_inherits_nothing(spawner: Spawner, tmp_path: Path) -> None:
    os.environ["DRAGOMAN_TEST_LEAK"] = "leaked"
    try:
        script = (
            "import os; print(sorted(os.environ)); print(sorted(os.listdir('/dev/fd')), os.getsid(0) == os.getpid())"
        )
        said = await capture(
            spawner, Command([sys.executable, "-I", "-S", "-c", script], {"ONLY": "this"}, tmp_path), 10
        )
    finally:
        del os.environ["DRAGOMAN_TEST_LEAK"]
    assert "DRAGOMAN_TEST_LEAK" not in said.stdout
    assert "'ONLY'" in said.stdout
    # 3 is the descriptor of the listing itself.
    assert "['0', '1', '2', '3'] True" in said.stdout


class UntilItSaidSo:
    """Spawns a child that writes into a named pipe, and only then has its caller's time begin."""

    def __init__(self, spawner: Spawner, gate: Path) -> None:
        self._spawner = spawner
        self._gate = gate

    async def spawn(self, command: Command) -> Child:
        child = await self._spawner.spawn(command)
        await anyio.to_thread.run_sync(self._gate.read_bytes)
        return child


async def test_a_command_that_does_not_end_in_time_is_killed(spawner: Spawner, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f"echo early; echo > {gate}; sleep 1000"
    with anyio.fail_after(60):
        said = await capture(UntilItSaidSo(spawner, gate), Command(["/bin/sh", "-c", script], ENV, tmp_path), 0.2)
    assert said.code is None
    assert said.stdout == "early\n"


async def test_a_grandchild_that_holds_the_streams_does_not_hold_up_the_answer(
    spawner: Spawner, tmp_path: Path
) -> None:
    with anyio.fail_after(60):
        said = await capture(spawner, Command(["/bin/sh", "-c", "sleep 1000 & echo done"], ENV, tmp_path), 60)
    assert (said.code, said.stdout) == (0, "done\n")


async def test_a_file_ends_where_it_ended_at_the_exit_though_a_grandchild_goes_on_writing(
    spawner: Spawner, tmp_path: Path
) -> None:
    # Not as fast as it can, which would fill the disk while we are held up.
    child = await shell(spawner, "while :; do echo more; done & echo $!", tmp_path, tmp_path / "out")
    with anyio.fail_after(60):
        await child.wait()
        first = (await read_all(child)).split(b"\n")
    child.close()
    assert any(line.isdigit() for line in first)
