"""Calls that can be fetched by their id: after the request that started them ended, and by other processes.

A job is written down before its child starts, and its reply when it ends. Whoever asks for one that runs in another
process of this machine is told when that process writes its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import anyio

from dragoman import store as records
from dragoman.config import ConversationSettings
from dragoman.engine.attempt.host import DialogueHost
from dragoman.engine.call import Call, interruption
from dragoman.engine.context import Handler
from dragoman.engine.ids import MOST_PAGES, the_only
from dragoman.engine.jobs.ended import EndedJobs
from dragoman.engine.jobs.idempotency import Holder, Keys, key_in_use, key_taken
from dragoman.engine.jobs.job import Job, answered, info_of, info_of_call, interrupted, sort_in
from dragoman.engine.jobs.job_logs import UNREADABLE, JobLogs, caught_up
from dragoman.engine.jobs.job_records import JobRecords, is_on_disk
from dragoman.engine.jobs.succession import Succession
from dragoman.engine.layers.turns import is_kept, new_conversation_id
from dragoman.engine.record import Recorder, store_failure
from dragoman.log import logger
from dragoman.schemas import ErrorCode, Event, JobInfo, LLMError, LLMRequest, LLMResponse, error_from, error_of

if TYPE_CHECKING:
    from dragoman.store import JobRow, TurnRow
    from dragoman.structured import AsyncValidationStrategy, OutputSchema

LOOK_S = (0.05, 0.5)
"""How soon, and at last how seldom, it is looked whether another process ended a job."""
STOCK_S = 2.0
"""How often whoever waits for a job of another process looks whether that process lives."""
START_S = 10.0
"""How long after its beginning whoever is told a job's id waits for its child, on a machine that is slow.
One that waits for others is handed out as it is."""
WRITTEN_S = 1.0
"""How long whoever deletes a conversation waits at most until the end of its last job is on its way to the disk."""
LOOKED_AT = 20
"""How many turns of its conversation are looked at for the answer of a job whose server was killed as it was told."""


class Jobs:
    """See the module."""

    def __init__(
        self,
        recorder: Recorder,
        submit: Callable[[Call], None],
        check: Callable[[LLMRequest], None] = lambda _: None,
        settings: ConversationSettings | None = None,
    ) -> None:
        self._recorder = recorder
        self._check = check
        """Raises where a request can come to nothing."""
        self._settings = settings or ConversationSettings()
        self._submit = submit
        self._calls: dict[str, Call] = {}
        self.records = JobRecords(recorder)
        """That they began and how they ended."""
        self.logs = JobLogs(recorder)
        """What happened in them."""
        self._succession = Succession(recorder, self._begin)
        self._ended = EndedJobs(self._let_go, self.records.write_end)
        self._any = anyio.Event()
        """Set when there is a job to be watched, or an ended one to be written or let go of."""
        self._keys = Keys(recorder)
        self._starts = 0
        """How many are under way."""

    async def start(
        self,
        request: LLMRequest,
        *,
        face: str,
        scope: str = "",
        key_returns: bool = False,
        streams: bool = False,
        schema: OutputSchema | None = None,
        validators: tuple[AsyncValidationStrategy, ...] | None = None,
        work: Handler | None = None,
    ) -> Job:
        """Start a call that can be fetched by its id, or find the one that was started with the same key.

        Args:
            request: what is asked; its ``idempotency_key`` holds within `scope`.
            face: who asks, for the statistics.
            scope: whose keys they are, such as a client and its session.
            key_returns: the key may be another question's when its job has ended, as a number that a client gives.
            streams: see `Call`.
            schema: see `Call`.
            validators: see `Call`.
            work: see `Call`; `request` is then what tells this work from another.

        Raises:
            LLMError: the key was used for another question (code ``bad_request``), or a provider is named that nobody
                knows (``not_found``).
        """
        with self._one_more_start():
            self._check(request)
            await self._recorder.opened()
            held = self._keys.holder(request, scope, key_returns)
            job = await self.find(held.job_id) if held else None
            if held and job and not _came_to_nothing(job):
                if held.is_for(request):
                    return job
                if job.info.status == "running":
                    raise key_in_use(request, job.id)
            call = Call(request, face, streams=streams)
            call.job = True
            call.schema, call.validators, call.work = schema, validators, work
            if is_kept(request, self._settings):
                call.conversation_id = request.conversation_id or new_conversation_id()
            self._calls[call.id] = call
            self._keys.hold(request, scope, call.id)
            try:
                # Who gives up just now must not leave a job behind that is written down, has its key and never runs.
                with anyio.CancelScope(shield=True):
                    await self.records.begin(call, scope, instead_of=job.id if job else None)
            except records.KeyTaken as taken:
                # Another process was quicker.
                self._calls.pop(call.id, None)
                self._keys.give_up(call.id)
                if not Holder(taken.job_id, taken.digest).is_for(request):
                    raise (key_in_use(request, taken.job_id) if key_returns else key_taken(request)) from taken
                return await self.find(taken.job_id)
            if self._recorder.is_closed:
                # The engine was left meanwhile.
                raise error_from(interruption("none"))
            self._begin(call)
            return self._live(call)

    @contextmanager
    def _one_more_start(self) -> Generator[None]:
        self._starts += 1
        try:
            yield
        finally:
            self._starts -= 1

    async def begun(self) -> None:
        """Wait until the jobs that are being started have begun, or failed to."""
        while self._starts:  # noqa: ASYNC110 - it takes a few milliseconds, and nothing tells
            await anyio.sleep(LOOK_S[0])

    def _begin(self, call: Call) -> None:
        self._calls[call.id] = call
        self._any.set()
        self._submit(call)

    async def find(self, job_id: str) -> Job:
        """The job of this id, in whichever process it runs or ran.

        Raises:
            LLMError: there is none (code ``not_found``), or the store cannot be read (``internal``).
        """
        if (call := self._calls.get(job_id)) is not None:
            return self._live(call)
        row = await self._row(job_id)
        if row is not None and row.status == "running":
            await self._succession.take_over()
            if (call := self._calls.get(job_id)) is not None:
                return self._live(call)
            row = await self._row(job_id)
        if row is None:
            step = "list the jobs to see those there are; old ones are forgotten. Or ask again"
            raise error_of(ErrorCode.NOT_FOUND, f"there is no job {job_id!r}", next_step=step)
        return Job(self, info_of(row), None, await self._reply(row))

    async def finish(self, call_id: str) -> None:
        """Wait for the end of a call whose server is gone, if it goes on. There is nothing to wait for in any other."""
        with suppress(LLMError):
            job = await self.find(call_id)
            if job.call is not None or job.info.background:
                await job.wait()

    async def full_id(self, beginning: str) -> str:
        """The id that a person means who typed it, or as much of its beginning as no other of the newest has."""
        if beginning in self._calls or await self._row(beginning) is not None:
            return beginning
        found = [info.job_id for info in await self.listed(1000) if info.job_id.startswith(beginning)]
        return the_only(found, beginning, "job")

    async def listed(self, limit: int = 50, *, page: int = 1) -> list[JobInfo]:
        """A page of the jobs of this machine, the newest first; where they cannot be read, those of this process.

        Raises:
            LLMError: they cannot be read, and this process has none (code ``internal``).
        """
        rows: list[JobRow] = []
        page = min(page, MOST_PAGES)
        # One that is on disk by then and is not among those read stands on a later page.
        on_disk = {call.id for call in self._calls.values() if is_on_disk(call)}
        if (store := await self._recorder.opened()) is not None:
            try:
                rows = await store.jobs(limit * page)
                await self._succession.collect(rows)
            except records.StoreError as error:
                logger.warning("only the jobs of this process are listed: {}", error)
                on_disk.clear()
        elif not self._calls:
            raise self._recorder.missing("jobs cannot be read")
        live = {call.id: info_of_call(call) for call in self._calls.values()}
        newest = [live.get(row.id) or info_of(row) for row in rows]
        sort_in(newest, [live[job_id] for job_id in live.keys() - on_disk - {row.id for row in rows}])
        return newest[limit * (page - 1) : limit * page]

    async def hand_out(self, call: Call) -> None:
        """See `Job.hand_out`."""
        call.handed_out = True
        if call.host is not None:
            await self.leave_alone(call, call.host)
        elif call.work is None and not call.request.background:
            with anyio.move_on_after(call.created + START_S - time.monotonic()):
                await call.settled()
        if (store := self._recorder.store) is not None and not call.outlives_us:
            with suppress(records.StoreError):
                # Whoever comes with the id after this process was killed is to find it.
                await store.flush()

    async def leave_alone(self, call: Call, host: DialogueHost) -> None:
        """Have the child of a job that was handed out go on when this process ends, and write that down."""
        try:
            await self._leave_alone(call, host)
        finally:
            call.settle()

    async def _leave_alone(self, call: Call, host: DialogueHost) -> None:
        # Without its record nobody would ever find it.
        if host.outlives_in is None and await self.records.on_disk(call) and await host.outlive():
            await self.records.left_alone(call, host)

    async def tidy(self) -> None:
        """Go on with the detached jobs of servers that are gone, and remove what ended jobs have left."""
        await self._succession.tidy()

    def ended(self, call: Call, reply: LLMResponse, other_bytes: int) -> None:
        """A job has told its reply; `other_bytes`: what its events hold besides text. For the engine."""
        if not call.job:
            return
        end = self.records.ended(call, reply)
        self._ended.add(call, reply, other_bytes, end, self.logs.ended(call))
        if self._ended.is_too_much or self._ended.have_open_ends:
            self._any.set()

    def leave(self) -> None:
        """This engine is about to be left: what the disk refused is written now or by nobody."""
        self._ended.write_refused(at_once=True)

    async def written(self, conversation_id: str) -> None:
        """Wait until what the calls of a conversation that have ended here said is on its way to the disk."""
        with anyio.move_on_after(WRITTEN_S):
            # It takes a few milliseconds, and nothing tells.
            while any(call.reply and call.id not in self._ended for call in self._of(conversation_id)):  # noqa: ASYNC110
                await anyio.sleep(LOOK_S[0])

    def _let_go(self, job_id: str) -> None:
        # Its key as late as it is, for it may be in no store.
        self._calls.pop(job_id, None)
        self._keys.give_up(job_id)

    def forget(self, conversation_id: str) -> None:
        """A conversation was deleted or reset: what its calls said is not to be had any more."""
        for call in self._of(conversation_id):
            self._ended.drop(call.id)

    def _of(self, conversation_id: str) -> list[Call]:
        return [call for call in self._calls.values() if call.conversation_id == conversation_id]

    async def watch(self) -> None:
        """Look after the jobs of this process. Never returns.

        What happens in them is written down, those that another process asked for are cancelled, and those that are
        written are let go of. An end that the disk refused is written again.
        """
        while True:
            await self._any.wait()
            self._any = anyio.Event()
            seen = 0
            while self._running() or self._ended.is_too_much or self._ended.have_open_ends:
                await anyio.sleep(LOOK_S[1])
                self._ended.let_go()
                self._ended.write_refused()
                self.logs.keep(self._running())
                seen = self._cancel_those_asked_for(seen)

    def _running(self) -> list[Call]:
        return [call for call in self._calls.values() if call.reply is None]

    def _cancel_those_asked_for(self, seen: int) -> int:
        # Not in the loop of `watch`, which would hold the last of these calls until there is another one.
        if (store := self._recorder.store) is None:
            return seen
        try:
            if not (changed := store.data_changed(seen)):
                return seen
            for call in self._running():
                if (row := store.job(call.id)) is not None and row.cancel_requested:
                    call.cancel()
        except records.StoreError as error:
            logger.warning("it cannot be seen whether a job is to be cancelled: {}", error)
            return seen
        return changed

    async def elsewhere(self, job_id: str) -> LLMResponse | None:
        """The reply of a job of another process, once it ended; None: it was forgotten meanwhile."""
        wait_s, longest_s = LOOK_S
        seen, looked_at = 0, anyio.current_time()
        while True:
            if anyio.current_time() > looked_at + STOCK_S:
                # Its server may have died meanwhile.
                await self._succession.take_over()
                looked_at = anyio.current_time()
            if (call := self._calls.get(job_id)) is not None:
                return await call.outcome()
            store = await self._recorder.opened()
            changed = store.data_changed(seen) if store else 0
            if store is None or changed:
                row = await self._row(job_id)
                if row is None or row.status != "running":
                    return await self._reply(row) if row else None
                seen = changed
            await anyio.sleep(wait_s)
            wait_s = min(2 * wait_s, longest_s)

    async def ask_to_cancel(self, job_id: str) -> None:
        """Ask the process that runs the job to end it."""
        if (store := await self._recorder.opened()) is not None:
            await store.write(records.JobCancelRequested(job_id))

    async def events(self, job: Job, page: int) -> tuple[Sequence[Event], int | None]:
        """See `Job.events`."""
        return await self.logs.page(job.id, job.call, page)

    async def heard(self, job: Job) -> str:
        """The text that came until now; of a job of another process, that which is written down."""
        if job.call is None:
            return (await self.logs.heard(job.id)).text
        await caught_up(job.call)
        return job.call.log.text()

    async def said(self, call_id: str) -> str:
        """What a job without an end had said; nothing of a call that is none. Takes nothing over."""
        call = self._calls.get(call_id)
        return call.log.text() if call is not None else (await self.logs.heard(call_id)).text

    def _live(self, call: Call) -> Job:
        return Job(self, info_of_call(call), call, call.reply)

    async def _row(self, job_id: str) -> JobRow | None:
        if (store := await self._recorder.opened()) is None:
            raise self._recorder.missing(UNREADABLE)
        try:
            return store.job(job_id)
        except records.StoreError as error:
            raise store_failure(error, UNREADABLE) from error

    async def _reply(self, row: JobRow) -> LLMResponse | None:
        if row.status == "running":
            return None
        store = await self._recorder.opened()
        try:
            found = await store.job_reply(row.id) if store else None
            last: list[TurnRow] = []
            if store and found is None and row.conversation_id is not None:
                last = await store.turns(row.conversation_id, last=LOOKED_AT)
        except records.StoreError as error:
            raise store_failure(error, UNREADABLE) from error
        if found is None:
            # Its turn is written down before its reply is told, the job's end soon after.
            turn = next((turn for turn in last if turn.call_id == row.id and turn.status == "completed"), None)
            return answered(row, turn) if turn else interrupted(row, await self.logs.heard(row.id))
        rest, text = found
        reply = LLMResponse.model_validate_json(rest)
        return reply if text is None else reply.model_copy(update={"text": text})


def _came_to_nothing(job: Job) -> bool:
    """Whoever asks again with the key of such a job wants it done."""
    is_being_cancelled = job.call is not None and job.call.is_cancelled
    return is_being_cancelled or job.info.status in ("failed", "cancelled", "interrupted")
