"""Keeping what happened: every call, its tokens, every process. Statistics never cost an answer.

The store is opened at the first call. What cannot be kept is told once, as a warning, and the call goes on.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from dragoman import store as records
from dragoman.adapters.base import Outcome
from dragoman.config import state_folder
from dragoman.engine.alone import Alone
from dragoman.engine.context import Context, Handler
from dragoman.log import logger
from dragoman.processes import Child, Leftover, sweep
from dragoman.schemas import ErrorCode, LLMError, LLMResponse, Usage, error_of

if TYPE_CHECKING:
    from dragoman.store import Posted, Record, Store, StoreError

_COUNTED = ("input_tokens", "cached_input_tokens", "output_tokens", "cost_usd")

ON_DISK_S = 1.0
"""How long a call waits at most for the disk before it goes on: another program may hold the file, for as long as it
likes."""


def store_file() -> Path:
    """Where the store is kept.

    Raises:
        OSError: the state folder cannot be made.
    """
    return state_folder() / "dragoman.sqlite3"


class Recorder:
    """See the module. Records are posted in order and written by the store's own thread."""

    def __init__(self, file: Path | None, depth: int, alone: Alone | None = None) -> None:
        self._file = file
        self._alone = alone or Alone()
        self._depth = depth
        self._store: Store | None = None
        self._opening = anyio.Lock()
        self._opened = False
        self._swept: set[int] = set()
        """The rows of what was looked for: what is gone is told the store a little later."""

    def around(self, following: Handler) -> Handler:
        """The outermost layer: a call is noted before anything is done for it."""

        async def recorded(context: Context) -> Outcome:
            if not self._opened:
                await self._open()
            call = context.call
            context.is_recorded = True
            self._post(
                records.CallStarted(
                    id=call.id,
                    face=call.face,
                    provider=call.request.provider,
                    model=call.request.model,
                    depth=self._depth,
                    unless_there=call.is_taken_over,
                )
            )
            return await following(context)

        return recorded

    def ended(self, context: Context, reply: LLMResponse) -> None:
        """A call has its reply."""
        if not context.is_recorded:
            return
        self._post(
            records.CallEnded(
                id=context.call.id,
                status=reply.status,
                code=reply.error.code if reply.error else None,
                provider=reply.provider,
                model=reply.model,
                duration_s=reply.duration_s,
                first_output_s=reply.first_output_s,
                attempts=len(reply.attempts),
                argv_shape=context.argv_shape,
                usage=_spent(reply),
                billing=reply.billing,
            )
        )

    def process_started(self, child: Child, call_id: str, folder: Path | None) -> None:
        """A child runs, with this private folder."""
        self._post(
            records.ProcessStarted(
                pid=child.pid,
                call_id=call_id,
                started_at=child.started_at,
                folder=None if folder is None else str(folder),
            )
        )

    def process_ended(self, child: Child) -> None:
        """A child is gone."""
        self._post(records.ProcessEnded(pid=child.pid))

    async def opened(self) -> Store | None:
        """The store, opened if it was not yet; None: it cannot be."""
        if not self._opened:
            await self._open()
        return self._store

    def post(self, record: Record) -> Posted | None:
        """Write a record soon, if there is a store. See `Store.post`."""
        return self._post(record)

    async def on_disk(self, posted: Posted) -> bool:
        """Wait until what was posted is on disk, but not for long; whether it is.

        Raises:
            StoreError: it never will be.
        """
        if self._store is not None:
            with anyio.move_on_after(ON_DISK_S):
                await self._store.written(posted)
        return posted.done and posted.error is None

    @property
    def store(self) -> Store | None:
        """The store; None: it is not open, or cannot be."""
        return self._store

    async def open_if_there(self) -> bool:
        """Open the store if there ever was one."""
        if self._opened:
            return self._store is not None
        with suppress(OSError):
            if (self._file or store_file()).exists():
                await self._open()
        return self._store is not None

    async def tidy(self) -> None:
        """Stop what servers left behind that are gone by now. Does nothing if there never was one."""
        if await self.open_if_there():
            await self._sweep()

    async def close(self) -> None:
        """Write what is left and close the store."""
        if self._store is not None:
            store, self._store = self._store, None
            await store.close()

    async def _open(self) -> None:
        async with self._opening:
            if not self._opened:
                try:
                    self._store = await records.Store.open(self._file or store_file())
                except (records.StoreError, OSError) as error:
                    self._alone.tell("calls are not recorded", error)
                self._opened = True

    async def _sweep(self) -> None:
        if self._store is None:
            return
        orphans = [orphan for orphan in self._store.orphans if orphan.row not in self._swept]
        if not orphans:
            return
        self._swept.update(orphan.row for orphan in orphans)
        left = [
            Leftover(orphan.pid, orphan.start_time, orphan.call_id, Path(orphan.folder) if orphan.folder else None)
            for orphan in orphans
            if orphan.is_of_this_boot
        ]
        if stopped := await anyio.to_thread.run_sync(sweep, left):
            logger.warning("stopped {} process(es) that an earlier server had left behind", stopped)
        self._post(records.OrphansEnded(tuple(orphan.row for orphan in orphans)))

    def _post(self, record: Record) -> Posted | None:
        return None if self._store is None else self._store.post(record)


def store_failure(error: StoreError, what: str = "") -> LLMError:
    """The failure of who needs the store; `what` could not be done without it."""
    return error_of(ErrorCode.INTERNAL, f"{what}: {error.told}" if what else error.told, next_step=error.next_step)


def _spent(reply: LLMResponse) -> Usage | None:
    """What a call cost with all its attempts, whoever made them; a reply tells only of the one that answered."""
    parts = [attempt.usage for attempt in reply.attempts]
    if reply.status in ("cancelled", "interrupted") or not parts:
        # What was broken off is not among them.
        parts.append(reply.usage)
    known = [usage for usage in parts if usage is not None]
    if len(known) < 2:
        return known[0] if known else None
    sums = {name: [value for usage in known if (value := getattr(usage, name)) is not None] for name in _COUNTED}
    return Usage.model_validate({name: sum(values) if values else None for name, values in sums.items()})
