"""How a turn begins and ends, as records."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dragoman.schemas import ErrorCode, FinishReason, Status, Usage
from dragoman.schemas.text import writable
from dragoman.store.conversations import title_of
from dragoman.store.errors import Conflict, ConversationGone
from dragoman.store.history import MOST_TURNS, NUMBER_BITS, SessionRow, turn_id, usage_columns
from dragoman.store.long import if_short, size_of, write_if_long

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A question was asked in a conversation, which is made when it is not there. `Store.write` gives its number."""

    conversation_id: str
    call_id: str
    prompt: str = field(repr=False)
    provider: str | None = None
    model: str | None = None
    system_prompt: str | None = field(default=None, repr=False)
    """From now on that of the conversation; None: it keeps the one it has."""
    started_at: float = field(default_factory=time.time)

    def apply(self, db: sqlite3.Connection, server_id: int) -> int:
        """A new row, ``running`` until its `TurnEnded` or the end of this server."""
        prompt = writable(self.prompt)
        db.execute(
            "INSERT INTO conversations (id, created_at, updated_at, title, provider, turns, completed, bytes,"
            " system_prompt) VALUES (?, ?, ?, ?, ?, 1, 0, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET updated_at = max(updated_at, excluded.updated_at), turns = turns + 1,"
            " bytes = bytes + excluded.bytes, provider = coalesce(provider, excluded.provider),"
            " title = CASE title WHEN '' THEN excluded.title ELSE title END,"
            " system_prompt = coalesce(excluded.system_prompt, system_prompt)",
            (
                *(self.conversation_id, self.started_at, self.started_at, title_of(prompt), self.provider),
                *(size_of(prompt), self.system_prompt and writable(self.system_prompt)),
            ),
        )
        # `RETURNING` would spare it, and is too new for the SQLite of some systems.
        named = "SELECT key, turns FROM conversations WHERE id = ?"
        key, number = db.execute(named, (self.conversation_id,)).fetchone()
        if number > MOST_TURNS:
            raise Conflict(f"conversation {self.conversation_id!r} has {MOST_TURNS} turns", "begin a new one")
        turn = turn_id(key, number)
        db.execute(
            "INSERT INTO turns (id, call_id, server_id, status, provider, model, started_at, prompt, text)"
            " VALUES (?, ?, ?, 'running', ?, ?, ?, ?, '')",
            (turn, self.call_id, server_id, self.provider, self.model, self.started_at, if_short(prompt)),
        )
        write_if_long(db, "turns", "prompt", turn, prompt)
        return number


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """What became of a turn. ``provider`` and ``model`` None: as they were at its start."""

    conversation_id: str
    call_id: str
    status: Status
    text: str = field(default="", repr=False)
    provider: str | None = None
    model: str | None = None
    usage: Usage | None = None
    code: ErrorCode | None = None
    finish_reason: FinishReason | None = None
    sessions: tuple[SessionRow, ...] = ()
    """The sessions of the conversation as they are now; those that are not named stay as they were."""
    ended_at: float = field(default_factory=time.time)

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:
        """The answer, and the sessions.

        Raises:
            ConversationGone: the turn does not run: its conversation was deleted or reset.
        """
        row = db.execute(
            "SELECT t.id, t.provider, c.key FROM turns t JOIN conversations c ON c.key = t.id >> ?"
            " WHERE t.server_id = ? AND t.call_id = ? AND t.status = 'running' AND c.id = ?",
            (NUMBER_BITS, server_id, self.call_id, self.conversation_id),
        ).fetchone()
        if row is None:
            raise ConversationGone(
                f"conversation {self.conversation_id!r} was deleted or reset: it has no turn of call {self.call_id!r}",
                "ask again",
            )
        turn, asked, key = row
        answered = self.status == "completed"
        text = writable(self.text)
        db.execute(
            "UPDATE turns SET status = ?, provider = coalesce(?, provider), model = coalesce(?, model),"
            " code = ?, finish_reason = ?, ended_at = ?, input_tokens = ?, cached_input_tokens = ?, output_tokens = ?,"
            " cost_usd = ?, text = ? WHERE id = ?",
            (
                *(self.status, self.provider, self.model and writable(self.model)),
                *(self.code and self.code.value, self.finish_reason, self.ended_at),
                *(*usage_columns(self.usage), if_short(text), turn),
            ),
        )
        write_if_long(db, "turns", "text", turn, text)
        db.execute("INSERT INTO turns_to_index (turn) VALUES (?)", (turn,))
        db.execute(
            "UPDATE conversations SET updated_at = max(updated_at, ?), completed = completed + ?, bytes = bytes + ?,"
            " provider = coalesce(?, provider) WHERE key = ?",
            (self.ended_at, answered, size_of(text), (self.provider or asked) if answered else None, key),
        )
        db.executemany(
            "INSERT OR REPLACE INTO sessions (conversation, provider, account, native_id, native_turn, cwd, knows,"
            " dirty) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [_session(key, session) for session in self.sessions],
        )


def _session(key: int, session: SessionRow) -> tuple[object, ...]:
    # A folder's name may hold bytes that are no text; then the session is just not found again in it.
    values = (session.provider, session.account, session.native_id, session.native_turn, session.cwd)
    return (key, *(value and writable(value) for value in values), session.knows, session.dirty)
