"""The jobs of servers that are gone: who comes next goes on with those whose children do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from pydantic import ValidationError

from dragoman import store as records
from dragoman.engine.call import Call
from dragoman.engine.jobs.detached import forget_old, last_folder, take_up
from dragoman.engine.record import Recorder
from dragoman.log import logger
from dragoman.processes import read_end
from dragoman.schemas import LLMRequest

if TYPE_CHECKING:
    from dragoman.store import JobRow, Store

COLLECT_S = 1.0
"""How long a list waits for the replies of jobs that ended when no server was there. It takes a few milliseconds."""


class Succession:
    """See the module. `begin` is given each call that is taken over."""

    def __init__(self, recorder: Recorder, begin: Callable[[Call], None]) -> None:
        self._recorder = recorder
        self._begin = begin

    async def take_over(self) -> list[Call]:
        """Go on with the detached jobs of servers that are gone."""
        taken: list[Call] = []
        if (store := await self._recorder.opened()) is None:
            return taken
        try:
            await store.take_stock()
            rows = store.detached_jobs
            taken += [call for row in rows if (call := await self._take_over(store, row)) is not None]
        except records.StoreError as error:
            logger.warning("jobs of earlier servers could not be looked for: {}", error)
        return taken

    async def collect(self, rows: Sequence[JobRow]) -> None:
        """Have those of these jobs tell their replies whose children ended when no server was there."""
        running = [row for row in rows if row.status == "running" and row.detached]
        ended = {row.id for row in running if read_end(last_folder(row.id)) is not None}
        if not ended:
            return
        with anyio.move_on_after(COLLECT_S):
            for call in await self.take_over():
                if call.id in ended:
                    await call.outcome()

    async def tidy(self) -> None:
        """`take_over`, and remove what ended jobs have left. Does nothing if there never was a store."""
        if (store := self._recorder.store) is not None:
            await self.take_over()
            running = {row.id for row in await store.jobs(1000) if row.status == "running"}
            await anyio.to_thread.run_sync(forget_old, running.__contains__)

    async def _take_over(self, store: Store, row: JobRow) -> Call | None:
        try:
            await store.write(records.JobAdopted(row.id, row.server_id))
        except records.Conflict:
            return None
        text = await store.job_request(row.id)
        try:
            request = LLMRequest.model_validate_json(text or "")
        except ValidationError as error:
            logger.error("job {} cannot be gone on with: {}", row.id, error)
            store.post(records.JobEnded(row.id, "interrupted"))
            return None
        # One that never started begins now.
        adopted = await take_up(last_folder(row.id))
        if adopted is not None:
            # Whoever it was that was asked in the end: nobody else understands what it says.
            request = request.model_copy(update={"provider": adopted.heard.provider})
        call = Call(request, row.face, call_id=row.id)
        call.job = call.is_kept = call.goes_on = True
        call.taken_over_at = time.monotonic()
        call.conversation_id = row.conversation_id
        call.created -= max(0.0, time.time() - row.created_at)
        call.created_at = row.created_at
        call.adopted = adopted
        if adopted is None:
            call.caught_up.set()
        else:
            call.caught_up = adopted.child.caught_up
        self._begin(call)
        return call
