"""Turns for tests."""

from typing import Any

from dragoman.store import SessionRow, Store, TurnEnded, TurnStarted


async def say(store: Store, conversation: str, call: str, prompt: str = "why?", **ended: Any) -> int:  # noqa: ANN401 - fields
    """A whole turn at second 10 to 11, unless something else is said; its number."""
    at = ended.pop("at", 10.0)
    provider = ended.pop("provider", "claude")
    number = await store.write(TurnStarted(conversation, call, prompt, provider, started_at=at))
    values: dict[str, Any] = {"status": "completed", "text": "because", "ended_at": at + 1, **ended}
    await store.write(TurnEnded(conversation, call, **values))
    return number


def session(conversation: str, native_id: str = "native", **fields: Any) -> SessionRow:  # noqa: ANN401 - fields
    """A session of claude's."""
    return SessionRow(conversation, "claude", "home", native_id, **fields)
