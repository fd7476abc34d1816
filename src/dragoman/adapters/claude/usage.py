"""What a turn of claude's used, from its result line or, where that does not tell, from the stream."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dragoman.adapters.base import Session
from dragoman.adapters.json_lines import mapping, number, whole
from dragoman.schemas import Usage

COUNTS_SESSIONS_SINCE = (2, 1, 329)


def usage_of(line: Mapping[str, Any], cost: float | None) -> Usage:
    """The tokens that a result line tells of."""
    usage = mapping(line.get("usage"))
    fresh = whole(usage.get("input_tokens"))
    return Usage(
        # The API counts cached tokens apart; here, as with every provider, they are part of the input.
        input_tokens=None if fresh is None else fresh + _cached(usage) + _written(usage),
        cached_input_tokens=_cached(usage),
        output_tokens=whole(usage.get("output_tokens")),
        cost_usd=cost,
    )


def cost_usd(line: Mapping[str, Any], session: Session | None, version: str) -> float | None:
    """What the turn cost: the line's total is the session's, so what it was before the turn is taken off.

    The total stands behind the turn's name in `Session.last_turn`, where the dialogue put it. Old versions count anew
    each time; since which one they do not is not known.
    """
    total = number(line.get("total_cost_usd"))
    if total is None or session is None or session.is_new:
        return total
    if tuple(map(int, re.findall(r"\d{1,9}", version)[:3])) < COUNTS_SESSIONS_SINCE:
        return None
    try:
        before = float((session.last_turn or "").partition(" ")[2])
    except ValueError:
        return None
    return total - before if before <= total else total


class Spent:
    """The tokens that the stream tells of, for a turn whose result tells none."""

    def __init__(self) -> None:
        self._input = self._cached = self._output = 0

    def asked(self, usage: Mapping[str, Any]) -> None:
        """A message began."""
        self._cached += _cached(usage)
        self._input += (whole(usage.get("input_tokens")) or 0) + _cached(usage) + _written(usage)

    def answered(self, usage: Mapping[str, Any]) -> None:
        """A message ended."""
        self._output += whole(usage.get("output_tokens")) or 0

    def usage(self, cost: float | None = None) -> Usage:
        """All of it."""
        return Usage(
            input_tokens=self._input, cached_input_tokens=self._cached, output_tokens=self._output, cost_usd=cost
        )


def _cached(usage: Mapping[str, Any]) -> int:
    return whole(usage.get("cache_read_input_tokens")) or 0


def _written(usage: Mapping[str, Any]) -> int:
    return whole(usage.get("cache_creation_input_tokens")) or 0
