"""What can be done to conversations as a whole, as records."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dragoman.schemas.text import writable
from dragoman.store.errors import ConversationExists, ConversationGone
from dragoman.store.history import MOST_TURNS, TURN_COLUMNS, TurnRow, turn_id, usage_columns
from dragoman.store.retention import drop

if TYPE_CHECKING:
    import sqlite3

TITLE_CHARS = 80


@dataclass(frozen=True, slots=True)
class SessionForgotten:
    """A provider's session is not gone on with."""

    conversation_id: str
    provider: str
    account: str

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:  # noqa: ARG002 - a conversation is everyone's
        """Its row is gone, if there was one."""
        db.execute(
            "DELETE FROM sessions WHERE conversation = (SELECT key FROM conversations WHERE id = ?)"
            " AND provider = ? AND account = ?",
            (self.conversation_id, writable(self.provider), writable(self.account)),
        )


@dataclass(frozen=True, slots=True)
class ConversationDeleted:
    """A conversation is not wanted any more. It is gone at once, and so are its jobs that have ended; its turns leave
    the file when there is time."""

    id: str

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:  # noqa: ARG002 - a conversation is everyone's
        """Without an id, sessions and jobs.

        Raises:
            ConversationGone: there is none.
        """
        drop(db, key_of(db, self.id))
        _forget_jobs(db, self.id)


@dataclass(frozen=True, slots=True)
class ConversationReset:
    """A conversation begins anew: its name and its system prompt stay."""

    id: str
    at: float = field(default_factory=time.time)

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:  # noqa: ARG002 - a conversation is everyone's
        """A new row in the place of the old one, which is deleted.

        Raises:
            ConversationGone: there is none.
        """
        key = key_of(db, self.id)
        created_at, system_prompt, forked_from = db.execute(
            "SELECT created_at, system_prompt, forked_from FROM conversations WHERE key = ?", (key,)
        ).fetchone()
        drop(db, key)
        _forget_jobs(db, self.id)
        add(db, self.id, created_at, system_prompt, forked_from=forked_from, updated_at=self.at)


@dataclass(frozen=True, slots=True)
class ConversationForked:
    """A copy of a conversation, up to a turn, goes on under a name of its own. It has no sessions yet."""

    source: str
    id: str
    upto: int | None = None
    """The number of the last turn that it is to have; None: all that have ended."""
    at: float = field(default_factory=time.time)

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:
        """New rows.

        Raises:
            ConversationGone: there is none of the name of the source.
            ConversationExists: there is one of the new name.
        """
        source = key_of(db, self.source)
        title, system_prompt, provider = db.execute(
            "SELECT title, system_prompt, provider FROM conversations WHERE key = ?", (source,)
        ).fetchone()
        upto = MOST_TURNS if self.upto is None else min(self.upto, MOST_TURNS)
        bounds = (turn_id(source, 1), turn_id(source, upto))
        answered = db.execute(
            "SELECT provider FROM turns WHERE id BETWEEN ? AND ? AND status = 'completed' AND provider IS NOT NULL"
            " ORDER BY id DESC LIMIT 1",
            bounds,
        ).fetchone()
        key = add(
            *(db, self.id, self.at, system_prompt),
            title=title,
            # Who answered last, which after that turn may have been another.
            provider=answered[0] if answered else provider,
            forked_from=self.source,
        )
        db.execute(
            f"INSERT INTO turns (id, server_id, {TURN_COLUMNS}) SELECT id + ?, ?, {TURN_COLUMNS}"  # noqa: S608 - our own words
            " FROM turns WHERE id BETWEEN ? AND ? AND status <> 'running'",
            (turn_id(key, 0) - turn_id(source, 0), server_id, *bounds),
        )
        _count(db, key)


@dataclass(frozen=True, slots=True)
class ConversationImported:
    """A conversation that was kept elsewhere. Its turns are numbered anew, from 1."""

    id: str
    turns: tuple[TurnRow, ...] = field(repr=False)
    system_prompt: str | None = field(default=None, repr=False)
    title: str | None = field(default=None, repr=False)
    created_at: float = field(default_factory=time.time)

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:
        """New rows.

        Raises:
            ConversationExists: there is one of that name.
        """
        title = self.title if self.title is not None else title_of(self.turns[0].prompt if self.turns else "")
        provider = next((turn.provider for turn in reversed(self.turns) if turn.status == "completed"), None)
        updated_at = max((turn.ended_at or turn.started_at for turn in self.turns), default=self.created_at)
        key = add(
            *(db, self.id, self.created_at, self.system_prompt),
            title=writable(title),
            provider=provider and writable(provider),
            updated_at=updated_at,
        )
        db.executemany(
            f"INSERT INTO turns (id, server_id, {TURN_COLUMNS})"  # noqa: S608 - our own words
            f" VALUES (?, ?{', ?' * len(TURN_COLUMNS.split(','))})",
            [(turn_id(key, number), server_id, *_imported(turn)) for number, turn in enumerate(self.turns, 1)],
        )
        _count(db, key)


def _forget_jobs(db: sqlite3.Connection, conversation_id: str) -> None:
    """What else was kept of its calls: their answers, and what happened in them."""
    ended = "conversation_id = ? AND status <> 'running'"
    db.execute(
        f"DELETE FROM call_logs WHERE call_id IN (SELECT id FROM jobs WHERE {ended})",  # noqa: S608 - our own words
        (conversation_id,),
    )
    db.execute(f"DELETE FROM jobs WHERE {ended}", (conversation_id,))  # noqa: S608 - our own words


def _imported(turn: TurnRow) -> tuple[object, ...]:
    values = (
        *(turn.call_id, "interrupted" if turn.status == "running" else turn.status, turn.provider, turn.model),
        *(turn.code and turn.code.value, turn.finish_reason, turn.started_at, turn.ended_at),
        *(*usage_columns(turn.usage), turn.prompt, turn.text),
    )
    return tuple(writable(value) if isinstance(value, str) else value for value in values)


def title_of(prompt: str) -> str:
    """The first words of a prompt, on one line."""
    words = " ".join(prompt[: 4 * TITLE_CHARS].split())
    return words if len(words) <= TITLE_CHARS else f"{words[: TITLE_CHARS - 1].rstrip()}…"


def find_key(db: sqlite3.Connection, conversation_id: str) -> int | None:
    """The row of a conversation, if there is one."""
    row = db.execute("SELECT key FROM conversations WHERE id = ?", (conversation_id,)).fetchone()
    return row[0] if row else None


def key_of(db: sqlite3.Connection, conversation_id: str) -> int:
    """The row of a conversation.

    Raises:
        ConversationGone: there is none.
    """
    key = find_key(db, conversation_id)
    if key is None:
        raise ConversationGone(f"there is no conversation {conversation_id!r}", "list the conversations")
    return key


def add(
    db: sqlite3.Connection,
    conversation_id: str,
    created_at: float,
    system_prompt: str | None,
    *,
    title: str = "",
    provider: str | None = None,
    forked_from: str | None = None,
    updated_at: float | None = None,
) -> int:
    """A conversation without turns; its row.

    Raises:
        ConversationExists: there is one of that name.
    """
    if find_key(db, conversation_id) is not None:
        raise ConversationExists(f"there is a conversation {conversation_id!r} already", "choose another name")
    row = db.execute(
        "INSERT INTO conversations (id, created_at, updated_at, title, provider, turns, completed, bytes, forked_from,"
        " system_prompt) VALUES (?, ?, ?, ?, ?, 0, 0, 0, ?, ?)",
        (
            *(conversation_id, created_at, created_at if updated_at is None else updated_at, title, provider),
            *(forked_from, system_prompt and writable(system_prompt)),
        ),
    )
    assert row.lastrowid is not None  # noqa: S101 - an insert has one
    return row.lastrowid


def _count(db: sqlite3.Connection, key: int) -> None:
    """Set the figures of a conversation whose turns were written at once, and have them indexed."""
    bounds = (turn_id(key, 1), turn_id(key, MOST_TURNS))
    last, completed, size = db.execute(
        "SELECT max(id), sum(status = 'completed'), sum(length(CAST(prompt AS BLOB)) + length(CAST(text AS BLOB)))"
        " FROM turns WHERE id BETWEEN ? AND ?",
        bounds,
    ).fetchone()
    if last is None:
        return
    db.execute("INSERT INTO turns_to_index SELECT id FROM turns WHERE id BETWEEN ? AND ?", bounds)
    db.execute(
        "UPDATE conversations SET turns = ?, completed = ?, bytes = ? WHERE key = ?",
        (last & MOST_TURNS, completed, size, key),
    )
