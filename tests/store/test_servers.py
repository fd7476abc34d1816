"""Several servers on one file: nobody's row is lost, and only the dead one's calls are given up."""

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from dragoman.store import CallEnded, CallStarted, ProcessStarted, identity, open_store
from dragoman.store.identity import Identity, start_time

pytestmark = pytest.mark.anyio

WRITER = """
import anyio, sys
from pathlib import Path
from dragoman.store import CallEnded, CallStarted, open_store

async def main(path, name, count):
    async with open_store(Path(path)) as store:
        for number in range(int(count)):
            call = f"{name}-{number}"
            await store.write(CallStarted(call, face="library", provider=name))
            print(call, flush=True)
            if name != "runs":
                store.post(CallEnded(call, "completed"))
        if name == "runs":
            await anyio.sleep_forever()

anyio.run(main, *sys.argv[1:])
"""


def writer(path: Path, name: str, count: int) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["/bin/sleep", "60"])


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


async def test_processes_that_open_and_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    writers = [writer(path, name, 150) for name in ("one", "two", "three")]
    for process in writers:
        _, errors = await anyio.to_thread.run_sync(lambda process=process: process.communicate(timeout=300))
        assert (process.returncode, errors) == (0, "")
    found = rows(path, "SELECT provider, status, count(*) FROM calls GROUP BY 1, 2 ORDER BY 1")
    assert found == [("one", "completed", 150), ("three", "completed", 150), ("two", "completed", 150)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("after", [1, 40, 333])
async def test_a_killed_writer_loses_no_acknowledged_row(tmp_path: Path, after: int) -> None:
    path = tmp_path / "store.sqlite3"
    with writer(path, "killed", 1_000_000) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(after)]
        process.kill()
        acknowledged += process.stdout.read().split("\n")[:-1]
    assert process.returncode == -signal.SIGKILL
    assert len(acknowledged) >= after
    async with open_store(path):
        kept = {row[0] for row in rows(path, "SELECT id FROM calls")}
        assert set(acknowledged) <= kept
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]
        assert rows(path, "SELECT count(*) FROM calls WHERE status = 'running'") == [(0,)]


async def test_calls_of_a_dead_server_are_interrupted_and_those_of_a_living_one_go_on(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    with writer(path, "runs", 1) as dead, writer(path, "runs-on", 1_000_000) as living:
        for process in (dead, living):
            assert process.stdout is not None
            assert process.stdout.readline()
        async with open_store(path) as own:
            await own.write(CallStarted("own", face="library"))
            async with open_store(path):
                assert rows(path, "SELECT status FROM calls WHERE id IN ('runs-0', 'own')") == [("running",)] * 2
            dead.kill()
            await anyio.to_thread.run_sync(dead.wait)
            async with open_store(path):
                found = dict(rows(path, "SELECT id, status FROM calls WHERE id IN ('runs-0', 'own')"))
                assert found == {"runs-0": "interrupted", "own": "running"}
                assert rows(path, "SELECT count(*) FROM calls WHERE status = 'interrupted'") == [(1,)]
            await own.write(CallEnded("own", "completed"))
        living.kill()
    assert rows(path, "SELECT status FROM calls WHERE id = 'own'") == [("completed",)]


async def test_what_still_runs_when_the_store_is_closed_is_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    async with open_store(path) as store:
        store.post(CallStarted("c1", face="library"))
    assert rows(path, "SELECT status FROM calls") == [("interrupted",)]


async def test_looking_at_the_figures_alone_registers_no_server(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    async with open_store(path) as store:
        assert await store.stats() == []
    assert rows(path, "SELECT * FROM servers") == []


def test_a_process_is_gone_when_its_pid_boot_or_start_is_another() -> None:
    own = Identity.own()
    assert not own.is_gone()
    assert replace(own, boot_id="another").is_gone()
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        other = replace(own, pid=child.pid, start_time=start_time(child.pid))
        assert not other.is_gone()
        child.communicate(b"\n")
    assert other.is_gone()
    assert replace(other, start_time=None).is_gone()


@pytest.mark.skipif(sys.platform != "linux", reason="start times come from /proc")
def test_a_pid_that_is_used_again_is_another_process() -> None:
    own = Identity.own()
    assert own.start_time is not None
    assert replace(own, start_time=own.start_time - 1).is_gone()


@pytest.mark.skipif(sys.platform != "linux", reason="start times come from /proc")
def test_who_cannot_be_looked_at_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    own, namespace = Identity.own(), str(Path("/proc/self/ns/pid").readlink())

    def too_many(*_: object, **__: object) -> bytes:
        raise OSError(errno.EMFILE, "too many open files")

    identity._read_boot_id.cache_clear()  # pyright: ignore[reportPrivateUsage] - as in a new process
    with monkeypatch.context() as starved:
        starved.setattr("builtins.open", too_many)
        starved.setattr(Path, "read_text", too_many)
        assert not own.is_gone()
        written_then = Identity.own()
    assert written_then == Identity(own.pid, None, None, namespace)
    assert not written_then.is_gone()
    assert Identity.own() == own, "what could not be read once is read again"


@pytest.mark.skipif(sys.platform != "linux", reason="start times come from /proc")
def test_a_dead_process_that_was_not_waited_for_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", ""], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        started = start_time(child.pid)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(child.pid) is None
        assert replace(Identity.own(), pid=child.pid, start_time=started or 0).is_gone()


def test_a_process_counted_elsewhere_is_never_given_up() -> None:
    """Another container's pid means nothing here."""
    assert not replace(Identity.own(), pid=2**22 + 1, pid_namespace="pid:[1]").is_gone()


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells when a process started")
async def test_a_pid_that_somebody_else_got_before_it_was_written_down_is_not_recorded_as_ours(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    with sleeper() as process:
        try:
            now = time.time()
            async with open_store(path) as store:
                await store.write(CallStarted("ours", "mcp", "claude"))
                await store.write(ProcessStarted(process.pid, "ours", started_at=now))
                # It says that it was there a minute ago, and so it was another one.
                await store.write(CallStarted("older", "mcp", "claude"))
                await store.write(ProcessStarted(process.pid, "older", started_at=now - 60))
            begun = start_time(process.pid)
        finally:
            process.kill()
    assert rows(path, "SELECT call_id, start_time FROM processes ORDER BY id") == [("ours", begun), ("older", None)]
