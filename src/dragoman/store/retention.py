"""What leaves the file, and when: a little at a time, so that nobody who writes waits long."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dragoman.store.history import MOST_TURNS, NUMBER_BITS, turn_id
from dragoman.store.search import CHARS, can_index, has_waiting, index_turns, renew_index, unindex_turn

if TYPE_CHECKING:
    import sqlite3

DAY_S = 86400.0
MB = 1_000_000
TURNS = 200
"""How many turns leave at a time: some ten milliseconds, which others may have to wait."""
PAGES = 500
"""How many pages that nobody needs are given back to the disk at a time."""
JOBS_DAYS = 30.0
"""How long ended jobs and the events of calls are kept at the most."""
LOGS_MB = 256.0
"""How much the events of calls may weigh, as they are in the file."""


@dataclass(frozen=True, slots=True)
class Expire:
    """Whatever is older than `keep_days`, and of the conversations the oldest until prompts and answers weigh less than
    `keep_mb`. What is running stays. None: no bound, but ended jobs and events go after 30 days all the same.

    One does a part of it; `Store.expire` does all.
    """

    keep_days: float | None = None
    keep_mb: float | None = None
    now: float = field(default_factory=time.time)

    def apply(self, db: sqlite3.Connection, server_id: int) -> bool:  # noqa: ARG002 - the file is everyone's
        """Whether there may be more to do."""
        return (
            purge(db)
            or self._drop_conversations(db)
            or self._delete_jobs(db)
            or self._delete_logs(db)
            or _give_back(db)
        )

    def _drop_conversations(self, db: sqlite3.Connection) -> bool:
        """Delete up to `TURNS` conversations as far as that takes no time."""
        excess = None if self.keep_mb is None else _excess(db, self.keep_mb * MB)
        before = None if self.keep_days is None else self.now - self.keep_days * DAY_S
        going: list[int] = []
        for key, updated_at, size in db.execute(
            "SELECT key, updated_at, bytes FROM conversations WHERE id IS NOT NULL AND key NOT IN"
            " (SELECT id >> ? FROM turns WHERE status = 'running') ORDER BY updated_at, key LIMIT ?",
            (NUMBER_BITS, TURNS),
        ):
            if (before is None or updated_at >= before) and (excess is None or excess <= 0):
                break
            going.append(key)
            excess = None if excess is None else excess - size
        for key in going:
            drop(db, key)
        return bool(going)

    def _delete_jobs(self, db: sqlite3.Connection) -> bool:
        deleted = db.execute(
            "DELETE FROM jobs WHERE number IN (SELECT number FROM jobs WHERE created_at < ? ORDER BY number LIMIT ?)"
            " AND status <> 'running'",
            (self._oldest_job(), TURNS),
        )
        return deleted.rowcount == TURNS

    def _delete_logs(self, db: sqlite3.Connection) -> bool:
        excess = db.execute("SELECT coalesce(sum(bytes), 0) FROM call_logs").fetchone()[0] - LOGS_MB * MB
        before = self._oldest_job()
        going: list[tuple[int]] = []
        for row, created_at, size in db.execute(
            "SELECT id, created_at, bytes FROM call_logs ORDER BY created_at LIMIT ?", (TURNS,)
        ):
            if created_at >= before and excess <= 0:
                break
            going.append((row,))
            excess -= size
        db.executemany("DELETE FROM call_logs WHERE id = ?", going)
        return len(going) == TURNS

    def _oldest_job(self) -> float:
        return self.now - DAY_S * (JOBS_DAYS if self.keep_days is None else min(self.keep_days, JOBS_DAYS))


def drop(db: sqlite3.Connection, key: int) -> None:
    """Delete a conversation as far as that takes no time. `purge` takes its turns."""
    db.execute("DELETE FROM sessions WHERE conversation = ?", (key,))
    db.execute("UPDATE conversations SET id = NULL, title = '', system_prompt = NULL WHERE key = ?", (key,))


def purge(db: sqlite3.Connection) -> bool:
    """Delete some turns of deleted conversations; whether there may be more."""
    room, chars = TURNS, CHARS
    for (key,) in db.execute("SELECT key FROM conversations WHERE id IS NULL LIMIT ?", (TURNS,)).fetchall():
        bounds = (turn_id(key, 1), turn_id(key, MOST_TURNS), room)
        turns = db.execute("SELECT id, status FROM turns WHERE id BETWEEN ? AND ? LIMIT ?", bounds).fetchall()
        for turn, status in turns:
            if status != "running":
                chars -= unindex_turn(db, turn)
            db.execute("DELETE FROM turns WHERE id = ?", (turn,))
            if chars <= 0:
                return True
        room -= len(turns)
        if room == 0:
            return True
        db.execute("DELETE FROM conversations WHERE key = ?", (key,))
    return _has_deleted(db)


def tidy(db: sqlite3.Connection) -> bool:
    """What can wait until nobody wants anything, a little of it in a transaction of its own; whether there may be more.

    Turns get into the full-text index, those of deleted conversations leave, and so do pages that nobody needs.
    """
    import sqlite3

    indexes = has_waiting(db) and can_index(db)
    if not (indexes or _has_deleted(db) or _can_give_back(db)):
        return False
    db.execute("BEGIN IMMEDIATE")
    try:
        _ = (indexes and index_turns(db)) or purge(db) or _give_back(db)
        db.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        if not error.sqlite_errorname.startswith("SQLITE_CORRUPT"):
            raise
        db.execute("BEGIN IMMEDIATE")
        renew_index(db)
        db.execute("COMMIT")
    return True


def _has_deleted(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM conversations WHERE id IS NULL LIMIT 1").fetchone() is not None


def _pragma(db: sqlite3.Connection, name: str) -> int:
    value: int = db.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _excess(db: sqlite3.Connection, room: float) -> float:
    """How much more than that prompts and answers weigh."""
    if _pragma(db, "page_count") * _pragma(db, "page_size") <= room:
        return 0.0  # they are counted only if they can be too much
    size: int = db.execute("SELECT coalesce(sum(bytes), 0) FROM conversations WHERE id IS NOT NULL").fetchone()[0]
    return size - room


def _can_give_back(db: sqlite3.Connection) -> bool:
    """Whether the file was made so that it can be shortened (2: incremental), and it is worth it."""
    return _pragma(db, "freelist_count") > PAGES and _pragma(db, "auto_vacuum") == 2


def _give_back(db: sqlite3.Connection) -> bool:
    """Make the file shorter; whether there may be more to do."""
    if _can_give_back(db):
        for _ in range(PAGES):
            db.execute("PRAGMA incremental_vacuum(1)")  # for more than one, `sqlite3` would have to ask for each
    return _can_give_back(db)
