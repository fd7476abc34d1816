"""What is written down of a job: its beginning, that its child outlives us, and its end."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from dragoman import store as records
from dragoman.engine.attempt.host import DialogueHost
from dragoman.engine.call import Call
from dragoman.engine.jobs.idempotency import digest
from dragoman.engine.record import KEPT_S, ON_DISK_S, Recorder
from dragoman.log import logger
from dragoman.schemas import LLMResponse

if TYPE_CHECKING:
    from dragoman.store import Posted

PAGED_CHARS = 4_000
"""A longer answer may be told by the page. No client takes less at once."""


class JobRecords:
    """See the module. Where nothing can be written, a job is in memory only and ends with this process."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._ends: dict[str, Posted | None] = {}
        """Of jobs that are just telling their reply: whether that is on disk."""

    async def begin(self, call: Call, scope: str, instead_of: str | None) -> None:
        """Write down a job, or have that done while it is got ready: see `on_disk`.

        Raises:
            KeyTaken: another job has the key.
        """
        request, store = call.request, self._recorder.store
        record = records.JobStarted(
            id=call.id,
            face=call.face,
            request=request.model_dump_json(exclude_unset=True),
            prompt=request.prompt,
            provider=request.provider,
            conversation_id=call.conversation_id,
            key=request.idempotency_key,
            scope=scope,
            digest=digest(request) if request.idempotency_key else None,
            instead_of=instead_of,
            detached=request.background,
        )
        if store is None:
            return
        call.is_kept = True
        # Another one goes with what follows until its child is to start: who starts that waits for it.
        is_waited_for = bool(request.idempotency_key or request.background or call.work is not None)
        call.written = store.post(record, waited=is_waited_for)
        if not is_waited_for:
            return
        try:
            if await self._recorder.on_disk(call.written, KEPT_S):
                call.written = None
                call.goes_on = request.background and call.work is None
            else:
                logger.warning("a job may end with this process: {}", store.hangs(KEPT_S))
        except records.KeyTaken:
            raise
        except records.StoreError as error:
            _in_memory_only(call, error)

    async def on_disk(self, call: Call, left_s: float = math.inf) -> bool:
        """Wait, but not for long, until a job is on disk; whether it is. For who starts its child, or leaves it.

        `left_s`: how much time the call has, of which a tenth may go.
        """
        if call.written is not None:
            try:
                if await self._recorder.on_disk(call.written, min(left_s / 10, ON_DISK_S)):
                    call.written = None
            except records.StoreError as error:
                _in_memory_only(call, error)
        return call.is_kept and call.written is None

    def detached(self, call: Call, host: DialogueHost) -> None:
        """A job has a child that outlives us."""
        shepherd = getattr(host.child, "shepherd_pid", None)
        if call.is_kept and host.outlives_in is not None and shepherd is not None:
            self._recorder.post(records.JobDetached(call.id, shepherd, folder=str(host.outlives_in)))

    async def left_alone(self, call: Call, host: DialogueHost) -> None:
        """The child of a job outlives us from now on."""
        store, shepherd = self._recorder.store, getattr(host.child, "shepherd_pid", None)
        if store is not None and shepherd is not None:
            try:
                await store.write(records.JobDetached(call.id, shepherd, folder=str(host.outlives_in)))
                call.goes_on = True
            except records.StoreError as error:
                # It ended just now; or the disk became full just now, and nobody will ever find it.
                logger.debug("a job that was handed out is not known to go on: {}", error)

    def ending(self, call: Call, reply: LLMResponse) -> None:
        """A job is about to tell its reply."""
        if call.job and _is_looked_for(call, reply):
            self._ends[call.id] = self.write_end(call, reply)

    async def safe(self, call: Call) -> bool:
        """Wait, but not for long, until a reply that somebody may ask for again is on disk, whoever dies then.

        False: it is not, but that there is such a job may be.
        """
        if (end := self._ends.get(call.id)) is not None:
            with suppress(records.StoreError):
                return await self._recorder.on_disk(end)
        return end is None

    def ended(self, call: Call, reply: LLMResponse) -> Posted | None:
        """A job has told its reply; what becomes of the record of that."""
        return self._ends.pop(call.id) if call.id in self._ends else self.write_end(call, reply)

    def write_end(self, call: Call, reply: LLMResponse) -> Posted | None:
        """Have the end of a job written down; what becomes of that, or None: there is no record of its beginning."""
        if not call.is_kept:
            return None
        rest = reply.model_dump_json(exclude_defaults=True, exclude={"text"})
        return self._recorder.post(
            records.JobEnded(
                id=call.id,
                status=reply.status,
                reply=rest,
                provider=reply.provider,
                ended_at=call.ended_at or time.time(),
                text=reply.text,
            )
        )


def is_on_disk(call: Call) -> bool:
    """Whether a job is known to be written down."""
    return call.is_kept and (call.written is None or (call.written.done and call.written.error is None))


def _in_memory_only(call: Call, error: records.StoreError) -> None:
    call.is_kept, call.written = False, None
    logger.warning("a job is kept in memory only, and ends with this process: {}", error)


def _is_looked_for(call: Call, reply: LLMResponse) -> bool:
    """Whether somebody may come for the reply with its id, its key, or the number of a page."""
    request = call.request
    has_id = request.background or call.handed_out or call.is_taken_over or request.idempotency_key is not None
    return has_id or call.work is not None or len(reply.text) > PAGED_CHARS
