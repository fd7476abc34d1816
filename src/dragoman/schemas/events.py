"""Events: what happened in a call while it ran, the same types for every provider."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dragoman.schemas.text import Writable

MOST_TOKENS = 2**53 - 1
"""More than anybody can use, or pay in dollars. Every reader of JSON knows whole numbers up to it, and SQLite can add
up a thousand."""


def _tokens_meant(count: int | None) -> int | None:
    return count if count is not None and 0 <= count <= MOST_TOKENS else None


def _cost_meant(cost: float | None) -> float | None:
    return cost if cost is not None and 0 <= cost <= MOST_TOKENS else None


Tokens = Annotated[int | None, AfterValidator(_tokens_meant)]
Cost = Annotated[float | None, AfterValidator(_cost_meant)]


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Started(_Event):
    """The provider took the turn: a process runs, or a request went out."""

    type: Literal["started"] = "started"
    provider: str
    model: str | None = None
    version: str | None = None


class Bound(_Event):
    """The provider named the native session the turn belongs to."""

    type: Literal["bound"] = "bound"
    native_session: Writable
    native_turn: Writable | None = None
    """The provider's name for the turn itself, where it has one. It may come in a second event."""


class Text(_Event):
    """A piece of the answer, in order."""

    type: Literal["text"] = "text"
    text: Writable


class Thought(_Event):
    """A piece of the model's reasoning, where the provider shows it."""

    type: Literal["thought"] = "thought"
    text: Writable


class Tool(_Event):
    """The provider's own tool was used, such as reading a file."""

    type: Literal["tool"] = "tool"
    name: str
    detail: Writable = ""
    reads_only: bool = False
    """Whether this use can have changed nothing. False when unsure."""


class Retrying(_Event):
    """The CLI tries again by itself after an upstream failure, or Dragoman does. It does not count as activity."""

    type: Literal["retrying"] = "retrying"
    attempt: int
    cause: Writable
    delay_s: float | None = None
    starts_over: bool = False
    """Dragoman asks anew: text that came before is not part of the answer."""


class Usage(_Event):
    """Tokens and cost, as far as the provider tells. As an event: the figures so far.

    A figure that nobody can mean, such as a negative one, is None: it costs no turn.
    """

    type: Literal["usage"] = "usage"
    input_tokens: Tokens = None
    cached_input_tokens: Tokens = None
    output_tokens: Tokens = None
    cost_usd: Cost = None


class Notice(_Event):
    """Something a person may want to know that is not part of the answer."""

    type: Literal["notice"] = "notice"
    message: Writable


Event = Annotated[Started | Bound | Text | Thought | Tool | Retrying | Usage | Notice, Field(discriminator="type")]
