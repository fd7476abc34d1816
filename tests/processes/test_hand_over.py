"""A child that was started with pipes is handed over to its shepherd: nothing is lost, and nothing comes twice."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.abc
import pytest

from dragoman.processes import Child, Command, Detached, Spawner, adopt, read_end, streams, tree
from dragoman.processes.detached import is_shepherded
from dragoman.processes.streams import Streams
from dragoman.testing import FakeCli, Liveness

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc, by which the dead are told"),
]
both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
ENV = {"PATH": "/usr/bin:/bin"}
STRIDE = 16
"""Of the lines at which a server can be killed every so-manieth is tried; all of them in `tests/long`."""
LINES = 40_000
"""More than is read at once and then fits into the largest pipe: one that is not read any more does not come to its
end."""
COUNTED = f"i=0; while [ $i -lt {LINES} ]; do echo line $i of what it says; i=$((i+1)); done"
WHOLE = b"".join(b"line %d of what it says\n" % number for number in range(LINES))
SERVER = """
import os, signal, sys, time, anyio
from pathlib import Path
from dragoman.processes import Command, Detached, Spawner, guarded, streams

program, folder, fatal = sys.argv[1:]
lines = 0

def dies(frame, event, argument):
    global lines
    if frame.f_code.co_filename in (guarded.__file__, streams.__file__):
        if event == "line":
            lines += 1
            if lines == int(fatal):
                os.kill(os.getpid(), signal.SIGKILL)
        return dies

async def main():
    async with Spawner() as spawner:
        child = await spawner.spawn(Command([program], {"PATH": "/usr/bin:/bin"}, Path("/"), may_detach=True))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.wait)
            while b"half" not in await child.read_stdout():
                pass
            sys.settrace(dies)
            await child.detach(Detached(Path(folder), b"", time.time() + 1000))
            sys.settrace(None)
            print("handed over", flush=True)

anyio.run(main)
"""


def detached(folder: Path, seconds: float = 1000) -> Detached:
    folder.mkdir()
    return Detached(folder, b"", time.time() + seconds)


async def piped(spawner: Spawner, folder: Path, script: str) -> Child:
    return await spawner.spawn(Command(["/bin/sh", "-c", script], ENV, folder, may_detach=True, grace_s=0.2))


class Heard:
    """All that a child says, read while other things are done."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._more = anyio.Event()

    async def listen(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.child.wait)
            tasks.start_soon(self._read, self.stderr, self.child.read_stderr)
            await self._read(self.stdout, self.child.read_stdout)

    async def until(self, words: bytes) -> None:
        while words not in self.stdout:
            await self._more.wait()

    async def _read(self, into: bytearray, read: Callable[[], Awaitable[bytes]]) -> None:
        while chunk := await read():
            into += chunk
            self._more.set()
            self._more = anyio.Event()


async def let_go(folder: Path) -> None:
    """Wait until nobody has the claim of this folder: who leaves has closed its other files a moment before."""
    while is_shepherded(folder):  # noqa: ASYNC110 - nothing tells
        await anyio.sleep(0.001)


async def whole_of(folder: Path) -> tuple[int, bytes, bytes]:
    """What whoever adopts the child of this folder hears of it."""
    child = await adopt(folder)
    assert child is not None
    heard = Heard(child)
    await heard.listen()
    assert child.exit_code is not None
    return child.exit_code, bytes(heard.stdout), bytes(heard.stderr)


@both_loops
async def test_it_goes_on_without_its_server_and_the_next_one_hears_it_from_its_first_byte(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with Spawner() as spawner:
        child = await piped(spawner, tmp_path, f"echo un >&2; echo one; cat {gate}; echo deux >&2; exit 3")
        heard = Heard(child)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(heard.listen)
                await heard.until(b"one\n")
                assert await child.detach(detached(tmp_path / "job"))
                assert await child.detach(Detached(tmp_path / "job", b"", 0)), "it is already"
                # As whoever listens does: first it stops listening.
                tasks.cancel_scope.cancel()
        child.leave()
    assert tree.start_time(child.pid) is not None
    assert (tmp_path / "job" / "stdout").read_bytes() == b"one\n"
    with anyio.fail_after(60):
        gate.write_bytes(b"two\n")
        assert await whole_of(tmp_path / "job") == (3, b"one\ntwo\n", b"un\ndeux\n")
    end = read_end(tmp_path / "job")
    assert end is not None
    assert (end.exit_code, end.stopped_by) == (3, "itself")


@both_loops
@pytest.mark.parametrize("after", [0, 9_000])
async def test_in_the_middle_of_a_flood_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path, after: int) -> None:
    async with Spawner() as spawner:
        child = await piped(spawner, tmp_path, COUNTED)
        heard = Heard(child)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(heard.listen)
                await heard.until(f"line {after} ".encode())
                assert await child.detach(detached(tmp_path / "job"))
            assert await whole_of(tmp_path / "job") == (0, WHOLE, b"")
    assert hashlib.sha256(heard.stdout).digest() == hashlib.sha256(WHOLE).digest()


async def test_one_that_ends_just_then_is_heard_to_its_end(spawner: Spawner, tmp_path: Path) -> None:
    chance = random.Random(8)  # noqa: S311 - to be repeatable
    said = b"x" * 60_000
    outcomes: list[bool] = []
    for number in range(60):
        child = await piped(spawner, tmp_path, "printf '%060000d' 0 | tr 0 x; exit 5")
        heard = Heard(child)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(heard.listen)
                await anyio.sleep(chance.uniform(0, 0.004))  # to be just before or just after its end
                outcomes.append(await child.detach(detached(tmp_path / str(number))))
            assert (child.exit_code, bytes(heard.stdout)) == (5, said)
            if outcomes[-1]:
                assert await whole_of(tmp_path / str(number)) == (5, said, b"")
            child.close()
            assert await child.gone()
            await let_go(tmp_path / str(number))
    assert True in outcomes


async def test_it_is_stopped_when_its_time_is_over_though_no_server_is_there(spawner: Spawner, tmp_path: Path) -> None:
    child = await piped(spawner, tmp_path, "echo half; sleep 1000 & sleep 1000")
    heard = Heard(child)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(heard.listen)
            await heard.until(b"half")
            assert await child.detach(detached(tmp_path / "job", 0.5))
            tasks.cancel_scope.cancel()
            child.leave()
        spawner.close()
        assert await whole_of(tmp_path / "job") == (-signal.SIGTERM, b"half\n", b"")
    end = read_end(tmp_path / "job")
    assert end is not None
    assert end.stopped_by == "time"


async def test_without_being_handed_over_it_ends_with_its_server(spawner: Spawner, tmp_path: Path) -> None:
    child = await piped(spawner, tmp_path, "sleep 1000")
    child.leave()
    with anyio.fail_after(60):
        assert await child.gone()
    assert not await child.detach(detached(tmp_path / "job"))


async def test_its_own_server_can_still_stop_it(spawner: Spawner, tmp_path: Path) -> None:
    child = await piped(spawner, tmp_path, "sleep 1000 & sleep 1000")
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.wait)
            assert await child.detach(detached(tmp_path / "job"))
            tasks.cancel_scope.cancel()
        child.close()
        assert await child.gone()
        await let_go(tmp_path / "job")
    assert child.exit_code == -signal.SIGTERM


@pytest.mark.parametrize("how", ["before", "while it is stopped"])
async def test_a_shepherd_that_is_killed_in_between_hands_nothing_over(
    spawner: Spawner, tmp_path: Path, how: str
) -> None:
    child = await piped(spawner, tmp_path, "echo half; sleep 1000")
    heard = Heard(child)
    results: list[bool] = []

    async def hand_over() -> None:
        results.append(await child.detach(detached(tmp_path / "job")))

    shepherd: int = getattr(child, "shepherd_pid", 0)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(heard.listen)
            await heard.until(b"half")
            if how == "before":
                os.kill(shepherd, signal.SIGKILL)
            else:
                # The guardian ends one that was stopped.
                os.kill(shepherd, signal.SIGSTOP)
            tasks.start_soon(hand_over)
        await let_go(tmp_path / "job")
    assert results == [False]
    assert (child.exit_code, child.lost, bytes(heard.stdout)) == (-signal.SIGKILL, True, b"half\n")


async def test_one_that_said_more_than_is_kept_stays_as_it_is(
    spawner: Spawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEPT_BYTES", 1000)
    child = await piped(spawner, tmp_path, COUNTED)
    heard = Heard(child)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(heard.listen)
            await heard.until(b"line 100 ")
            assert not await child.detach(detached(tmp_path / "job"))
    assert bytes(heard.stdout) == WHOLE


async def test_a_folder_that_takes_no_files_changes_nothing(spawner: Spawner, tmp_path: Path) -> None:
    child = await piped(spawner, tmp_path, "echo half; read line; echo $line")
    heard = Heard(child)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(heard.listen)
            await heard.until(b"half")
            with pytest.raises(FileNotFoundError):
                await child.detach(Detached(tmp_path / "missing", b"", time.time() + 1000))
            await child.write(b"whole\n")
    assert (child.exit_code, bytes(heard.stdout)) == (0, b"half\nwhole\n")


async def test_a_full_disk_makes_no_whole_answer_of_a_part(
    spawner: Spawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_files = Streams.to_files

    def to_full_disk(self: Streams, made: Detached) -> object:
        given = to_files(self, made)
        assert given is not None
        return [*given[:2], os.open("/dev/full", os.O_WRONLY), *given[3:]]

    monkeypatch.setattr(Streams, "to_files", to_full_disk)
    child = await piped(spawner, tmp_path, "echo half; read line; echo the rest; exit 0")
    heard = Heard(child)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(heard.listen)
            await heard.until(b"half")
            assert await child.detach(detached(tmp_path / "job"))
            await child.write(b"\n")
        assert await whole_of(tmp_path / "job") == (-signal.SIGKILL, b"half\n", b"")
    end = read_end(tmp_path / "job")
    assert end is not None
    assert end.stopped_by == "size"


async def test_a_server_that_is_killed_at_any_moment_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    await kill_at_lines(tmp_path, first=7, stride=STRIDE)


async def kill_at_lines(tmp_path: Path, first: int, stride: int) -> None:
    """Kill a server at lines of what it does there: whoever lives then has an owner, and all that was read before."""
    outcomes: list[bool] = []
    was_killed = True
    with anyio.fail_after(300):
        while was_killed:
            number = first + stride * len(outcomes)
            folder = tmp_path / str(number)
            folder.mkdir()
            async with Liveness() as live:
                hidden = {"grandchild": {"setsid": True, "double_fork": True, "connect": live.port}}
                program = FakeCli(folder).script(
                    hidden, live.connect(), {"out": "half"}, {"wait": "gate"}, {"out": "."}
                )
                (folder / "job").mkdir()
                argv = [sys.executable, "-c", SERVER, str(program), str(folder / "job"), str(number)]
                async with await anyio.open_process(argv, stdout=subprocess.PIPE, stderr=None) as server:
                    assert server.stdout is not None
                    was_killed = await ends_before(server.stdout, b"handed over")
                    with suppress(ProcessLookupError):
                        server.kill()
                    await server.wait()
                child = await adopt(folder / "job")
                if child is not None:
                    await live.connected(2)
                    assert len(live.alive) == 2
                    await live.release("cli")
                    assert await whole_of(folder / "job") == (0, b"half.", b"")
                    child.leave()
                await live.all_gone()
                assert not is_shepherded(folder / "job")
            outcomes.append(child is not None)
    assert outcomes == sorted(outcomes), "once it was handed over it stays so"
    assert set(outcomes) == {True, False}


async def ends_before(stream: anyio.abc.ByteReceiveStream, words: bytes) -> bool:
    """Whether it ends and did not say so."""
    said = b""
    with suppress(anyio.EndOfStream):
        while words not in said:
            said += await stream.receive()
    return words not in said
