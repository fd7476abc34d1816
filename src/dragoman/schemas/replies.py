"""What a caller gets back: the same shape for success and failure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dragoman.schemas.errors import ErrorInfo
from dragoman.schemas.events import Usage
from dragoman.schemas.requests import LLMRequest
from dragoman.schemas.text import Writable

Status = Literal["completed", "running", "failed", "cancelled", "interrupted"]
Billing = Literal["subscription", "metered", "local", "unknown"]
FinishReason = Literal["stop", "max_tokens", "refused", "cancelled", "error"]


class Attempt(BaseModel):
    """One run of a provider within a call."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    number: int
    provider: str
    duration_s: float
    error: ErrorInfo | None = None
    usage: Usage | None = None
    """What this run cost; the reply's is that of the run that answered."""


class LLMResponse(BaseModel):
    """The reply: how a call ended, what was answered and what it cost.

    ``text`` holds what was received, also when the call failed or was cancelled part-way.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    status: Status
    text: Writable = ""
    conversation_id: str | None = None
    provider: str | None = None
    model: str | None = None
    usage: Usage | None = None
    billing: Billing = "unknown"
    finish_reason: FinishReason | None = None
    duration_s: float = 0.0
    first_output_s: float | None = None
    attempts: tuple[Attempt, ...] = ()
    job_id: str | None = None
    truncated: bool = False
    next_page: int | None = None
    notices: tuple[str, ...] = ()
    error: ErrorInfo | None = None
    call_id: str | None = None
    data: Any = None
    """The answer as a value, where a schema was asked for."""
    mechanism: Literal["native", "prompted"] | None = None
    """Who held the answer to the schema: the CLI itself, or words in the prompt. Dragoman checked it either way."""
    extraction: str | None = None
    """Where the value was found: the ``whole`` text, a ``fenced`` block, a ``balanced`` part, or ``repaired``.
    None: there is no value."""

    cached: bool = False
    """Nobody was asked: it is an earlier answer to the same question, or that of a call that asked it at once."""
    stale: bool = False
    """It is older than answers of the cache are good for."""

    def public(self) -> dict[str, Any]:
        """The reply for tools and ``--json``, ready for JSON: ``attempts`` is a count, empty fields are left out."""
        data = self.model_dump(mode="json", exclude_none=True, exclude={"attempts", "usage"})
        if self.usage is not None:
            data["usage"] = self.usage.model_dump(mode="json", exclude_none=True, exclude={"type"})
        data["attempts"] = len(self.attempts)
        if self.extraction is not None:
            # It may be null, or have nulls in it, which were left out above.
            data["data"] = self.data
        for name in ("truncated", "cached", "stale"):
            if not data[name]:
                del data[name]
        if not self.notices:
            del data["notices"]
        return data


class ConversationTurn(BaseModel):
    """One question and its reply."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    turn_number: int
    request: LLMRequest
    response: LLMResponse
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
