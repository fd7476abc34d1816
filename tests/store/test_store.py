"""What is written is there, for everyone, after the worst has happened to the writer."""
# ruff: noqa: ASYNC220, ASYNC240 - nothing else of the loop waits while a test looks at its files

import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from dragoman.schemas import ErrorCode, Usage
from dragoman.store import CallEnded, CallStarted, ProcessEnded, ProcessStarted, Store, StoreError, open_store
from dragoman.store.migrations import MIGRATIONS
from dragoman.store.writer import GATHER_S, Job, Writer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[Store]:
    async with open_store(path, on_error=_raise) as store:
        yield store


def _raise(error: StoreError) -> None:
    raise AssertionError from error


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def started(call_id: str, provider: str | None = "claude") -> CallStarted:
    return CallStarted(call_id, face="library", provider=provider, started_at=1000.0)


async def test_a_call_is_kept_from_its_start_to_its_end(store: Store, path: Path) -> None:
    await store.write(CallStarted("c1", face="mcp", depth=1, started_at=12.5))
    running = "SELECT id, provider, model, face, status, depth, started_at, duration_s FROM calls"
    assert rows(path, running) == [("c1", None, None, "mcp", "running", 1, 12.5, None)]
    ended = CallEnded(
        *("c1", "failed", ErrorCode.AUTH, "codex", "m-1", 2.5, 0.5, 2, 1, "codex app-server --model=…"),
        usage=Usage(input_tokens=10, cached_input_tokens=4, output_tokens=3, cost_usd=0.25),
        billing="metered",
    )
    await store.write(ended)
    columns = "status, code, provider, model, duration_s, first_output_s, attempts, exit_code, argv_shape"
    assert rows(path, f"SELECT {columns} FROM calls") == [  # noqa: S608 - our own words
        ("failed", "auth", "codex", "m-1", 2.5, 0.5, 2, 1, "codex app-server --model=…")
    ]
    assert rows(path, "SELECT * FROM usage") == [("c1", 10, 4, 3, 0.25, "metered")]


async def test_an_end_without_provider_and_model_leaves_those_of_the_start(store: Store, path: Path) -> None:
    await store.write(CallStarted("c1", face="cli", provider="claude", model="opus"))
    await store.write(CallEnded("c1", "completed"))
    assert rows(path, "SELECT provider, model, status FROM calls") == [("claude", "opus", "completed")]
    assert rows(path, "SELECT * FROM usage") == []


async def test_a_process_is_known_by_pid_and_start_time(store: Store, path: Path) -> None:
    await store.write(started("c1"))
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        began = time.time()
        await store.write(ProcessStarted(child.pid, "c1", started_at=began))
        [(pid, start_time)] = rows(path, "SELECT pid, start_time FROM processes WHERE ended_at IS NULL")
        child.communicate(b"\n")
    assert pid == child.pid
    assert (start_time is not None) is (sys.platform == "linux")
    await store.write(ProcessEnded(child.pid, ended_at=9.0))
    assert rows(path, "SELECT pid, call_id, started_at, ended_at FROM processes") == [(child.pid, "c1", began, 9.0)]


async def test_posted_records_are_written_in_order_by_the_time_it_is_closed(path: Path) -> None:
    async with open_store(path, on_error=_raise) as store:
        for number in range(3000):
            store.post(started(f"c{number}"))
            store.post(CallEnded(f"c{number}", "completed"))
    assert rows(path, "SELECT status, count(*) FROM calls GROUP BY 1") == [("completed", 3000)]


async def test_many_tasks_wait_for_their_own_records_at_once(store: Store, path: Path) -> None:
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(store.write, started(f"c{number}"))
    assert rows(path, "SELECT count(*) FROM calls") == [(300,)]


async def test_a_cancelled_wait_neither_undoes_the_record_nor_holds_up_the_others(store: Store, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        cancelled = anyio.CancelScope()

        async def wait_first() -> None:
            with cancelled:
                await store.write(started("first"))

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait_first)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(store.write, started("second"))
                await anyio.wait_all_tasks_blocked()
                cancelled.cancel()
                await anyio.wait_all_tasks_blocked()
                other.execute("ROLLBACK")
    assert rows(path, "SELECT id FROM calls ORDER BY 1") == [("first",), ("second",)]


async def test_a_record_that_does_not_fit_takes_no_other_with_it(path: Path) -> None:
    told: list[StoreError] = []
    async with open_store(path, on_error=told.append) as store:
        store.post(started("c1"))
        store.post(started("c1"))
        store.post(CallEnded("nobody", "completed"))
        store.post(started("c2"))
        with pytest.raises(StoreError, match="call 'nobody' has no start"):
            await store.write(CallEnded("nobody", "completed"))
        with pytest.raises(StoreError, match="process 1 has no start"):
            await store.write(ProcessEnded(1))
        with pytest.raises(StoreError, match="FOREIGN KEY"):
            await store.write(ProcessStarted(1, "nobody"))
        await store.write(CallEnded("c2", "completed"))
    assert rows(path, "SELECT id FROM calls ORDER BY 1") == [("c1",), ("c2",)]
    assert ["UNIQUE" in str(error) for error in told] == [True]


def test_what_is_posted_waits_for_its_time_unless_somebody_has_it_written(path: Path) -> None:
    asked: list[tuple[float, Callable[[], None]]] = []
    writer = Writer(path, lambda: None, _raise, lambda seconds, write: asked.append((seconds, write)))
    writer.start()
    first, second = writer.put(started("c1"), waited=False), writer.put(started("c2"), waited=False)
    assert [seconds for seconds, _ in asked] == [GATHER_S], "it is asked once for all that is gathered"
    asked[0][1]()
    _written(first)
    assert second.done
    third = writer.put(started("c3"), waited=False)
    assert len(asked) == 2
    writer.want(third)
    _written(third)
    writer.stop()
    writer.join(30)
    assert rows(path, "SELECT id FROM calls ORDER BY 1") == [("c1",), ("c2",), ("c3",)]


async def test_who_waits_for_what_was_posted_has_it_written_at_once(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dragoman.store.writer.GATHER_S", 3600)
    posted = store.post(started("c1"))
    with anyio.fail_after(60):
        await store.written(posted)
        assert rows(path, "SELECT id FROM calls") == [("c1",)]
        await store.written(posted)  # it is


async def test_who_waits_for_what_was_posted_hears_why_it_is_not_kept(path: Path) -> None:
    told: list[StoreError] = []
    async with open_store(path, on_error=told.append) as store:
        await store.write(started("c1"))
        with anyio.fail_after(60), pytest.raises(StoreError, match="UNIQUE"):
            await store.written(store.post(started("c1")))
    assert told == []


def _written(job: Job) -> None:
    until = time.monotonic() + 30
    while not job.done:
        assert time.monotonic() < until
        time.sleep(0.001)  # its thread tells nobody here
    assert job.error is None


async def test_a_closed_store_says_so_and_closes_again(path: Path) -> None:
    store = await Store.open(path)
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        store.post(started("c1"))
    with pytest.raises(StoreError, match="closed"):
        await store.write(started("c1"))


async def test_file_and_folder_are_for_their_owner_alone(store: Store, path: Path) -> None:
    await store.write(started("c1"))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert files == {path.name: 0o600, f"{path.name}-wal": 0o600, f"{path.name}-shm": 0o600}


async def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    async with open_store(path):
        pass
    path.chmod(0o644)
    async with open_store(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_file_of_a_newer_version_is_left_as_it_is(path: Path) -> None:
    async with open_store(path) as store:
        await store.write(started("c1"))
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer Dragoman \(version 99.*this one knows \d\); update Dragoman"):
        await Store.open(path)
    assert path.read_bytes() == before


async def test_a_file_of_an_older_version_is_brought_up_and_keeps_its_rows(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(path) as store:
        await store.write(started("c1"))
    newer = (*MIGRATIONS, ("ALTER TABLE calls ADD COLUMN mood TEXT", "UPDATE calls SET mood = 'good'"))
    monkeypatch.setattr("dragoman.store.migrations.MIGRATIONS", newer)
    async with open_store(path):
        assert rows(path, "SELECT id, mood FROM calls") == [("c1", "good")]
        assert rows(path, "PRAGMA user_version") == [(len(newer),)]


async def test_a_migration_that_fails_half_way_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store(path):
        pass
    broken = (*MIGRATIONS, ("ALTER TABLE calls ADD COLUMN mood TEXT", "nonsense"))
    monkeypatch.setattr("dragoman.store.migrations.MIGRATIONS", broken)
    with pytest.raises(StoreError, match="nonsense"):
        await Store.open(path)
    assert rows(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert "mood" not in {row[1] for row in rows(path, "PRAGMA table_info(calls)")}


async def test_what_is_no_database_is_left_as_it_is_and_says_what_to_do(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"these are not the pages of a database" * 100)
    with pytest.raises(StoreError, match="not a database; move the file away") as caught:
        await Store.open(path)
    assert caught.value.path == path
    assert path.read_bytes() == b"these are not the pages of a database" * 100


async def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="make the folder writable, or set DRAGOMAN_HOME"):
        await Store.open(tmp_path / "file" / "store.sqlite3")


async def test_a_full_disk_fails_what_waits_and_is_told_once_for_what_does_not(path: Path) -> None:
    """SQLite's own limit of pages gives the same error as a full disk."""
    told: list[StoreError] = []
    async with open_store(path, on_error=told.append) as store:
        await store.write(_Pages(0))
        with pytest.raises(StoreError, match="full; free some space"):
            await store.write(CallStarted("c1", face="x" * 1_000_000))
        for number in range(5):
            store.post(CallStarted(f"p{number}", face="x" * 1_000_000))
            with pytest.raises(StoreError):
                await store.write(CallStarted(f"q{number}", face="x" * 1_000_000))
        await store.write(_Pages(1_000_000))
        await store.write(started("later"))
    assert len(told) == 1
    assert "full" in str(told[0])
    assert rows(path, "SELECT id FROM calls") == [("later",)]


class _Pages:
    """Sets how many pages the file may have; not fewer than it has."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:
        db.execute(f"PRAGMA max_page_count = {self._limit or 40}")


async def test_a_file_that_another_holds_is_waited_for_and_then_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dragoman.store.writer.BUSY_TIMEOUT_S", 0.05)
    async with open_store(path) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with anyio.fail_after(60), pytest.raises(StoreError, match="another program holds the file"):
                await store.write(started("c1"))


def test_importing_the_store_imports_no_database() -> None:
    program = "import sys, dragoman.store; print(sorted({'sqlite3', '_sqlite3', 'aiosqlite'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


async def test_closing_does_not_wait_long_for_a_file_that_another_holds(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dragoman.store.store.CLOSE_S", 0.05)
    before = threading.enumerate()
    store = await Store.open(path)
    [writer] = [thread for thread in threading.enumerate() if thread.name == "dragoman-store" and thread not in before]
    told: list[StoreError] = []

    async def wait() -> None:
        with pytest.raises(StoreError, match="closed before it was written") as caught:
            await store.write(started("c1"))
        told.append(caught.value)

    with closing(sqlite3.connect(path, isolation_level=None)) as other, anyio.fail_after(60):
        other.execute("BEGIN IMMEDIATE")
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await store.close()
        other.execute("ROLLBACK")
        await anyio.to_thread.run_sync(writer.join)
    assert len(told) == 2
    assert rows(path, "SELECT id FROM calls") == [("c1",)]
