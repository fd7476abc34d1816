"""Ids as people type them."""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.schemas import ErrorCode, error_of

MOST_PAGES = 1 << 24
"""No list is longer, and SQLite can count so far."""


def the_only(ids: Sequence[str], beginning: str, what: str) -> str:
    """The one of these ids that begin so; `beginning` as it is if there is none, for whoever looks for it to say so.

    Raises:
        LLMError: there are several (code ``bad_request``).
    """
    if not beginning:
        # A variable of a shell's that is not set: nobody means all that begin with nothing.
        return beginning
    if len(ids) > 1:
        several = f"{len(ids)} {what}s begin with {beginning!r}"
        raise error_of(ErrorCode.BAD_REQUEST, several, next_step=f"give more of the id: {', '.join(ids[:3])} …")
    return ids[0] if ids else beginning
