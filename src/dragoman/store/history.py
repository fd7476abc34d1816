"""Conversations and their turns as they stand in the file, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dragoman.schemas import ErrorCode, FinishReason, Status, Usage
from dragoman.schemas.text import writable
from dragoman.store.long import size_of

if TYPE_CHECKING:
    import sqlite3

NUMBER_BITS = 24
MOST_TURNS = (1 << NUMBER_BITS) - 1
TURN_COLUMNS = (
    "call_id, status, provider, model, code, finish_reason, started_at, ended_at, input_tokens,"
    " cached_input_tokens, output_tokens, cost_usd, prompt, text"
)

Cursor = tuple[float, int]
"""Where a list of conversations goes on: see `ConversationRow.cursor`."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """The session that a provider itself keeps of a conversation."""

    conversation_id: str
    provider: str
    account: str
    native_id: str
    native_turn: str | None = None
    """The provider's name for the last turn in it that is good."""
    cwd: str | None = None
    knows: int = 0
    """The number of the last turn that it has seen."""
    dirty: bool = False
    """Whether something stands in it that the conversation does not have, such as the prompt of a failed turn."""


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A conversation without its turns."""

    key: int
    """Its row; a conversation that is reset gets another one."""
    id: str
    created_at: float
    updated_at: float
    title: str
    """How the first prompt begins."""
    provider: str | None
    """Who was asked last."""
    turns: int
    """The number of the last turn."""
    completed: int
    """How many turns were answered."""
    bytes: int
    """What prompts and answers weigh."""
    forked_from: str | None
    system_prompt: str | None
    sessions: tuple[SessionRow, ...] = ()

    @property
    def cursor(self) -> Cursor:
        """As ``before`` of the next list, it goes on after this one."""
        return self.updated_at, self.key


@dataclass(frozen=True, slots=True)
class TurnRow:
    """A turn. Times are seconds since 1970."""

    number: int
    """From 1."""
    call_id: str
    status: Status
    provider: str | None
    model: str | None
    code: ErrorCode | None
    """Why it failed."""
    finish_reason: FinishReason | None
    started_at: float
    ended_at: float | None
    usage: Usage | None
    prompt: str
    text: str
    """The answer, or what came of it."""


def turn_id(key: int, number: int) -> int:
    """The row of a turn. Those of a conversation are the ones from number 0 to below number 0 of the next `key`."""
    return (key << NUMBER_BITS) + number


def usage_columns(usage: Usage | None) -> tuple[int | None, int | None, int | None, float | None]:
    """What is kept of the tokens."""
    if usage is None:
        return (None, None, None, None)
    return (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, usage.cost_usd)


_SELECT = (
    "SELECT key, id, created_at, updated_at, title, provider, turns, completed, bytes, forked_from, system_prompt"
    " FROM conversations"
)


def read_conversation(db: sqlite3.Connection, conversation_id: str) -> ConversationRow | None:
    """A conversation with its sessions, if there is one."""
    row = db.execute(f"{_SELECT} WHERE id = ?", (writable(conversation_id),)).fetchone()
    return _conversation(db, row) if row else None


def read_conversations(
    db: sqlite3.Connection, limit: int, before: Cursor | None, provider: str | None, skip: int
) -> list[ConversationRow]:
    """Conversations, the one that was used last first."""
    conditions, values = ["id IS NOT NULL"], list[object]()
    if before is not None:
        conditions.append("(updated_at, key) < (?, ?)")
        values += before
    if provider is not None:
        conditions.append("provider = ?")
        values.append(writable(provider))
    rows = db.execute(
        f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY updated_at DESC, key DESC LIMIT ? OFFSET ?",
        (*values, limit, skip),
    )
    return [_conversation(db, row) for row in rows.fetchall()]


def _conversation(db: sqlite3.Connection, row: tuple[Any, ...]) -> ConversationRow:
    key, conversation_id = row[:2]
    sessions = db.execute(
        "SELECT provider, account, native_id, native_turn, cwd, knows, dirty FROM sessions WHERE conversation = ?",
        (key,),
    )
    return ConversationRow(
        *row, sessions=tuple(SessionRow(conversation_id, *fields, dirty=bool(dirty)) for *fields, dirty in sessions)
    )


_SHORT_COLUMNS = TURN_COLUMNS.removesuffix(", prompt, text")
_TURNS = f"SELECT id, {_SHORT_COLUMNS}, CAST(prompt AS TEXT), CAST(text AS TEXT) FROM turns"  # noqa: S608 - our own words


def read_turns(db: sqlite3.Connection, conversation_id: str, first: int, last: int) -> list[TurnRow]:
    """The turns with these numbers."""
    key = _key(db, conversation_id)
    rows = db.execute(f"{_TURNS} WHERE id BETWEEN ? AND ? ORDER BY id", (turn_id(key, first), turn_id(key, last)))
    return [_turn(row) for row in rows]


def read_last_turns(
    db: sqlite3.Connection, conversation_id: str, limit: int, *, completed: bool, max_bytes: int | None = None
) -> list[TurnRow]:
    """The last turns, in their order; as many as weigh no more than `max_bytes`, but one at least."""
    key = _key(db, conversation_id)
    only = "AND status = 'completed' " if completed else ""
    rows = db.execute(
        f"{_TURNS} WHERE id > ? AND id < ? {only}ORDER BY id DESC LIMIT ?",
        (turn_id(key, 0), turn_id(key + 1, 0), limit),
    )
    turns: list[TurnRow] = []
    size = 0
    for row in rows:
        turn = _turn(row)
        size += size_of(turn.prompt) + size_of(turn.text)
        if turns and max_bytes is not None and size > max_bytes:
            break
        turns.append(turn)
    return turns[::-1]


def read_open_call(db: sqlite3.Connection, conversation_id: str) -> str | None:
    """The call of the last turn, if that has not ended."""
    row = db.execute(
        "SELECT t.call_id FROM conversations c JOIN turns t ON t.id = (c.key << ?) + c.turns"
        " WHERE c.id = ? AND t.status = 'running'",
        (NUMBER_BITS, writable(conversation_id)),
    ).fetchone()
    return row[0] if row else None


def _key(db: sqlite3.Connection, conversation_id: str) -> int:
    """The key of a conversation; of none, one that has no turns."""
    row = db.execute("SELECT key FROM conversations WHERE id = ?", (writable(conversation_id),)).fetchone()
    return row[0] if row else 0


_TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "cost_usd")


def _turn(row: tuple[Any, ...]) -> TurnRow:
    row_id, call_id, status, provider, model, code, finish_reason, started_at, ended_at, *tokens, prompt, text = row
    return TurnRow(
        row_id & MOST_TURNS,
        call_id,
        status,
        provider,
        model,
        ErrorCode(code) if code else None,
        finish_reason,
        started_at,
        ended_at,
        None if tokens == [None] * 4 else Usage(**dict(zip(_TOKENS, tokens, strict=True))),
        prompt,
        text,
    )
