"""Keeping what happened: every call, its tokens, every process. Statistics never cost an answer.

The store is opened at the first call. What cannot be kept is told once, as a warning, and the call goes on; a later one
tries again.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from dragoman import store as records
from dragoman.adapters.base import Outcome
from dragoman.config import state_folder
from dragoman.engine.alone import Alone
from dragoman.engine.call import Call
from dragoman.engine.context import Context, Handler
from dragoman.latch import Latch
from dragoman.log import logger
from dragoman.processes import Child, Leftover, sweep
from dragoman.schemas import ErrorCode, LLMError, LLMResponse, TimeoutConfig, Usage, error_of

if TYPE_CHECKING:
    from dragoman.store import Posted, Record, Store, StoreError

_COUNTED = ("input_tokens", "cached_input_tokens", "output_tokens", "cost_usd")
AGAIN_S = 10.0
"""How long after it could not be opened the store is not tried again: a disk may be full for a while only."""
OPEN_S = 10.0
"""How long anyone waits for the store to be opened. It takes a millisecond, on a disk that answers."""
ON_DISK_S = 1.0
"""How long a call waits at most for the disk before it goes on: another program may hold the file, for as long as it
likes."""
KEPT_S = 10.0
"""The same for what the caller is told of. Twice what a transaction waits for another program: it may have to wait for
the one before it, too."""


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
        self._opening: Latch | None = None
        """Somebody is opening it; set when that came to an end."""
        self.is_closed = False
        self._missing: StoreError | None = None
        """Why there is no store."""
        self._again_at = -math.inf
        """When it may be tried again."""
        self.tasks: TaskGroup | None = None
        """Where it is opened: whoever waits for that may give up. For the engine."""
        self._swept: set[int] = set()
        """The rows of what was looked for: what is gone is told the store a little later."""

    def around(self, following: Handler) -> Handler:
        """The outermost layer: a call is noted before anything is done for it."""

        async def recorded(context: Context) -> Outcome:
            call = context.call
            if self._store is None:
                # There is to be some time left to ask.
                await self._open(call.request.timeouts.over(TimeoutConfig()).call / 2)
            call.is_recorded = self._store is not None
            if call.is_recorded:
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
        if not context.call.is_recorded:
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

    def process_started(self, child: Child, call: Call, folder: Path | None) -> None:
        """A child of a call runs, with this private folder."""
        if call.is_recorded:
            self._post(
                records.ProcessStarted(
                    pid=child.pid,
                    call_id=call.id,
                    started_at=child.started_at,
                    folder=None if folder is None else str(folder),
                )
            )

    def process_ended(self, child: Child, call: Call, *, is_adopted: bool) -> None:
        """A child of a call is gone. `is_adopted`: an earlier server started it."""
        if call.is_recorded:
            self._post(records.ProcessEnded(pid=child.pid, if_there=is_adopted))

    async def opened(self) -> Store | None:
        """The store, opened if it is not yet; None: it cannot be, see `missing`."""
        if self._store is None:
            await self._open()
        return self._store

    def missing(self, what: str) -> LLMError:
        """The failure of who needs the store where there is none; `what` could not be done without it."""
        if self._missing is None:
            return error_of(ErrorCode.INTERNAL, f"{what}: the store is not open", next_step="ask again")
        return store_failure(self._missing, what)

    def post(self, record: Record) -> Posted | None:
        """Write a record soon, if there is a store. See `Store.post`."""
        return self._post(record)

    async def on_disk(self, posted: Posted, patience_s: float = ON_DISK_S) -> bool:
        """Wait until what was posted is on disk, but not for long; whether it is.

        Raises:
            StoreError: it never will be.
        """
        if self._store is not None:
            with anyio.move_on_after(patience_s):
                await self._store.written(posted)
        return posted.done and posted.error is None

    @property
    def store(self) -> Store | None:
        """The store; None: it is not open, or cannot be."""
        return self._store

    async def open_if_there(self) -> bool:
        """Open the store if there ever was one."""
        with suppress(OSError):
            if self._store is None and (self._file or store_file()).exists():
                await self._open()
        return self._store is not None

    async def tidy(self) -> None:
        """Stop what servers left behind that are gone by now. Does nothing if there never was one."""
        if await self.open_if_there():
            await self._sweep()

    def leaving(self) -> None:
        """The engine is being left: see `Store.insist`."""
        if self._store is not None:
            self._store.insist()

    async def close(self) -> None:
        """Write what is left and close the store."""
        self.is_closed = True
        if self._store is not None:
            store, self._store = self._store, None
            await store.close()

    async def _open(self, patience_s: float = math.inf) -> None:
        """Have the store opened, unless that was tried a moment ago. Who gives up waiting finds it open later."""
        if self._opening is None and not self.is_closed and time.monotonic() >= self._again_at:
            if self.tasks is None:
                raise RuntimeError("the engine is not open: use `async with Engine(…)`")
            self._opening = Latch()
            self.tasks.start_soon(self._try_to_open, self._opening)
        if self._opening is not None:
            with anyio.move_on_after(min(patience_s, OPEN_S)):
                await self._opening.wait()

    async def _try_to_open(self, ended: Latch) -> None:
        try:
            self._store = await records.Store.open(self._file or store_file())
            self._missing = None
        except (records.StoreError, OSError) as error:
            before, self._missing = self._missing, records.explain(_place(error), error)
            self._again_at = time.monotonic() + AGAIN_S
            if str(before) != str(self._missing):
                self._alone.tell("calls are not recorded", self._missing)
        finally:
            self._opening = None
            ended.set()

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


def _place(error: Exception) -> Path:
    """What an error of the system is about; a `StoreError` says it itself."""
    return Path(getattr(error, "filename", None) or ".")


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
