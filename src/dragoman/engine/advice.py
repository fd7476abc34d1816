"""What a person does next, for failures that were made without saying so."""

from __future__ import annotations

from dragoman.schemas import ErrorInfo
from dragoman.schemas.errors import ADVICE

__all__ = ["ADVICE", "advised"]


def advised(error: ErrorInfo) -> ErrorInfo:
    """The failure with a next step."""
    return error if error.next_step else error.model_copy(update={"next_step": ADVICE[error.code]})
