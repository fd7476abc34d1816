"""Keeping what happened: every call, its tokens, every process. Statistics never cost an answer.

The store is opened at the first call. What cannot be kept is told once, as a warning, and the call goes on.
"""

from __future__ import annotations

from pathlib import Path

import anyio

from dragoman.adapters.base import Outcome
from dragoman.config import state_folder
from dragoman.engine.context import Context, Handler
from dragoman.log import logger
from dragoman.processes import Child
from dragoman.schemas import LLMResponse
from dragoman.store import CallEnded, CallStarted, ProcessEnded, ProcessStarted, Record, Store, StoreError


def store_file() -> Path:
    """Where the store is kept.

    Raises:
        OSError: the state folder cannot be made.
    """
    return state_folder() / "dragoman.sqlite3"


class Recorder:
    """See the module. Records are posted in order and written by the store's own thread."""

    def __init__(self, file: Path | None, depth: int) -> None:
        self._file = file
        self._depth = depth
        self._store: Store | None = None
        self._opening = anyio.Lock()
        self._opened = False

    def around(self, following: Handler) -> Handler:
        """The outermost layer: a call is noted before anything is done for it."""

        async def recorded(context: Context) -> Outcome:
            if not self._opened:
                await self._open()
            call = context.call
            self._post(
                CallStarted(
                    id=call.id,
                    face=call.face,
                    provider=call.request.provider,
                    model=call.request.model,
                    depth=self._depth,
                )
            )
            return await following(context)

        return recorded

    def ended(self, context: Context, reply: LLMResponse) -> None:
        """A call has its reply."""
        self._post(
            CallEnded(
                id=context.call.id,
                status=reply.status,
                code=reply.error.code if reply.error else None,
                provider=reply.provider,
                model=reply.model,
                duration_s=reply.duration_s,
                first_output_s=reply.first_output_s,
                attempts=len(reply.attempts),
                argv_shape=context.argv_shape,
                usage=reply.usage,
                billing=reply.billing,
            )
        )

    def process_started(self, child: Child, call_id: str) -> None:
        """A child runs."""
        self._post(ProcessStarted(pid=child.pid, call_id=call_id, started_at=child.started_at))

    def process_ended(self, child: Child) -> None:
        """A child is gone."""
        self._post(ProcessEnded(pid=child.pid))

    async def close(self) -> None:
        """Write what is left and close the store."""
        if self._store is not None:
            store, self._store = self._store, None
            await store.close()

    async def _open(self) -> None:
        async with self._opening:
            if not self._opened:
                try:
                    self._store = await Store.open(self._file or store_file())
                except (StoreError, OSError) as error:
                    logger.warning("calls are not recorded: {}", error)
                self._opened = True

    def _post(self, record: Record) -> None:
        if self._store is not None:
            self._store.post(record)
