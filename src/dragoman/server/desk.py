"""Where answers are handed out: at once when they are ready in time, by the id of a job when they are not.

A call belongs to the engine and is a job from its start, so that nothing is lost when a client gives up. It ends with
the request that started it only when the client took that back, and nobody else was told of the job.
"""

from __future__ import annotations

from collections import OrderedDict
from contextvars import ContextVar

import anyio
from mcp_types import CallToolResult

from dragoman.engine import Engine, Job
from dragoman.engine.context import Handler
from dragoman.schemas import LLMRequest, LLMResponse
from dragoman.server.callers import Caller, ToolCall
from dragoman.server.pages import paged
from dragoman.server.progress import narrate
from dragoman.server.results import reply_result
from dragoman.server.withdrawals import Withdrawals

JOB_TOOL = "job"
HANDED_OUT = 1000
"""How many ids that were handed out are remembered, so that who waits for the same answer does not end it."""


class Claim:
    """Somebody takes whatever job a call becomes, instead of waiting for the answer."""

    def __init__(self) -> None:
        self.job: Job | None = None


claim: ContextVar[Claim | None] = ContextVar("claim", default=None)
"""Who claims the job of the call that is being made."""


class Desk:
    """Starts calls for tools, and waits for them."""

    def __init__(self, engine: Engine, withdrawals: Withdrawals) -> None:
        self._engine = engine
        self._withdrawals = withdrawals
        self._waiting: dict[str, int] = {}
        self._handed_out: OrderedDict[str, None] = OrderedDict()

    async def answer(self, request: LLMRequest, call: ToolCall, work: Handler | None = None) -> CallToolResult:
        """Ask, and give the answer, or the id of the job when the time is up. Of the arguments it heeds ``max_wait_s``.

        `work` answers it instead of a provider; see `Jobs.start`.

        Raises:
            LLMError: the call could not begin, or another one has its key (code ``bad_request``).
        """
        caller = call.caller
        by_client = request.idempotency_key is None
        if by_client:
            request = request.model_copy(update={"idempotency_key": call.key})
        job = await self._start(request, caller.scope, by_client, work)
        claimed = claim.get()
        if claimed is not None:
            claimed.job = job
            await self._hand_out(job)
            return result_of(job.reply(), caller)
        if request.background:
            await self._hand_out(job)
        wait_s = caller.wait_s(call.given.get("max_wait_s"), 0 if request.background else None)
        reply = await self._owned_wait(job, wait_s, caller)
        if reply.status != "running":
            reply = paged(reply, 1, caller.answer_bytes)
            if reply.next_page is None:
                # Nobody needs to come back for it.
                reply = reply.model_copy(update={"job_id": None})
            return reply_result(reply)
        return result_of(reply, caller)

    async def wait(self, job: Job, wait_s: float | None, caller: Caller) -> LLMResponse:
        """The reply, which is ``running`` when the time is up. Tells the client what happens meanwhile."""
        tell = caller.tell
        if tell is None:
            return await job.wait(wait_s)
        async with anyio.create_task_group() as telling:
            telling.start_soon(narrate, job, tell)
            await job.wait(wait_s)
            telling.cancel_scope.cancel()
        return job.reply()

    async def _start(self, request: LLMRequest, scope: str, key_returns: bool, work: Handler | None) -> Job:
        job = None
        # A request that is cancelled just now must not leave a job behind that is written down and never runs.
        with anyio.CancelScope(shield=True):
            start = self._engine.jobs.start
            job = await start(request, face="mcp", scope=scope, key_returns=key_returns, work=work)
        assert job is not None  # noqa: S101 - nothing cancels the scope
        return job

    async def _owned_wait(self, job: Job, wait_s: float | None, caller: Caller) -> LLMResponse:
        self._waiting[job.id] = self._waiting.get(job.id, 0) + 1
        try:
            reply = await self.wait(job, wait_s, caller)
            if reply.status == "running":
                await self._hand_out(job, caller.client.hand_out_s)
                reply = job.reply()
        except BaseException:
            if job.call is not None:
                if await self._goes_on(caller):
                    await self._hand_out(job)
                # Only now: while the client's reason was awaited, its repeated call may have come for the job.
                elif self._waiting[job.id] == 1 and job.id not in self._handed_out:
                    job.call.cancel()
            raise
        finally:
            self._waiting[job.id] -= 1
            if not self._waiting[job.id]:
                del self._waiting[job.id]
        return reply

    async def _goes_on(self, caller: Caller) -> bool:
        """Whether a client that is not there for the answer any more may come back for it."""
        if caller.departure is not None and caller.departure.cancelled:
            return True
        return caller.context is not None and await self._withdrawals.time_ran_out(caller.context.request_context)

    async def _hand_out(self, job: Job, within_s: float | None = None) -> None:
        await job.hand_out(within_s)
        self._handed_out[job.id] = None
        if len(self._handed_out) > HANDED_OUT:
            self._handed_out.popitem(last=False)


def result_of(reply: LLMResponse, caller: Caller, page: int = 1) -> CallToolResult:
    """A reply as this caller can take it: in pages when it is large, and with what to do when it is not there yet.

    Raises:
        LLMError: there is no such page (code ``bad_request``).
    """
    return reply_result(paged(_told(reply) if reply.status == "running" else reply, page, caller.answer_bytes))


def _told(reply: LLMResponse) -> LLMResponse:
    whose = reply.provider or "the provider"
    collect = (
        f"{whose} has not answered yet ({reply.duration_s:.0f} s so far). For the answer call the tool `{JOB_TOOL}` "
        f'with action "wait" and job_id "{reply.job_id}".'
    )
    return reply.model_copy(update={"notices": (*reply.notices, collect)})
