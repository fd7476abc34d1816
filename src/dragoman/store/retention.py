"""What leaves the file, and when: a little at a time, so that nobody who writes waits long."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dragoman.store.search import index_turn, unindex_turn

if TYPE_CHECKING:
    import sqlite3

DAY_S = 86400.0
MB = 1_000_000
TURNS = 200
"""How many turns leave at a time: some milliseconds."""
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
            or _index_waiting(db)
            or _give_back(db)
        )

    def _drop_conversations(self, db: sqlite3.Connection) -> bool:
        """Delete up to `TURNS` conversations as far as that takes no time."""
        excess = None if self.keep_mb is None else _bytes(db) - self.keep_mb * MB
        before = None if self.keep_days is None else self.now - self.keep_days * DAY_S
        going: list[int] = []
        for key, updated_at, size in db.execute(
            "SELECT key, updated_at, bytes FROM conversations WHERE id IS NOT NULL AND NOT EXISTS"
            " (SELECT 1 FROM turns t WHERE t.conversation = conversations.key AND t.number = conversations.turns"
            " AND t.status = 'running') ORDER BY updated_at, key LIMIT ?",
            (TURNS,),
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
    room = TURNS
    for (key,) in db.execute("SELECT key FROM conversations WHERE id IS NULL LIMIT ?", (TURNS,)).fetchall():
        turns = db.execute(
            "SELECT id, indexed, prompt, text FROM turns WHERE conversation = ? LIMIT ?", (key, room)
        ).fetchall()
        for turn, indexed, prompt, text in turns:
            if indexed:
                unindex_turn(db, turn, prompt, text)
        db.executemany("DELETE FROM turns WHERE id = ?", [turn[:1] for turn in turns])
        room -= len(turns)
        if room == 0:
            return True
        db.execute("DELETE FROM conversations WHERE key = ?", (key,))
    return db.execute("SELECT 1 FROM conversations WHERE id IS NULL LIMIT 1").fetchone() is not None


def _bytes(db: sqlite3.Connection) -> int:
    """What all conversations weigh, from the index that has their weights."""
    size: int = db.execute("SELECT coalesce(sum(bytes), 0) FROM conversations WHERE id IS NOT NULL").fetchone()[0]
    return size


def _index_waiting(db: sqlite3.Connection) -> bool:
    """Put some of the turns into the full-text index that are not in it yet; whether there may be more."""
    waiting = db.execute("SELECT id, prompt, text FROM turns WHERE indexed = 0 LIMIT ?", (TURNS,)).fetchall()
    done = [(turn,) for turn, prompt, text in waiting if index_turn(db, turn, prompt, text)]
    db.executemany("UPDATE turns SET indexed = 1 WHERE id = ?", done)
    return len(done) == TURNS


def _give_back(db: sqlite3.Connection) -> bool:
    """Make the file shorter, if it was made so that it can be; whether there may be more."""
    if db.execute("PRAGMA auto_vacuum").fetchone()[0] != 2:
        return False
    db.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
    return db.execute("PRAGMA freelist_count").fetchone()[0] > 0
