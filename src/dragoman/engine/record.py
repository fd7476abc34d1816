"""Keeping what happened: every call, its tokens, every process, in the store."""

from __future__ import annotations

from pathlib import Path

from dragoman.adapters.base import Outcome
from dragoman.engine.context import Context, Handler
from dragoman.processes import Child
from dragoman.schemas import LLMResponse


class Recorder:
    def __init__(self, file: Path) -> None:
        self._file = file

    def around(self, following: Handler) -> Handler:
        async def recorded(context: Context) -> Outcome:
            return await following(context)

        return recorded

    def process_started(self, child: Child, call_id: str) -> None: ...
    def process_ended(self, child: Child) -> None: ...
    def ended(self, reply: LLMResponse) -> None: ...
    async def close(self) -> None: ...
