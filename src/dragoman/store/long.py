"""Writing what may be long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

LONG_CHARS = 64 * 1024


def update(db: sqlite3.Connection, statement: str, values: Sequence[object]) -> sqlite3.Cursor:
    """Execute an UPDATE whose last value says which row.

    The connection keeps a statement for the next time, and all values of the last one with it: were one of them long,
    it would stay in memory as long as nobody needs the statement.
    """
    done = db.execute(statement, values)
    if any(isinstance(value, str) and len(value) > LONG_CHARS for value in values):
        db.execute(statement, [None] * len(values))  # no row
    return done
