"""Finding turns by their words, with SQLite's full-text index where this Python's SQLite has one (FTS5).

A turn that is not in it, because it has only just ended or there is no such index, is read instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from typing import TYPE_CHECKING

from dragoman.schemas.text import writable
from dragoman.store.history import MOST_TURNS, NUMBER_BITS

if TYPE_CHECKING:
    import sqlite3

INDEXED_CHARS = 100_000
"""So much of a prompt, and of an answer, can be found."""
MOST_UTF8 = 4
"""Bytes of a character."""
READ_TURNS = 20_000
"""How many turns that are not in the index are read, the newest first: about a quarter of a second."""
LOOKED_AT = 2_000
"""How many turns that have the words are looked at, to find the conversations that were used last."""
EXCERPT_CHARS = 160

TURNS = 50
CHARS = 200_000
"""How many turns, and how much text, are indexed at a time: some ten milliseconds, which others may have to wait."""

# The words alone: the texts stand in `turns`.
_CREATE = "CREATE VIRTUAL TABLE IF NOT EXISTS turns_search USING fts5(prompt, text, content='', columnsize=0)"
_IDEOGRAPH = re.compile("([\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff])")


@dataclass(frozen=True, slots=True)
class Found:
    """A conversation in which all words of a search stand in one turn."""

    conversation_id: str
    title: str
    updated_at: float
    number: int
    """The newest such turn."""
    provider: str | None
    started_at: float
    excerpt: str
    """What stands around the first of the words that it has."""


@dataclass(frozen=True, slots=True)
class Search:
    """What was found, the conversation that was used last first."""

    found: tuple[Found, ...]
    note: str | None = None
    """Why there may be more."""


def prepare_index(db: sqlite3.Connection) -> None:
    """Make the index, if it is not there and can be."""
    if not _has_index(db) and _has_fts5(db):
        db.execute(_CREATE)


def can_index(db: sqlite3.Connection) -> bool:
    """Whether there is an index that this SQLite can use."""
    return _has_index(db) and _has_fts5(db)


def has_waiting(db: sqlite3.Connection) -> bool:
    """Whether some turn is not in the index."""
    return db.execute("SELECT 1 FROM turns_to_index LIMIT 1").fetchone() is not None


def index_turns(db: sqlite3.Connection) -> bool:
    """Put some turns into the index that have ended since; whether there may be more.

    Not when they are kept: whoever waits for that does not wait for this, and a damaged index costs no turn.
    """
    room = CHARS
    waiting = db.execute("SELECT turn FROM turns_to_index LIMIT ?", (TURNS,)).fetchall()
    for (turn,) in waiting:
        room -= index_turn(db, turn)
        db.execute("DELETE FROM turns_to_index WHERE turn = ?", (turn,))
        if room <= 0:
            break
    return bool(waiting)


def index_turn(db: sqlite3.Connection, turn: int) -> int:
    """Put a turn into the index; how many characters it has there."""
    prompt, text = _words(db, turn)
    db.execute("INSERT INTO turns_search (rowid, prompt, text) VALUES (?, ?, ?)", (turn, prompt, text))
    return len(prompt) + len(text)


def unindex_turn(db: sqlite3.Connection, turn: int) -> int:
    """Take a turn that has ended out of the index, if it is there; how many characters it had."""
    waits = db.execute("SELECT 1 FROM turns_to_index WHERE turn = ?", (turn,)).fetchone() is not None
    if waits or not can_index(db):
        return 0
    prompt, text = _words(db, turn)
    db.execute(
        "INSERT INTO turns_search (turns_search, rowid, prompt, text) VALUES ('delete', ?, ?, ?)", (turn, prompt, text)
    )
    return len(prompt) + len(text)


@dataclass(frozen=True, slots=True)
class IndexDamaged:
    """The full-text index cannot be read; the turns can. It is made anew while nobody wants anything else."""

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:  # noqa: ARG002 - the index is everyone's
        """An empty one, for which all turns wait."""
        renew_index(db)


def renew_index(db: sqlite3.Connection) -> None:
    """Begin the index anew, since it is damaged; all turns wait for it then."""
    db.execute("DROP TABLE turns_search")
    db.execute(_CREATE)
    db.execute("INSERT OR IGNORE INTO turns_to_index SELECT id FROM turns WHERE status <> 'running'")


def search_turns(db: sqlite3.Connection, text: str, limit: int) -> Search:
    """Conversations in which every word of `text` stands in one turn, whatever its case."""
    words = [word for word in writable(text).split() if any(map(str.isalnum, word))]
    if not words:
        return Search((), "there is no word to look for: give one that has letters or digits")
    note: list[str] = []
    indexed = _indexed(db, words) if can_index(db) else iter(())
    newest: dict[int, int] = {}
    for looked_at, turn in enumerate(merge(indexed, _read(db, words, note), reverse=True)):
        if looked_at == LOOKED_AT:
            note.append(f"only {LOOKED_AT} turns that have these words were looked at, of the newest conversations")
            break
        newest.setdefault(turn >> NUMBER_BITS, turn)
    # A conversation that is being deleted has no id any more; an SQLite without the index may have deleted turns.
    query = (
        "SELECT updated_at, key FROM conversations"
        " WHERE key = ? AND id IS NOT NULL AND EXISTS (SELECT 1 FROM turns WHERE id = ?)"
    )
    used = [(*row, turn) for key, turn in newest.items() for row in db.execute(query, (key, turn))]
    used.sort(reverse=True)
    return Search(tuple(_found(db, turn, words) for *_, turn in used[:limit]), "; ".join(note) or None)


def _indexed(db: sqlite3.Connection, words: list[str]) -> Iterator[int]:
    query = " AND ".join('"{}"'.format(_spaced(word).replace('"', '""')) for word in words)
    for (turn,) in db.execute(
        "SELECT rowid FROM turns_search WHERE turns_search MATCH ? ORDER BY rowid DESC", (query,)
    ):
        yield turn


def _read(db: sqlite3.Connection, words: list[str], note: list[str]) -> Iterator[int]:
    wanted = [word.casefold() for word in words]
    rows = db.execute(
        "SELECT id, CAST(prompt AS TEXT), CAST(text AS TEXT) FROM turns_to_index JOIN turns ON id = turn"
        " ORDER BY turn DESC LIMIT ?",
        (READ_TURNS + 1,),
    )
    for number, (turn, prompt, text) in enumerate(rows):
        if number == READ_TURNS:
            why = "" if _has_fts5(db) else ": the SQLite of this Python has no full-text index (FTS5)"
            note.append(f"of the turns without an index only the newest {READ_TURNS} were read{why}")
            return
        if all(word in f"{prompt}\n{text}".casefold() for word in wanted):
            yield turn


def _found(db: sqlite3.Connection, turn: int, words: list[str]) -> Found:
    name, title, updated_at, provider, started_at, prompt, text = db.execute(
        "SELECT c.id, c.title, c.updated_at, t.provider, t.started_at, CAST(t.prompt AS TEXT), CAST(t.text AS TEXT)"
        " FROM turns t JOIN conversations c ON c.key = t.id >> ? WHERE t.id = ?",
        (NUMBER_BITS, turn),
    ).fetchone()
    number = turn & MOST_TURNS
    return Found(name, title, updated_at, number, provider, started_at, _excerpt(prompt, text, words))


def _excerpt(prompt: str, text: str, words: list[str]) -> str:
    for source in (prompt, text):
        # Not `casefold`: it can change the length, and with it the place.
        match = re.search("|".join(map(re.escape, words)), source, re.IGNORECASE)
        if match:
            start = max(0, match.start() - EXCERPT_CHARS // 3)
            piece = source[start : start + EXCERPT_CHARS]
            return (
                f"{'…' if start else ''}{' '.join(piece.split())}{'…' if start + EXCERPT_CHARS < len(source) else ''}"
            )
    return " ".join(prompt[:EXCERPT_CHARS].split())


def _words(db: sqlite3.Connection, turn: int) -> tuple[str, str]:
    """What the index is told of a turn. It must be the same when the turn goes as when it came."""
    return _spaced(_beginning(db, "prompt", turn)), _spaced(_beginning(db, "text", turn))


def _beginning(db: sqlite3.Connection, column: str, turn: int) -> str:
    # SQLite's own `substr` has the whole text in memory, some more times than once.
    with db.blobopen("turns", column, turn, readonly=True) as text:
        return text.read(MOST_UTF8 * INDEXED_CHARS).decode("utf-8", "ignore")[:INDEXED_CHARS]


def _spaced(text: str) -> str:
    """Ideographs stand for words, but nothing separates them."""
    return text if text.isascii() else _IDEOGRAPH.sub(r" \1 ", text)


def _has_index(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'turns_search'").fetchone() is not None


def _has_fts5(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None
