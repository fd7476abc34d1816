"""What was said before, as a database of `llm`'s own, so that it sends real messages.

`llm` has no flag for messages, but it goes on with any conversation of the database it is given. The tables are those
that every version since 0.5 can read: what newer versions want besides they add by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from dragoman.schemas import Message

CONVERSATION = "dragoman"
"""What the id of a conversation begins with."""

_TABLES = """
CREATE TABLE _llm_migrations (name TEXT PRIMARY KEY, applied_at TEXT);
CREATE TABLE conversations (id TEXT PRIMARY KEY, name TEXT, model TEXT);
CREATE TABLE responses (
    id TEXT PRIMARY KEY, model TEXT, prompt TEXT, system TEXT, prompt_json TEXT, options_json TEXT, response TEXT,
    response_json TEXT, conversation_id TEXT REFERENCES conversations(id), duration_ms INTEGER, datetime_utc TEXT
);
"""
_MIGRATIONS = (
    "m001_initial",
    "m002_id_primary_key",
    "m003_chat_id_foreign_key",
    "m004_column_order",
    "m004_drop_provider",
    "m005_debug",
    "m006_new_logs_table",
    "m007_finish_logs_table",
    "m008_reply_to_id_foreign_key",
    "m008_fix_column_order_in_logs",
    "m009_delete_logs_table_if_empty",
    "m010_create_new_log_tables",
)
"""Those whose outcome the tables are."""


def database(history: Sequence[Message], model: str | None, system: str | None, conversation: str) -> bytes:
    """A database with the conversation of this id.

    `model` None: the user's default; `system`: what `llm` sends with each turn, if there was one before.
    """
    return _filled(history, model, system, conversation) if history else _empty(model, conversation)


@lru_cache(maxsize=8)
def _empty(model: str | None, conversation: str) -> bytes:
    # Most conversations begin with it.
    return _filled((), model, None, conversation)


def _filled(history: Sequence[Message], model: str | None, system: str | None, conversation: str) -> bytes:
    # In memory only, and not before it is needed: whoever starts a server waits for the imports.
    import sqlite3

    # `llm` takes an empty name for its default model.
    name = model or ""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(_TABLES)
        connection.executemany("INSERT INTO _llm_migrations VALUES (?, '')", [(each,) for each in _MIGRATIONS])
        connection.execute("INSERT INTO conversations VALUES (?, '', ?)", (conversation, name))
        for number, (prompt, answer) in enumerate(_exchanges(history)):
            # It goes on with the system prompt of the first turn, whatever a later one is given.
            row = (f"{number:08d}", name, prompt, None if number else system, answer, conversation)
            connection.execute(
                "INSERT INTO responses (id, model, prompt, system, response, conversation_id, options_json,"
                " duration_ms, datetime_utc) VALUES (?, ?, ?, ?, ?, ?, '{}', 0, '')",
                row,
            )
        connection.commit()
        return connection.serialize()
    finally:
        connection.close()


def _exchanges(history: Sequence[Message]) -> Iterator[tuple[str, str]]:
    """Questions with their answers; what has no counterpart has an empty one."""
    prompt: str | None = None
    for message in history:
        if message.role == "assistant":
            yield prompt or "", message.content
            prompt = None
        else:
            if prompt is not None:
                yield prompt, ""
            prompt = message.content
    if prompt is not None:
        yield prompt, ""
