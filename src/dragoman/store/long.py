"""Writing what may be long, such as answers of megabytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

LONG_CHARS = 64 * 1024
PIECE_CHARS = 256 * 1024


def update(db: sqlite3.Connection, statement: str, values: Sequence[object]) -> sqlite3.Cursor:
    """Execute an UPDATE whose last value says which row.

    The connection keeps a statement for the next time, and all values of the last one with it: were one of them long,
    it would stay in memory as long as nobody needs the statement.
    """
    done = db.execute(statement, values)
    if any(isinstance(value, str) and len(value) > LONG_CHARS for value in values):
        db.execute(statement, [None] * len(values))  # no row
    return done


def if_short(text: str) -> str:
    """What a statement is given for a text: nothing instead of a long one, which `write_if_long` adds."""
    return text if len(text) <= LONG_CHARS else ""


def write_if_long(db: sqlite3.Connection, table: str, column: str, row: int, text: str) -> None:
    """Add a long text to the row with this rowid; it must be `writable`, and nothing long stand behind its column.

    A statement would hold it twice more while it runs, the connection once more until it needs the statement again, and
    the text itself its bytes as long as it is there. So it goes piece by piece, as bytes, into a place that is made for
    it, and whoever selects it says ``CAST(… AS TEXT)``.
    """
    if len(text) > LONG_CHARS:
        place = f"UPDATE {table} SET {column} = zeroblob(?) WHERE rowid = ?"  # noqa: S608 - our own words
        db.execute(place, (size_of(text), row))
        with db.blobopen(table, column, row) as blob:
            for piece in _pieces(text):
                blob.write(piece.encode())


def size_of(text: str) -> int:
    """The bytes of a text."""
    return len(text) if text.isascii() else sum(len(piece.encode("utf-8", "replace")) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE_CHARS):
        yield text[start : start + PIECE_CHARS]
