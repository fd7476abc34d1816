"""What is known of a provider on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

ProviderState = Literal["ready", "logged_out", "missing", "broken", "disabled"]


class ProviderStatus(BaseModel):
    """One provider: whether it can answer, and what to do when it cannot.

    ``ready`` means the program is there and its login is not known to be missing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    state: ProviderState
    path: Path | None = None
    version: str | None = None
    logged_in: bool | None = None
    """None: the CLI does not tell, or was not asked."""
    reason: str | None = None
    next_step: str | None = None
    access: str | None = None
    """The access it runs with and who enforces it."""
