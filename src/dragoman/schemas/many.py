"""What comes of many questions that are asked at once."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from dragoman.schemas.errors import ErrorInfo
from dragoman.schemas.replies import LLMResponse
from dragoman.schemas.requests import LLMRequest
from dragoman.schemas.text import Writable

Combine = Literal["none", "vote", "judge"]
"""What is made of several answers to one question: nothing, what most of them say, or what a judge makes of them."""


class ManyAnswer(BaseModel):
    """One of many questions, and its reply."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    number: int
    """Which question it was, counted from 1."""
    request: LLMRequest
    reply: LLMResponse
    """A failure is a reply too."""

    def public(self) -> dict[str, Any]:
        """It for tools and ``--json``, ready for JSON."""
        return {"number": self.number, **self.reply.public()}


class Combined(BaseModel):
    """What was made of all answers to one question."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    how: Combine
    prompt: str
    text: Writable = ""
    data: Any = None
    """The same as a value, where the answers are such."""
    numbers: tuple[int, ...] = ()
    """The answers that say it, or that the judge found best."""
    answered: int = 0
    """How many answers there were."""
    tied: bool = False
    """Whether as many say something else; then it is the one that was asked first."""
    judge: str | None = None
    """Who judged."""
    why: Writable | None = None
    """What the judge says of it."""
    error: ErrorInfo | None = None
    """Why there is nothing."""

    def public(self) -> dict[str, Any]:
        """It for tools and ``--json``, ready for JSON: empty fields are left out."""
        told = self.model_dump(mode="json", exclude_none=True, exclude={"prompt"})
        if not self.tied:
            del told["tied"]
        return told
