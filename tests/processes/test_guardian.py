"""No process outlives its owner, whoever is killed and wherever it hides."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from dragoman.processes import Command, Spawner, SpawnError, guarded, tree
from dragoman.processes import spawner as spawner_module
from dragoman.processes.guarded import GuardedChild
from dragoman.processes.guardian import WAITING
from dragoman.processes.spawner import GUARDIAN_HUNG_S, ROOM
from dragoman.processes.streams import Streams
from dragoman.processes.tree import children, children_by_scan, descendants
from dragoman.testing import FakeCli, Liveness
from dragoman.testing.fakes import Step
from tests.processes.owner import owner_of

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers and /proc"),
]
ENV = {"PATH": "/usr/bin:/bin"}
HIDDEN: list[Step] = [
    {"setsid": True},
    {"setsid": True, "double_fork": True},
    {"setsid": True, "double_fork": True, "clear_env": True, "ignore_term": True, "hold_stdout": True},
]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


async def end_of(pid: int) -> None:
    with suppress(ProcessLookupError):
        watched = os.pidfd_open(pid)
        await anyio.wait_readable(watched)
        os.close(watched)


async def stop(pid: int) -> None:
    """Stop a process, and wait until it is."""
    os.kill(pid, signal.SIGSTOP)
    while Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"T":  # noqa: ASYNC110, ASYNC240 - no other sign
        await anyio.sleep(0.01)


def descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


@asynccontextmanager
async def hiding(spawner: Spawner, folder: Path, live: Liveness, *steps: Step) -> AsyncGenerator[GuardedChild]:
    """A child deaf to SIGTERM whose grandchildren hide in every way; they are connected to `live`."""
    known = len(live.alive)
    grandchildren = [{"grandchild": {**hidden, "connect": live.port}} for hidden in HIDDEN]
    program = FakeCli(folder, f"fake{known}").script({"ignore": ["TERM"]}, live.connect(), *grandchildren, *steps)
    child = await spawner.spawn(Command([str(program)], ENV, folder, grace_s=0.2))
    assert isinstance(child, GuardedChild)
    await live.connected(known + len(HIDDEN) + 1)
    try:
        yield child
    finally:
        child.close()
        await child.gone()


async def test_stopping_one_child_takes_its_whole_tree_and_leaves_its_neighbour(
    spawner: Spawner, tmp_path: Path
) -> None:
    with anyio.fail_after(60):
        async with (
            Liveness() as live,
            hiding(spawner, tmp_path, live, {"pause": True}) as stopped,
            Liveness() as others,
            hiding(spawner, tmp_path, others, {"pause": True}) as neighbour,
        ):
            stopped.close()
            assert await stopped.gone()
            await live.all_gone()
            assert len(others.alive) == len(HIDDEN) + 1
            assert neighbour.exit_code is None


async def test_what_a_child_leaves_behind_at_its_own_end_is_stopped_when_it_is_closed(
    spawner: Spawner, tmp_path: Path
) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live, hiding(spawner, tmp_path, live, {"wait": "gate"}, {"exit": 7}) as child:
            await live.release("cli")
            assert await child.wait() == 7
            assert len(live.alive) >= len(HIDDEN)
            child.close()
            assert await child.gone()
            await live.all_gone()


async def test_a_killed_guardian_takes_nothing_with_it_and_the_next_child_gets_a_new_one(
    spawner: Spawner, tmp_path: Path
) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live, hiding(spawner, tmp_path, live, {"pause": True}) as child:
            guardian = spawner.guardian_pid
            assert guardian is not None
            os.kill(guardian, signal.SIGKILL)
            await end_of(guardian)
            again = await spawner.spawn(Command(["/bin/echo", "hi"], ENV, tmp_path))
            assert await again.wait() == 0
            assert spawner.guardian_pid != guardian
            assert child.exit_code is None
            assert len(live.alive) == len(HIDDEN) + 1
            child.close()
            assert await child.gone()
            await live.all_gone()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_killed_or_stopped_shepherd_loses_its_child_whose_tree_goes(
    spawner: Spawner, tmp_path: Path, how: signal.Signals
) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live, hiding(spawner, tmp_path, live, {"pause": True}) as child:
            os.kill(child.shepherd_pid, how)
            await child.wait()
            assert child.lost
            await live.all_gone()


async def test_a_stopped_shepherd_whose_guardian_was_killed_is_ended_when_its_child_is_closed(
    spawner: Spawner, tmp_path: Path
) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live, hiding(spawner, tmp_path, live, {"pause": True}) as child:
            assert spawner.guardian_pid is not None
            os.kill(spawner.guardian_pid, signal.SIGKILL)
            os.kill(child.shepherd_pid, signal.SIGSTOP)
            child.close()
            assert await child.gone()
            await live.all_gone()


async def test_what_a_killed_shepherd_left_goes_though_somebody_stopped_the_guardian(
    spawner: Spawner, tmp_path: Path
) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live, hiding(spawner, tmp_path, live, {"pause": True}) as child:
            assert spawner.guardian_pid is not None
            await stop(spawner.guardian_pid)
            os.kill(child.shepherd_pid, signal.SIGKILL)
            await child.wait()
            assert child.lost
            spawner.rouse()
            await live.all_gone()


async def test_a_shepherd_that_ended_while_we_were_held_up_is_not_killed_since_its_pid_may_be_a_strangers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    signalled: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        signalled.append((pid, number))

    monkeypatch.setattr(tree, "kill", kill)

    async def held_up(*_: object) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            theirs.close()

    monkeypatch.setattr(guarded, "receive_report", held_up)
    command = Command(["none"], ENV, tmp_path, grace_s=-guarded.DEAF_S)
    child = GuardedChild(1, 2, ours, Streams.open(None), command, socket.socket.close)
    with anyio.fail_after(60):
        assert await child.gone()
    assert signalled == []
    child.close()


@pytest.mark.parametrize("kills", [False, True])
async def test_a_stopped_shepherd_whose_guardian_was_killed_ends_too_when_nobody_waits_for_it(
    tmp_path: Path, *, kills: bool
) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live, Spawner() as spawner, hiding(spawner, tmp_path, live, {"pause": True}) as child:
            assert spawner.guardian_pid is not None
            shepherd = os.pidfd_open(child.shepherd_pid)
            os.kill(spawner.guardian_pid, signal.SIGKILL)
            os.kill(child.shepherd_pid, signal.SIGSTOP)
            if kills:
                child.kill()
            else:
                child.close()
                spawner.close()
            await live.all_gone()
            await anyio.wait_readable(shepherd)
            os.close(shepherd)


@pytest.mark.parametrize("also_guardian", [False, True])
async def test_nothing_is_left_of_a_server_that_was_killed(tmp_path: Path, *, also_guardian: bool) -> None:
    """The server is a process of its own here, with two children whose grandchildren hide."""
    folder = tmp_path / "private"
    with anyio.fail_after(60):
        async with Liveness() as live:
            grandchildren = [{"grandchild": {**hidden, "connect": live.port}} for hidden in HIDDEN]
            program = FakeCli(tmp_path, "fake").script(
                {"ignore": ["TERM"]}, live.connect(), *grandchildren, {"pause": True}
            )
            script = (
                "import anyio\nfrom pathlib import Path\nfrom dragoman.processes import Command, Spawner\n"
                "async def main():\n"
                "    spawner = Spawner()\n"
                "    for name in ('one', 'two'):\n"
                f"        folder = Path({str(folder)!r}) / name\n"
                "        (folder / 'deep').mkdir(parents=True)\n"
                "        (folder / 'deep' / 'file').write_text('x')\n"
                f"        await spawner.spawn(Command([{str(program)!r}], {ENV!r}, Path('/'), remove=folder))\n"
                "    print(spawner.guardian_pid, flush=True)\n"
                "    await anyio.sleep_forever()\n"
                "anyio.run(main)\n"
            )
            async with await anyio.open_process([sys.executable, "-c", script], stderr=None) as server:
                assert server.stdout is not None
                guardian = int(await server.stdout.receive())
                await live.connected(2 * (len(HIDDEN) + 1))
                watched = [os.pidfd_open(pid) for pid in [guardian, *children(guardian)]]
                if also_guardian:
                    os.kill(guardian, signal.SIGKILL)
                server.kill()
                await live.all_gone()
                for each in watched:
                    await anyio.wait_readable(each)
                    os.close(each)
    assert list(folder.iterdir()) == []


async def test_a_guardian_whose_last_shepherd_was_killed_leaves_only_when_the_whole_tree_has_gone(
    tmp_path: Path,
) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live, Spawner() as spawner, hiding(spawner, tmp_path, live, {"pause": True}) as child:
            assert spawner.guardian_pid is not None
            # Stopped, it hears of both at once: nobody can want a child any more, and no shepherd is left.
            os.kill(spawner.guardian_pid, signal.SIGSTOP)
            os.kill(child.shepherd_pid, signal.SIGKILL)
            spawner.close()
            await live.all_gone()


async def test_a_spawn_that_is_given_up_leaves_nothing(spawner: Spawner, tmp_path: Path) -> None:
    command = Command(["/bin/sleep", "1000"], ENV, tmp_path)
    first = await spawner.spawn(command)
    guardian = spawner.guardian_pid
    assert guardian is not None
    before = descriptors()
    with anyio.fail_after(60):
        for patience_s in (0, 0.0005, 0.001, 0.002):
            with anyio.move_on_after(patience_s):
                (await spawner.spawn(command)).close()  # when it was quick enough
        first.close()
        assert await first.gone()
        while programs := [pid for shepherd in children(guardian) for pid in children(shepherd)]:
            await end_of(programs[0])
    assert descriptors() < before


async def test_a_guardian_that_hangs_is_replaced(spawner: Spawner, tmp_path: Path) -> None:
    command = Command(["/bin/echo", "hi"], ENV, tmp_path)
    with anyio.fail_after(60):
        await (await spawner.spawn(command)).wait()
        assert spawner.guardian_pid is not None
        os.kill(spawner.guardian_pid, signal.SIGSTOP)
        # The first ones get the shepherds that were waiting, one waits for the next in vain.
        is_missed = False
        for _ in range(WAITING + 1):
            with anyio.move_on_after(GUARDIAN_HUNG_S + 0.2) as limit:
                await spawner.spawn(command)
            is_missed = is_missed or limit.cancelled_caught
        assert is_missed
        assert await (await spawner.spawn(command)).wait() == 0


async def test_a_stopped_guardian_leaves_too_when_its_server_does(tmp_path: Path) -> None:
    async with Spawner() as spawner:
        assert await (await spawner.spawn(Command(["/bin/echo", "hi"], ENV, tmp_path))).wait() == 0
        guardian = spawner.guardian_pid
        assert guardian is not None
        os.kill(guardian, signal.SIGSTOP)
    with anyio.fail_after(60):
        await end_of(guardian)


@pytest.mark.parametrize("shepherds", ["some wait", "one is busy", "none"])
async def test_a_stopped_guardian_leaves_too_when_its_server_is_killed(shepherds: str) -> None:
    with anyio.fail_after(60):
        async with owner_of(ENV, "/bin/sleep", "1000") as owner:
            await stop(owner.guardian)
            for pid in children(owner.guardian):
                if shepherds == "none" or (shepherds == "one is busy" and pid != owner.shepherd):
                    os.kill(pid, signal.SIGKILL)
                    await end_of(pid)
            owner.process.kill()
            await end_of(owner.child)
            await end_of(owner.guardian)


async def test_a_shepherd_and_its_guardian_that_were_stopped_go_when_guardian_and_server_are_killed() -> None:
    with anyio.fail_after(60):
        async with owner_of(ENV, "/bin/sleep", "1000") as owner:
            for pid in (owner.guardian, owner.shepherd):
                os.kill(pid, signal.SIGSTOP)
            os.kill(owner.guardian, signal.SIGKILL)
            await end_of(owner.guardian)
            owner.process.kill()
            await end_of(owner.child)
            await end_of(owner.shepherd)


async def test_a_shepherd_killed_while_it_waits_is_replaced(spawner: Spawner, tmp_path: Path) -> None:
    command = Command(["/bin/echo", "hi"], ENV, tmp_path)
    with anyio.fail_after(60):
        for how in (signal.SIGKILL, signal.SIGSTOP):
            assert await (await spawner.spawn(command)).wait() == 0
            assert spawner.guardian_pid is not None
            while not (waiting := children(spawner.guardian_pid)):
                await anyio.lowlevel.checkpoint()
            for pid in waiting:
                with suppress(ProcessLookupError):  # the one whose child just ended
                    os.kill(pid, how)
            assert await (await spawner.spawn(command)).wait() == 0


async def test_a_fork_of_the_server_does_not_keep_its_children_alive(spawner: Spawner, tmp_path: Path) -> None:
    child = await spawner.spawn(Command(["/bin/sleep", "1000"], ENV, tmp_path))
    readable, writable = os.pipe()
    fork = os.fork()
    if fork == 0:
        os.close(writable)
        os.read(readable, 1)
        os._exit(0)
    os.close(readable)
    try:
        with anyio.fail_after(60):
            watched = os.pidfd_open(child.pid)
            # Our own end is closed: were the fork to hold another, the shepherd would not notice.
            spawner.close()
            await anyio.wait_readable(watched)
            os.close(watched)
    finally:
        os.close(writable)
        await anyio.to_thread.run_sync(os.waitpid, fork, 0)


async def test_many_children_at_once_each_get_their_own_streams(spawner: Spawner, tmp_path: Path) -> None:
    said: dict[int, bytes] = {}

    async def one(number: int) -> None:
        child = await spawner.spawn(Command(["/bin/echo", str(number)], ENV, tmp_path))
        said[number] = await child.read_stdout()
        assert await child.wait() == 0
        child.close()
        assert await child.gone()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(one, number)
    assert said == {number: f"{number}\n".encode() for number in range(100)}


async def test_a_request_larger_than_any_buffer_arrives_whole(spawner: Spawner, tmp_path: Path) -> None:
    words = [chr(ord("a") + number % 26) * 100_000 for number in range(15)]
    child = await spawner.spawn(Command(["/bin/sh", "-c", 'echo "$#" "${#15}"', "sh", *words], ENV, tmp_path))
    with anyio.fail_after(60):
        assert await child.read_stdout() == b"15 100000\n"
        assert await child.wait() == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/bin/echo", "a\0b"], "NUL"),
        (["./script"], "the interpreter that its first line names is missing"),
        (["no-such-program-anywhere"], "No such file"),
    ],
)
async def test_what_cannot_be_started_says_so(
    spawner: Spawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(SpawnError, match=words):
        await spawner.spawn(Command(argv, ENV, tmp_path))


async def test_a_folder_that_cannot_be_entered_is_named(spawner: Spawner, tmp_path: Path) -> None:
    with pytest.raises(SpawnError, match=r"the folder '.*missing' cannot be entered"):
        await spawner.spawn(Command(["/bin/true"], ENV, tmp_path / "missing"))


async def test_a_private_folder_is_removed_and_links_in_it_are_not_followed(spawner: Spawner, tmp_path: Path) -> None:
    private, kept = tmp_path / "private", tmp_path / "kept"
    (private / "sub").mkdir(parents=True)
    kept.mkdir()
    (kept / "file").write_text("stays")
    (private / "sub" / "file").write_text("goes")
    (private / "link").symlink_to(kept)
    (private / "dangling").symlink_to(tmp_path / "nowhere")
    child = await spawner.spawn(Command(["/bin/true"], ENV, tmp_path, remove=private))
    child.close()
    with anyio.fail_after(60):
        assert await child.gone()
    assert not private.exists()
    assert (kept / "file").read_text() == "stays"


async def test_both_ways_to_find_children_agree(spawner: Spawner, tmp_path: Path) -> None:
    child = await spawner.spawn(Command(["/bin/sh", "-c", "sleep 1000 & sleep 1000 & echo; wait"], ENV, tmp_path))
    await child.read_stdout()
    found = children(child.pid)
    assert len(found) == 2
    assert sorted(children_by_scan(child.pid)) == sorted(found)
    guardian = spawner.guardian_pid
    assert guardian is not None
    assert {child.pid, *found} <= set(descendants(guardian))


def times_slept(pid: int) -> int | None:
    """How often a shepherd went to sleep until something came; None: it does not wait for a child yet, or any more."""
    with suppress(ProcessLookupError, FileNotFoundError):
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        if os.getsid(pid) == pid and "State:\tS" in status:
            return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])
    return None


async def waiting_shepherds(spawner: Spawner) -> dict[int, int | None]:
    """Those that wait for a child, asleep, and how often they went to sleep."""
    assert spawner.guardian_pid is not None
    before: dict[int, int | None] = {}
    while True:
        waiting = {pid: times_slept(pid) for pid in children(spawner.guardian_pid) if not children(pid)}
        # Twice the same, since the count follows a moment after the state; and a new one may come between.
        if len(waiting) == WAITING and None not in waiting.values() and waiting == before:
            return waiting
        before = waiting
        await anyio.sleep(0.05)  # nothing tells that a process fell asleep


async def test_a_child_wakes_one_of_the_shepherds_that_wait_for_one(spawner: Spawner, tmp_path: Path) -> None:
    with anyio.fail_after(60):
        await (await spawner.spawn(Command(["/bin/echo"], ENV, tmp_path))).wait()
        for _ in range(5):
            before = await waiting_shepherds(spawner)
            await spawner.spawn(Command(["/bin/sleep", "1000"], ENV, tmp_path))
            after = await waiting_shepherds(spawner)
            stayed = before.keys() & after.keys()
            assert len(stayed) == WAITING - 1
            assert {pid: after[pid] for pid in stayed} == {pid: before[pid] for pid in stayed}


def pages_touched(pid: int) -> int:
    """How many pages of its memory a process was given when it first used them."""
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[7])


async def test_a_shepherd_that_had_to_wait_has_done_before_what_a_start_takes(spawner: Spawner, tmp_path: Path) -> None:
    command = Command(["/bin/sleep", "1000"], ENV, tmp_path)

    async def pages_of_a_start() -> int:
        before = {pid: pages_touched(pid) for pid in await waiting_shepherds(spawner)}
        child = await spawner.spawn(command)
        assert isinstance(child, GuardedChild)
        return pages_touched(child.shepherd_pid) - before[child.shepherd_pid]

    with anyio.fail_after(60):
        await spawner.spawn(command)
        # The others were forked for the first child, too, in a hurry.
        hurried = WAITING - 1
        *rehearsed, least, _ = sorted([await pages_of_a_start() for _ in range(hurried + WAITING)])
    assert max(rehearsed) < least / 2


@pytest.mark.parametrize("victim", ["guardian", "waiting"])
async def test_who_has_no_program_ends_at_sigterm_and_is_replaced(
    spawner: Spawner, tmp_path: Path, victim: str
) -> None:
    command = Command(["/bin/sleep", "1000"], ENV, tmp_path)
    with anyio.fail_after(60):
        first = await spawner.spawn(command)
        pids = [*await waiting_shepherds(spawner)] if victim == "waiting" else [spawner.guardian_pid]
        for pid in pids:
            assert pid is not None
            os.kill(pid, signal.SIGTERM)
            await end_of(pid)
        await spawner.spawn(command)
        assert not set(pids) & {spawner.guardian_pid, *await waiting_shepherds(spawner)}
        assert first.exit_code is None


async def test_a_shepherd_told_to_end_stops_its_child_first(spawner: Spawner, tmp_path: Path) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live, hiding(spawner, tmp_path, live, {"pause": True}) as child:
            os.kill(child.shepherd_pid, signal.SIGTERM)
            assert await child.wait() == -signal.SIGKILL
            assert not child.lost
            await live.all_gone()


@pytest.mark.parametrize("limit", [64, 4096])
def test_there_is_room_for_many_children_before_the_first(limit: int) -> None:
    script = (
        "import resource; from dragoman.processes import Spawner;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit})); Spawner();"
        "print(open('/proc/self/status').read().partition('FDSize:')[2].split()[0])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert (int(said.stdout) >= ROOM) == (limit >= ROOM)


async def test_whoever_runs_waits_a_moment_for_those_that_are_being_started(
    spawner: Spawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, done = anyio.Event(), list[str]()
    ask = spawner._ask  # pyright: ignore[reportPrivateUsage] - a start that takes as long as the test wants

    async def asked(*arguments: Any) -> GuardedChild | None:  # noqa: ANN401 - handed on
        await goes_on.wait()
        return await ask(*arguments)

    async def start() -> None:
        await spawner.spawn(Command(["/bin/true"], ENV, tmp_path))
        done.append("started")

    async def calm() -> None:
        await spawner.calm()
        done.append("calm")

    monkeypatch.setattr(spawner, "_ask", asked)
    monkeypatch.setattr(spawner_module, "STARTS_FIRST_S", 60)
    with anyio.fail_after(60):
        await spawner.calm()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start)
            await anyio.wait_all_tasks_blocked()
            monkeypatch.setattr(spawner_module, "STARTS_FIRST_S", 0.01)
            await spawner.calm()
            monkeypatch.setattr(spawner_module, "STARTS_FIRST_S", 60)
            tasks.start_soon(calm)
            await anyio.wait_all_tasks_blocked()
            assert done == []
            goes_on.set()
    assert sorted(done) == ["calm", "started"]


WITHOUT_GUARDIAN = """
import os, socket
from dragoman.processes import wire
from dragoman.processes.guardian import Prctl, run_shepherd

control, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
left, leave = os.pipe()
os.close(left)
shepherd = os.fork()
if shepherd == 0:
    control.close()
    run_shepherd(theirs, leave, Prctl(), has_time=False)
ours, lifeline = socket.socketpair()
request = b"\\0".join([b"0.2", b"", b"", b"", b"", b"/", b"2", b"/bin/sleep", b"1000"])
ours.sendall(wire.LENGTH.pack(len(request)) + request)
nothing = os.open(os.devnull, os.O_RDWR)
socket.send_fds(control, [b"\\0"], [lifeline.fileno(), nothing, nothing, nothing])
lifeline.close()
kind, program, _ = wire.REPORT.unpack(ours.recv(wire.REPORT.size, socket.MSG_WAITALL))
ours.close()
print(kind, os.waitstatus_to_exitcode(os.waitpid(shepherd, 0)[1]))
try:
    os.kill(program, 9)
    print("it was left behind")
except ProcessLookupError:
    print("nothing is left")
"""


def test_a_guardian_killed_while_a_program_is_started_leaves_it_to_its_shepherd() -> None:
    argv = [sys.executable, "-c", WITHOUT_GUARDIAN]
    said = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert (said.stdout, said.stderr) == ("b'S' 0\nnothing is left\n", "")
