"""What is known of a provider on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict  # before Python 3.12 Pydantic takes no other

ProviderState = Literal["ready", "logged_out", "missing", "broken", "disabled"]


Capability = Literal["model", "system_prompt", "cwd", "streaming"]
"""What a provider takes beside a prompt, and whether its answer comes as it is written."""


class CircuitState(StrEnum):
    """Whether a provider is asked (closed), left alone (open), or tried with a few calls (half-open)."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitStatus(TypedDict):
    """A circuit breaker as people and programs see it. Times are ISO 8601, in UTC."""

    state: CircuitState
    failure_count: int
    """In a row, of the provider."""
    local_failure_count: int
    """In a row, of this machine, such as when it could not be started."""
    success_count: int
    """In a row, since it was opened."""
    last_failure_time: str | None
    last_failure: str | None
    """Its code."""
    reset_at: str | None
    """From when on it is tried again."""


class ProviderStatus(BaseModel):
    """One provider: whether it can answer, and what to do when it cannot.

    ``ready`` means the program is there and its login is not known to be missing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: str
    title: str
    state: ProviderState
    path: Path | None = None
    version: str | None = None
    """None: it was not asked yet."""
    transport: str | None = None
    """How Dragoman talks with it; None: that depends on its version."""
    capabilities: tuple[Capability, ...] = ()
    logged_in: bool | None = None
    """None: the CLI does not tell, or was not asked."""
    needs_login: bool = True
    """Whether there is anything to log in to."""
    reason: str | None = None
    next_step: str | None = None
    access: str | None = None
    """The access it runs with and who enforces it."""
    circuit: CircuitStatus | None = None
    """Its circuit breaker, the one that is furthest from closed; None: it was not needed yet."""
