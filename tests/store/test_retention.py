"""What leaves the file, and that it leaves little by little."""
# ruff: noqa: ASYNC240 - nothing else of the loop waits while a test looks at its files

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dragoman.schemas import Text
from dragoman.store import (
    CallLog,
    ConversationDeleted,
    ConversationImported,
    Expire,
    JobEnded,
    JobStarted,
    Store,
    TurnRow,
    TurnStarted,
    open_store,
    retention,
)
from dragoman.store.retention import DAY_S, JOBS_DAYS, PAGES, TURNS
from tests.store.talk import say, session

pytestmark = pytest.mark.anyio

NOW = 1000 * DAY_S


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


async def expire(store: Store, keep_days: float | None = None, keep_mb: float | None = None) -> int:
    """In how many steps."""
    steps = 1
    while await store.write(Expire(keep_days, keep_mb, NOW)):
        steps += 1
    return steps


async def names(store: Store) -> list[str]:
    return sorted(row.id for row in await store.conversations())


def turns(count: int, size: int, at: float = NOW) -> tuple[TurnRow, ...]:
    turn = TurnRow(0, "k", "completed", "claude", None, None, None, at, at, None, "?", "x" * (size - 1))
    return (turn,) * count


async def test_without_bounds_no_conversation_leaves(store: Store) -> None:
    await say(store, "old", "k", at=1.0)
    await expire(store)
    assert await names(store) == ["old"]


async def test_what_was_not_used_for_some_days_leaves_with_all_that_belongs_to_it(store: Store, path: Path) -> None:
    await say(store, "old", "k1", at=NOW - 11 * DAY_S, sessions=(session("old"),))
    await say(store, "used", "k2", at=NOW - 11 * DAY_S)
    await say(store, "used", "k3", at=NOW - 9 * DAY_S)
    await say(store, "new", "k4", at=NOW)
    await store.write(TurnStarted("running", "k5", "why?", started_at=NOW - 11 * DAY_S))
    await expire(store, keep_days=10)
    assert await names(store) == ["new", "running", "used"]
    assert rows(path, "SELECT call_id FROM turns ORDER BY 1") == [("k2",), ("k3",), ("k4",), ("k5",)]
    assert rows(path, "SELECT count(*) FROM sessions") == [(0,)]


async def test_the_oldest_leave_until_the_rest_is_small_enough(store: Store) -> None:
    for number in range(6):
        await store.write(ConversationImported(f"c{number}", turns(2, 100_000, NOW + number)))
    await expire(store, keep_mb=0.65)
    assert await names(store) == ["c3", "c4", "c5"]
    await expire(store, keep_mb=0.6)
    assert await names(store) == ["c3", "c4", "c5"]
    await expire(store, keep_mb=0.599)
    assert await names(store) == ["c4", "c5"]


async def test_a_large_conversation_leaves_in_steps_that_are_small(store: Store, path: Path) -> None:
    await store.write(ConversationImported("long", turns(3 * TURNS + 1, 100)))
    await store.write(ConversationImported("short", turns(1, 100)))
    await store.write(ConversationDeleted("long"))
    assert await expire(store) >= 4
    assert rows(path, "SELECT count(*) FROM turns") == [(1,)]
    assert rows(path, "SELECT count(*) FROM conversations") == [(1,)]


async def test_ended_jobs_and_logs_leave_after_a_month_or_sooner(store: Store) -> None:
    for name, age in (("old", JOBS_DAYS + 1), ("recent", JOBS_DAYS - 1), ("now", 0)):
        await store.write(JobStarted(name, "mcp", "?", created_at=NOW - age * DAY_S))
        await store.write(JobEnded(name, "completed"))
        await store.write(CallLog(name, [Text(text="x")], created_at=NOW - age * DAY_S))
    await store.write(JobStarted("running", "mcp", "?", created_at=1.0))
    await expire(store)
    assert [job.id for job in await store.jobs()] == ["running", "now", "recent"]
    assert [await store.call_log(name) is None for name in ("old", "recent", "now")] == [True, False, False]
    await expire(store, keep_days=2)
    assert [job.id for job in await store.jobs()] == ["running", "now"]
    assert await store.call_log("recent") is None


async def test_logs_that_weigh_too_much_leave_the_oldest_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        await store.write(CallLog(f"k{number}", [Text(text=f"{number}")], created_at=NOW + number))
    weight = sum(row[0] for row in rows(store.path, "SELECT bytes FROM call_logs"))
    monkeypatch.setattr(retention, "LOGS_MB", weight / 2 / 1e6)
    await expire(store)
    kept = [await store.call_log(f"k{number}") is not None for number in range(10)]
    assert kept == [False] * 5 + [True] * 5


async def test_jobs_and_logs_leave_in_steps_until_none_is_left(store: Store) -> None:
    for number in range(TURNS + 10):
        store.post(JobStarted(f"j{number}", "mcp", "?", created_at=1.0))
        store.post(JobEnded(f"j{number}", "completed"))
        store.post(CallLog(f"j{number}", [Text(text="x")], created_at=1.0))
    assert await expire(store) >= 2
    assert await store.jobs() == []
    assert rows(store.path, "SELECT count(*) FROM call_logs") == [(0,)]


async def test_the_file_gets_smaller_again(path: Path) -> None:
    async with open_store(path) as store:
        await store.write(ConversationImported("large", turns(10, 8 * 4096 * PAGES // 10)))
    large = path.stat().st_size
    async with open_store(path) as store:
        await store.write(ConversationDeleted("large"))
        await expire(store)
    assert path.stat().st_size < large / 4
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
