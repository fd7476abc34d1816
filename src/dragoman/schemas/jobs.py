"""Jobs and conversations as lists show them. Times are seconds since 1970."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from dragoman.schemas.errors import ErrorCode
from dragoman.schemas.replies import Status
from dragoman.schemas.text import Writable


class JobInfo(BaseModel):
    """A call that can be fetched by its id."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    job_id: str
    status: Status
    provider: str | None = None
    conversation_id: str | None = None
    created_at: float
    ended_at: float | None = None
    prompt: Writable
    """How the question begins."""
    background: bool = False


class ConversationInfo(BaseModel):
    """A conversation without its turns."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    conversation_id: str
    title: Writable
    """How its first question begins."""
    created_at: float
    updated_at: float
    turn_count: int
    message_count: int
    """Those that were answered, with their answers."""
    provider: str | None = None
    """Who answered last."""
    system_prompt: Writable | None = None
    forked_from: str | None = None


class TurnInfo(BaseModel):
    """One question of a conversation and what came of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    number: int
    status: Status
    provider: str | None = None
    model: str | None = None
    prompt: Writable
    text: Writable = ""
    started_at: float
    ended_at: float | None = None
    code: ErrorCode | None = None
    """Of the failure, if it failed."""
    call_id: str | None = None


class FoundTurn(BaseModel):
    """A conversation that was found by its words: the newest turn that has all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    conversation_id: str
    title: Writable
    updated_at: float
    number: int
    """Of the turn."""
    provider: str | None = None
    excerpt: Writable
    """What stands around the first word that was found."""
