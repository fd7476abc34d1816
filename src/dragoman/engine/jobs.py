"""Calls that were handed out by id, so that their answer can be fetched after the request that started them ended."""

from __future__ import annotations

from collections import OrderedDict

from dragoman.engine.call import Call

MAX_ENDED = 100
"""How many ended jobs are remembered; the oldest are forgotten first."""


class Jobs:
    """In memory: they end with the process."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, Call] = OrderedDict()

    def add(self, call: Call) -> str:
        """Remember a call; the id by which it is found."""
        self._calls[call.id] = call
        ended = [job_id for job_id, kept in self._calls.items() if kept.reply is not None]
        for job_id in ended[: max(0, len(ended) - MAX_ENDED)]:
            del self._calls[job_id]
        return call.id

    def get(self, job_id: str) -> Call | None:
        """The call of a job, if it is known."""
        return self._calls.get(job_id)

    def all(self) -> tuple[Call, ...]:
        """Every job, the oldest first."""
        return tuple(self._calls.values())
