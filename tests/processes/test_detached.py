"""A detached child outlives its server, but not its shepherd, its time or its folder."""

import os
import random
import signal
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import anyio
import anyio.abc
import pytest

from dragoman.processes import (
    Child,
    Command,
    Detached,
    Leftover,
    Spawner,
    adopt,
    read_end,
    remains,
    stop_detached,
    sweep,
    tree,
)
from dragoman.processes.detached import Shepherd, is_shepherded
from dragoman.processes.streams import Streams
from dragoman.testing import FakeCli, Liveness
from dragoman.testing.fakes import Step

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers and /proc"),
]
both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
ENV = {"PATH": "/usr/bin:/bin"}
HIDDEN: list[Step] = [
    {"setsid": True},
    {"setsid": True, "double_fork": True, "ignore_term": True},
    {"setsid": True, "double_fork": True, "clear_env": True, "hold_stdout": True},
]
TREE = len(HIDDEN) + 1
SERVER = """
import sys, time, anyio
from pathlib import Path
from dragoman.processes import Command, Detached, Spawner

async def main():
    program, seconds, *folders = sys.argv[1:]
    async with Spawner() as spawner:
        for folder in map(Path, folders):
            folder.mkdir()
            detached = Detached(folder, b"question", time.time() + float(seconds))
            env = {"PATH": "/usr/bin:/bin", "DRAGOMAN_LINEAGE": str(folder)}
            await spawner.spawn(Command([program], env, Path("/"), grace_s=0.2, detached=detached))
        print(spawner.guardian_pid, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)

anyio.run(main)
"""


@dataclass
class Server:
    """A server that is a process of its own, with one detached child whose grandchildren hide."""

    process: anyio.abc.Process
    guardian: int
    folder: Path

    @property
    def shepherd(self) -> Shepherd:
        found = Shepherd.read(self.folder)
        assert found is not None
        return found

    @property
    def leftover(self) -> Leftover:
        """What the server wrote down of it."""
        child = self.shepherd
        return Leftover(child.child_pid, child.child_start_time, mark_of(self.folder), detached=self.folder)

    async def kill(self, *pids: int) -> None:
        """Kill these and the server, in this order; wait for all of them."""
        await kill_all(*pids, self.process.pid)
        await self.process.wait()


@asynccontextmanager
async def serving(folder: Path, live: Liveness, *steps: Step, until_s: float = 1000) -> AsyncGenerator[Server]:
    with anyio.fail_after(60):
        grandchildren = [{"grandchild": {**hidden, "connect": live.port}} for hidden in HIDDEN]
        program = FakeCli(folder).script(
            {"read": "all"}, {"echo_stdin": True, "as": "raw"}, live.connect(), *grandchildren, *steps
        )
        async with server_of(program, until_s, [folder / "job"]) as process:
            assert process.stdout is not None
            spawner = int(await process.stdout.receive())
            try:
                await live.connected(TREE)
                yield Server(process, spawner, folder / "job")
            finally:
                with anyio.CancelScope(shield=True):
                    assert await stop_detached(folder / "job", mark_of(folder / "job"))


@asynccontextmanager
async def server_of(program: Path, until_s: float, folders: Sequence[Path]) -> AsyncGenerator[anyio.abc.Process]:
    argv = [sys.executable, "-c", SERVER, str(program), str(until_s), *map(str, folders)]
    process = await anyio.open_process(argv, stdin=PIPE, stdout=PIPE, stderr=None)
    async with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()


def mark_of(folder: Path) -> str:
    """What the child of this folder has in its environment."""
    return str(folder)


async def kill_all(*pids: int) -> int:
    """Kill those who live and wait for it; how many."""
    watched: list[int] = []
    for pid in pids:
        with suppress(ProcessLookupError):
            watched.append(os.pidfd_open(pid))
            os.kill(pid, signal.SIGKILL)
    for each in watched:
        await anyio.wait_readable(each)
        os.close(each)
    return len(watched)


def command_lines_with(folder: Path) -> list[bytes]:
    found: list[bytes] = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            found.append(file.read_bytes())
    return [line for line in found if os.fsencode(folder) in line]


async def end_of(pid: int) -> None:
    with suppress(ProcessLookupError):
        watched = os.pidfd_open(pid)
        await anyio.wait_readable(watched)
        os.close(watched)


async def read_all(child: Child) -> bytes:
    data = b""
    while chunk := await child.read_stdout():
        data += chunk
    return data


async def end_and_output(child: Child) -> tuple[int, bytes]:
    output = b""

    async def read() -> None:
        nonlocal output
        output = await read_all(child)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await child.wait()
    assert child.exit_code is not None
    return child.exit_code, output


@pytest.mark.parametrize("how", ["it is killed", "its guardian is killed first", "it leaves"])
async def test_it_outlives_its_server_and_tells_its_end_when_nothing_of_it_is_left(tmp_path: Path, how: str) -> None:
    async with Liveness() as live, serving(tmp_path, live, {"wait": "gate"}, {"out": "answer"}, {"exit": 5}) as server:
        shepherd = server.shepherd
        if how == "it leaves":
            assert server.process.stdin is not None
            await server.process.stdin.aclose()
            assert await server.process.wait() == 0
        else:
            await server.kill(*([server.guardian] if "first" in how else []))
        child = await adopt(server.folder)
        assert child is not None
        assert child.pid == shepherd.child_pid
        assert len(live.alive) == TREE
        await live.release("cli")
        assert await end_and_output(child) == (5, b"questionanswer")
        await live.all_gone()
        end = read_end(server.folder)
        assert end is not None
        assert (end.exit_code, end.stopped_by) == (5, "itself")
        assert child.started_at < end.at <= time.time()
        assert not child.lost
        await end_of(shepherd.pid)
        await end_of(server.guardian)
        assert not is_shepherded(server.folder)


async def test_its_tree_is_stopped_when_its_time_is_over(tmp_path: Path) -> None:
    # All of the tree must be there before that.
    async with Liveness() as live, serving(tmp_path, live, {"pause": True}, until_s=10) as server:
        await server.kill(server.guardian)
        await live.all_gone()
        await end_of(server.shepherd.pid)
        end = read_end(server.folder)
        assert end is not None
        assert (end.exit_code, end.stopped_by) == (-signal.SIGTERM, "time")


async def test_the_shepherds_sigterm_stops_the_tree(tmp_path: Path) -> None:
    async with Liveness() as live, serving(tmp_path, live, {"pause": True}) as server:
        await server.kill(server.guardian)
        os.kill(server.shepherd.pid, signal.SIGTERM)
        await end_of(server.shepherd.pid)
        await live.all_gone()
        end = read_end(server.folder)
        assert end is not None
        assert (end.exit_code, end.stopped_by) == (-signal.SIGTERM, "order")


@both_loops
async def test_another_server_stops_it(tmp_path: Path) -> None:
    async with Liveness() as live, serving(tmp_path, live, {"ignore": ["TERM"]}, {"pause": True}) as server:
        await server.kill()
        assert await stop_detached(server.folder)
        await live.all_gone()
        end = read_end(server.folder)
        assert end is not None
        assert end.stopped_by == "order"
        assert await stop_detached(server.folder)


async def test_without_its_shepherd_it_is_lost_and_its_tree_is_ended(tmp_path: Path) -> None:
    async with Liveness() as live, serving(tmp_path, live, {"out": "part"}, {"pause": True}) as server:
        waiting = await adopt(server.folder)
        assert waiting is not None
        await server.kill()
        os.kill(server.shepherd.pid, signal.SIGKILL)
        assert await waiting.wait() == -signal.SIGKILL
        assert waiting.lost
        await live.all_gone()
        assert await adopt(server.folder) is None
        assert read_end(server.folder) is None
        lost = remains(server.folder)
        assert lost is not None
        code, output = await end_and_output(lost)
        assert code == -signal.SIGKILL
        assert output.startswith(b"question")
        assert lost.lost
        assert await lost.gone()


async def test_what_nobody_watches_over_any_more_is_swept(tmp_path: Path) -> None:
    """What hides in an environment of its own is found no more: that is what shepherds are for."""
    async with Liveness() as live, serving(tmp_path, live, {"pause": True}) as server:
        shepherd = server.shepherd
        await server.kill(server.guardian, shepherd.pid)
        assert await adopt(server.folder) is None
        assert await anyio.to_thread.run_sync(sweep, [server.leftover], 0.2) == TREE - 1
        await kill_all(*(peer.pid for peer in live.alive))
        await live.all_gone()


async def test_a_shepherd_that_does_not_answer_is_ended_with_its_tree(tmp_path: Path) -> None:
    async with Liveness() as live, serving(tmp_path, live, {"pause": True}) as server:
        await server.kill(server.guardian)
        os.kill(server.shepherd.pid, signal.SIGSTOP)
        assert await stop_detached(server.folder)
        await live.all_gone()


async def test_a_sweep_leaves_it_alone_while_it_has_time_and_a_shepherd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Liveness() as live, serving(tmp_path, live, {"pause": True}) as server:
        shepherd = server.shepherd
        await server.kill(server.guardian)
        left = server.leftover
        os.kill(shepherd.pid, signal.SIGSTOP)
        assert await anyio.to_thread.run_sync(sweep, [left], 0.2) == 0
        assert len(live.alive) == TREE
        monkeypatch.setattr(sys.modules[sweep.__module__], "OVERDUE_S", time.time() - shepherd.until)
        assert await anyio.to_thread.run_sync(sweep, [left], 0.2) == TREE + 1
        await live.all_gone()
        assert not is_shepherded(server.folder)


@both_loops
async def test_everyone_who_adopts_it_reads_all_of_it_and_follows_it(tmp_path: Path) -> None:
    async with Liveness() as live, serving(tmp_path, live, {"wait": "gate"}, {"out": "b" * 500_000}) as server:
        await server.kill()
        seen: list[tuple[int, bytes]] = []

        async def follow(child: Child) -> None:
            first = await child.read_stdout()
            assert first == b"question"
            following.append(child)
            if len(following) == 2:
                await live.release("cli")
            code, rest = await end_and_output(child)
            seen.append((code, first + rest))

        following: list[Child] = []
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                child = await adopt(server.folder)
                assert child is not None
                tasks.start_soon(follow, child)
        assert seen == [(0, b"question" + b"b" * 500_000)] * 2
        late = await adopt(server.folder)
        assert late is not None
        assert await end_and_output(late) == seen[0]


async def test_who_adopts_it_may_signal_kill_and_leave_it(tmp_path: Path) -> None:
    told: Step = {"on_signal": {"INT": [{"out": "interrupted"}]}}
    async with Liveness() as live, serving(tmp_path, live, told, {"out": "ready\n"}, {"pause": True}) as server:
        await server.kill()
        child, other = await adopt(server.folder), await adopt(server.folder)
        assert child is not None
        assert other is not None
        output = b""
        while not output.endswith(b"ready\n"):
            output += await child.read_stdout()
        child.signal(signal.SIGINT)
        assert await child.read_stdout() == b"interrupted"
        child.leave()
        assert await child.read_stdout() == b""
        assert len(live.alive) == TREE
        other.kill()
        assert await other.wait() == -signal.SIGKILL
        await live.all_gone()
        assert await child.gone()


@pytest.mark.parametrize("stream", ["1", "2"])
async def test_one_that_writes_without_end_is_killed(spawner: Spawner, tmp_path: Path, stream: str) -> None:
    flood = f"yes | head -c 3000000 >&{stream}; sleep 1000"
    detached = Detached(tmp_path, b"", time.time() + 1000, stdout_bytes=2_000_000)
    child = await spawner.spawn(Command(["/bin/sh", "-c", flood], ENV, tmp_path, detached=detached))
    with anyio.fail_after(60):
        assert await child.wait() == -signal.SIGKILL
        child.close()
        assert await child.gone()
    end = read_end(tmp_path)
    assert end is not None
    assert end.stopped_by == "size"


async def test_one_whose_folder_is_removed_is_stopped(spawner: Spawner, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    detached = Detached(folder, b"", time.time() + 1000)
    child = await spawner.spawn(Command(["/bin/sleep", "1000"], ENV, tmp_path, detached=detached))
    folder.rename(tmp_path / "elsewhere")
    with anyio.fail_after(60):
        assert await child.wait() == -signal.SIGTERM


async def test_its_own_server_reads_it_stops_it_or_leaves_it(spawner: Spawner, tmp_path: Path) -> None:
    children: list[Child] = []
    for name in ("stopped", "left"):
        (tmp_path / name).mkdir()
        detached = Detached(tmp_path / name, b"in", time.time() + 1000)
        script = ["/bin/sh", "-c", "cat; echo err >&2; sleep 1000"]
        children.append(await spawner.spawn(Command(script, ENV, tmp_path, detached=detached)))
    stopped, left = children
    with anyio.fail_after(60):
        assert await left.read_stdout() == b"in"
        assert await left.read_stderr() == b"err\n"
        stopped.close()
        assert await stopped.gone()
        left.leave()
        left.close()
        assert not await left.gone()
        with pytest.raises(anyio.ClosedResourceError):
            await left.wait()
        spawner.close()
        adopted = await adopt(tmp_path / "left")
        assert adopted is not None
        assert adopted.pid == left.pid
        assert tree.start_time(left.pid) is not None
        adopted.close()
        assert await adopted.gone()
    assert tree.start_time(left.pid) is None


async def test_leaving_a_child_that_is_not_detached_closes_it(spawner: Spawner, tmp_path: Path) -> None:
    child = await spawner.spawn(Command(["/bin/sleep", "1000"], ENV, tmp_path))
    child.leave()
    with anyio.fail_after(60):
        assert await child.gone()
    assert child.exit_code == -signal.SIGTERM


async def test_a_spawn_that_is_given_up_leaves_nothing(spawner: Spawner, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(12)]
    await (await spawner.spawn(Command(["/bin/true"], ENV, tmp_path))).wait()
    with anyio.fail_after(60):
        for number, folder in enumerate(folders):
            folder.mkdir()
            detached = Detached(folder, b"", time.time() + 1000)
            with anyio.move_on_after(number * 0.0003):
                command = Command(["/bin/sleep", "1000"], ENV, tmp_path, detached=detached)
                (await spawner.spawn(command)).close()  # when it was quick enough
        for folder in folders:
            while is_shepherded(folder):  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.01)
            started = Shepherd.read(folder)
            assert started is None or tree.start_time(started.child_pid) is None


async def test_a_folder_serves_once(spawner: Spawner, tmp_path: Path) -> None:
    command = Command(["/bin/true"], ENV, tmp_path, detached=Detached(tmp_path, b"", time.time() + 1000))
    assert await adopt(tmp_path) is None
    assert remains(tmp_path) is None
    child = await spawner.spawn(command)
    with anyio.fail_after(60):
        assert await child.wait() == 0
        with pytest.raises(FileExistsError):
            await spawner.spawn(command)


async def test_where_one_cannot_wait_for_a_strangers_child_its_lock_is_looked_at(
    spawner: Spawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    detached = Detached(tmp_path, b"", time.time() + 1000)
    await spawner.spawn(Command(["/bin/sh", "-c", f"cat {gate}; exit 3"], ENV, tmp_path, detached=detached))

    def cannot(_: Shepherd) -> None:
        return None

    monkeypatch.setattr(Shepherd, "watch", cannot)
    child = await adopt(tmp_path)
    assert child is not None
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.wait)
            await anyio.wait_all_tasks_blocked()
            assert not child.exited.is_set()
            gate.write_bytes(b"opened")
    assert child.exit_code == 3


async def test_one_that_is_just_being_started_is_not_taken_for_lost(tmp_path: Path) -> None:
    streams = Streams.detached(Detached(tmp_path, b"in", time.time() + 1000))
    found: list[Child | None] = []

    async def look() -> None:
        found.append(await adopt(tmp_path))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            await anyio.wait_all_tasks_blocked()
            assert found == []
            # As if the server had been killed before a shepherd got the claim.
            streams.close()
    assert found == [None]
    lost = remains(tmp_path)
    assert lost is not None
    with anyio.fail_after(60):
        assert await end_and_output(lost) == (-signal.SIGKILL, b"")
    assert lost.lost


@pytest.mark.parametrize("seed", [6])
async def test_whoever_is_killed_whenever_nothing_is_left_and_nothing_is_forgotten(tmp_path: Path, seed: int) -> None:
    """Each job either ends as it would have, or is known to be lost, and then has nothing that lives."""
    chance = random.Random(seed)  # noqa: S311 - to be repeatable
    kills = done = lost = 0
    with anyio.fail_after(600):
        while kills < 30:
            folder = tmp_path / str(kills)
            folder.mkdir()
            jobs = [folder / name for name in "abc"]
            async with Liveness() as live:
                hidden: Step = {"grandchild": {"setsid": True, "double_fork": True, "connect": live.port}}
                program = FakeCli(folder).script(live.connect(), hidden, {"wait": "gate"}, {"out": "answer"})
                async with server_of(program, 1000, jobs) as server:
                    if chance.random() < 0.7:
                        await live.connected(chance.randint(1, 6))
                    else:
                        await anyio.sleep(chance.uniform(0.2, 0.6))  # whenever that is
                    guardians = tree.children(server.pid)
                    shepherds = [pid for each in guardians for pid in tree.children(each)]
                    watchers = [*guardians, *shepherds]
                    victims = [server.pid, *chance.sample(watchers, chance.randint(0, len(watchers)))]
                    chance.shuffle(victims)
                    kills += await kill_all(*victims)
                for job in jobs:
                    child = await adopt(job)
                    if child is None:
                        lost += 1
                        assert await stop_detached(job, mark_of(job))
                        continue
                    while not (peers := [peer for peer in live.peers if peer.pid == child.pid]):
                        await live.connected(len(live.peers) + 1)
                    await peers[0].stream.send(b".")
                    assert await end_and_output(child) == (0, b"answer")
                    done += 1
                await live.all_gone()
                for pid in watchers:
                    await end_of(pid)
            # One that never connected may be a moment later than those that did.
            with anyio.move_on_after(60):
                while command_lines_with(folder):  # noqa: ASYNC110 - nothing tells
                    await anyio.sleep(0.02)
            assert command_lines_with(folder) == []
    assert done > 0
    assert lost > 0


@pytest.mark.parametrize("written", ["", "0 17", "0 soon itself", "\0\0\0"])
def test_an_end_that_was_cut_when_the_power_failed_is_none(tmp_path: Path, written: str) -> None:
    (tmp_path / "exit").write_text(written)
    assert read_end(tmp_path) is None
