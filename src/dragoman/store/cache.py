"""Answers that are kept for the same question."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

ROWS = 500
"""How many answers leave at a time."""
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An answer as it stands in the file."""

    created_at: float
    reply: str
    """As `AnswerCached.reply` gave it."""


@dataclass(frozen=True, slots=True)
class AnswerCached:
    """An answer is kept under the name of its question, in place of an earlier one."""

    key: str
    reply: str
    created_at: float = field(default_factory=time.time)

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:  # noqa: ARG002 - an answer is everyone's
        """The row."""
        db.execute(
            "INSERT OR REPLACE INTO cached_answers (key, created_at, bytes, reply) VALUES (?, ?, ?, ?)",
            (self.key, self.created_at, len(self.key) + len(self.reply.encode()), self.reply),
        )


@dataclass(frozen=True, slots=True)
class CacheTrimmed:
    """Whatever is older than `keep_s` leaves, and the oldest until the rest weighs no more than `max_mb`."""

    keep_s: float
    max_mb: float
    now: float = field(default_factory=time.time)

    def apply(self, db: sqlite3.Connection, server_id: int) -> int:  # noqa: ARG002 - the file is everyone's
        """How many left."""
        left = db.execute("DELETE FROM cached_answers WHERE created_at < ?", (self.now - self.keep_s,)).rowcount
        size: int = db.execute("SELECT coalesce(sum(bytes), 0) FROM cached_answers").fetchone()[0]
        excess = size - self.max_mb * MB
        while excess > 0:
            going: list[tuple[str]] = []
            for key, weight in db.execute(
                "SELECT key, bytes FROM cached_answers ORDER BY created_at, key LIMIT ?", (ROWS,)
            ).fetchall():
                if excess <= 0:
                    break
                going.append((key,))
                excess -= weight
            db.executemany("DELETE FROM cached_answers WHERE key = ?", going)
            left += len(going)
        return left


def read_answer(db: sqlite3.Connection, key: str) -> CachedAnswer | None:
    """The answer to a question, however old."""
    row = db.execute("SELECT created_at, reply FROM cached_answers WHERE key = ?", (key,)).fetchone()
    return CachedAnswer(*row) if row else None
