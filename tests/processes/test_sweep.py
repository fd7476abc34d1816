"""What an earlier server left is stopped, and only that."""

import fcntl
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from dragoman.processes import LINEAGE, Leftover, sweep
from dragoman.store.identity import start_time
from dragoman.testing import FakeCli, Liveness
from dragoman.testing.fakes import Step
from tests.processes.owner import owner_of

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="leftovers are found in /proc"),
]
MARK = secrets.token_hex(8)
"""Not that of a test that runs in another process just now: a sweep finds everyone on the machine who has it."""
ENV = {"PATH": "/usr/bin:/bin", LINEAGE: f"first,{MARK}.1"}


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def start(
    started: list[subprocess.Popen[bytes]],
    folder: Path,
    *steps: Step,
    env: Mapping[str, str] = ENV,
    leads: bool = True,
) -> int:
    program = FakeCli(folder, f"fake{len(started)}").script(*steps)
    started.append(subprocess.Popen([program], env=env, stdin=subprocess.DEVNULL, start_new_session=leads))
    return started[-1].pid


async def swept(*leftovers: Leftover) -> int:
    with anyio.fail_after(60):
        return await anyio.to_thread.run_sync(sweep, leftovers, 0.3)


async def test_the_process_its_session_what_is_below_it_and_what_has_its_mark_are_stopped(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    async with Liveness() as live:
        hidden: list[Step] = [
            {"ignore_term": True},
            {"setsid": True, "clear_env": True},
            {"setsid": True, "double_fork": True},
        ]
        steps = [{"grandchild": {**each, "connect": live.port}} for each in hidden]
        pid = start(started, tmp_path, *steps, live.connect(), {"pause": True})
        with anyio.fail_after(60):
            await live.connected(4)
        assert await swept(Leftover(pid, start_time(pid), MARK)) == 4
        await live.all_gone()


async def test_what_a_dead_leader_left_is_known_by_its_mark(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    async with Liveness() as live:
        pid = start(started, tmp_path, {"grandchild": {"setsid": True, "connect": live.port}})
        with anyio.fail_after(60):
            await live.connected()
            await anyio.to_thread.run_sync(started[0].wait)
        assert await swept(Leftover(pid, 1, MARK)) == 1
        await live.all_gone()


@pytest.mark.parametrize("leader_ended", [False, True])
async def test_a_stopped_shepherd_that_nobody_else_is_left_to_wake_goes_with_all_it_has(
    tmp_path: Path, *, leader_ended: bool
) -> None:
    async with Liveness() as live:
        hidden = {"setsid": True, "double_fork": True, "clear_env": True, "ignore_term": True, "connect": live.port}
        rest: Step = {"exit": 0} if leader_ended else {"pause": True}
        program = FakeCli(tmp_path, "fake").script({"grandchild": hidden}, live.connect(), {"wait": "gate"}, rest)
        with anyio.fail_after(60):
            async with owner_of(ENV, str(program)) as owner:
                await live.connected(2)
                began = start_time(owner.child)
                watched = [os.pidfd_open(pid) for pid in (owner.shepherd, owner.child)]
                os.kill(owner.guardian, signal.SIGKILL)
                os.kill(owner.shepherd, signal.SIGSTOP)
                owner.process.kill()
            if leader_ended:
                await live.release("cli")
                await anyio.wait_readable(watched[1])
            await swept(Leftover(owner.child, began, ""))
            await live.all_gone()
            for each in watched:
                await anyio.wait_readable(each)
                os.close(each)


async def test_a_stranger_with_the_same_pid_or_another_mark_lives_on(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    async with Liveness() as live:
        pid = start(started, tmp_path, live.connect(), {"pause": True})
        with anyio.fail_after(60):
            await live.connected()
        begun = start_time(pid)
        assert begun is not None
        assert await swept(Leftover(pid, begun + 1, "0000000000000000"), Leftover(pid, None, "1111111111111111")) == 0
        assert len(live.alive) == 1
        os.kill(pid, signal.SIGKILL)
        await live.all_gone()


@pytest.mark.parametrize(
    "env",
    [
        {"JOB": MARK, "PROMPT": f"what became of {MARK}?"},
        {LINEAGE: f"first,x{MARK},{MARK}0,{MARK[:-1]}"},
        {LINEAGE: f"{MARK}.2"},
    ],
    ids=["the id in another variable", "ids that resemble it", "another attempt of the same call"],
)
async def test_what_only_mentions_the_mark_lives_on(
    tmp_path: Path, started: list[subprocess.Popen[bytes]], env: dict[str, str]
) -> None:
    async with Liveness() as live:
        start(started, tmp_path, live.connect(), {"pause": True}, env={"PATH": ENV["PATH"], **env})
        with anyio.fail_after(60):
            await live.connected()
        assert await swept(Leftover(0, None, f"{MARK}.1")) == 0
        if "." not in env.get(LINEAGE, ""):
            assert await swept(Leftover(0, None, MARK)) == 0
        assert len(live.alive) == 1


async def test_whatever_leads_no_session_was_not_started_by_us(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    async with Liveness() as live:
        pid = start(started, tmp_path, live.connect(), {"pause": True}, env={"PATH": ENV["PATH"]}, leads=False)
        with anyio.fail_after(60):
            await live.connected()
        assert await swept(Leftover(pid, start_time(pid), MARK)) == 0
        assert len(live.alive) == 1


async def test_the_folder_goes_too_unless_it_cannot_be_ours(tmp_path: Path) -> None:
    ours, other = tmp_path / "dragoman-abc", tmp_path / "other"
    for folder in (ours, other):
        (folder / "sub").mkdir(parents=True)
    assert await swept(Leftover(1, 1, MARK, ours), Leftover(1, 1, MARK, other)) == 0
    assert not ours.exists()
    assert other.exists()


LARGE = """
import fcntl, mmap, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
memory = mmap.mmap(-1, 300 << 20)
for page in range(0, len(memory), mmap.PAGESIZE):
    memory[page] = 1
claim = open(sys.argv[1], "w")
fcntl.flock(claim, fcntl.LOCK_EX)
print("ready", flush=True)
signal.pause()
"""


def start_large(started: list[subprocess.Popen[bytes]], claim: Path) -> int:
    argv = [sys.executable, "-c", LARGE, str(claim)]
    process = subprocess.Popen(argv, env=ENV, stdout=subprocess.PIPE, start_new_session=True)
    started.append(process)
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == b"ready\n"
    return process.pid


async def test_what_was_killed_is_gone_when_the_sweep_is_over(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """What has much memory takes a while to end, and holds its files until then."""
    pid = start_large(started, tmp_path / "claim")
    assert await swept(Leftover(pid, start_time(pid), MARK)) == 1
    with (tmp_path / "claim").open() as claim:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
