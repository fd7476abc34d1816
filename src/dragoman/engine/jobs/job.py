"""A job as its callers have it, and the words for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from dragoman.engine.call import Call, interruption, session_told
from dragoman.schemas import Event, JobInfo, LLMResponse

if TYPE_CHECKING:
    from dragoman.engine.jobs.job_logs import Heard
    from dragoman.engine.jobs.jobs import Jobs
    from dragoman.store import JobRow, TurnRow

CANCEL_S = 5.0
"""How long cancelling waits for another process to end its job."""
HAND_OUT_S = 10.0
"""How long whoever is told a job's id waits at most until its child can outlive us. It takes a few milliseconds, unless
the machine is slow or the child leaves its input unread."""
PROMPT_SHOWN = 80


class Job:
    """A call by its id. `call` is None when it does not run in this process."""

    def __init__(self, jobs: Jobs, info: JobInfo, call: Call | None, reply: LLMResponse | None) -> None:
        self.info = info
        self.call = call
        self._jobs = jobs
        self._reply = reply

    @property
    def id(self) -> str:
        """The id by which it is found."""
        return self.info.job_id

    def reply(self) -> LLMResponse:
        """The reply so far: ``running`` until it ended."""
        reply = self.call.reply if self.call is not None else self._reply
        return self._running() if reply is None else reply.model_copy(update={"job_id": self.id})

    async def so_far(self) -> LLMResponse:
        """The reply so far, with the text that came until now; of another process's it may be some seconds old.

        Raises:
            LLMError: the store cannot be read.
        """
        if self.reply().status != "running":
            return self.reply()
        text = await self._jobs.heard(self)
        reply = self.reply()
        return reply.model_copy(update={"text": text}) if reply.status == "running" else reply

    async def wait(self, max_wait_s: float | None = None) -> LLMResponse:
        """Wait for the end, at most so long. Giving up the wait leaves the job alone."""
        with anyio.move_on_after(max_wait_s):
            if self.call is not None:
                await self.call.outcome()
            elif self._reply is None:
                self._reply = await self._jobs.elsewhere(self.id)
        return self.reply()

    async def hand_out(self, within_s: float | None = None) -> None:
        """Before its id is told to somebody who does not wait for it: from now on it outlives us, where that can be.

        It does so, too, where that takes longer than `within_s`; but then whoever comes with the id may be too early.
        """
        if self.call is not None and self.call.reply is None:
            with anyio.move_on_after(HAND_OUT_S if within_s is None else within_s, shield=True):
                await self._jobs.hand_out(self.call)

    async def cancel(self) -> LLMResponse:
        """End it, in whichever process it runs."""
        if self.call is not None:
            self.call.cancel()
        elif self._reply is None:
            await self._jobs.ask_to_cancel(self.id)
            return await self.wait(CANCEL_S)
        return await self.wait()

    async def events(self, page: int = 1) -> tuple[Sequence[Event], int | None]:
        """What happened in it, and the number of the next page."""
        return await self._jobs.events(self, page)

    def _running(self) -> LLMResponse:
        if self.call is not None:
            return running_reply(self.call)
        return LLMResponse(
            status="running",
            provider=self.info.provider,
            conversation_id=self.info.conversation_id,
            duration_s=round(max(0.0, time.time() - self.info.created_at), 3),
            job_id=self.id,
            call_id=self.id,
        )


def running_reply(call: Call) -> LLMResponse:
    """What there is to say of a job that runs in this process."""
    return LLMResponse(
        status="running",
        provider=call.request.provider,
        conversation_id=call.conversation_id,
        duration_s=round(max(0.0, time.time() - call.created_at), 3),
        notices=(f"it waits for {call.waits_for}",) if call.waits_for else (),
        job_id=call.id,
        call_id=call.id,
    )


def info_of(row: JobRow) -> JobInfo:
    """What a list shows of a job, wherever it runs or ran."""
    return JobInfo(
        job_id=row.id,
        status=row.status,
        provider=row.provider,
        conversation_id=row.conversation_id,
        created_at=row.created_at,
        ended_at=row.ended_at,
        prompt=excerpt(row.prompt),
        background=row.detached,
    )


def info_of_call(call: Call) -> JobInfo:
    """What a list shows of a job that runs, or ran, in this process."""
    reply = call.reply
    return JobInfo(
        job_id=call.id,
        status=reply.status if reply else "running",
        provider=(reply.provider if reply else None) or call.request.provider,
        conversation_id=call.conversation_id,
        created_at=call.created_at,
        ended_at=call.ended_at if reply else None,
        prompt=excerpt(call.request.prompt),
        background=call.request.background or call.outlives_us,
    )


def excerpt(prompt: str) -> str:
    """How a question begins, on one line."""
    words = " ".join(prompt[: 4 * PROMPT_SHOWN].split())
    return words if len(words) <= PROMPT_SHOWN else f"{words[:PROMPT_SHOWN]}…"


def answered(row: JobRow, turn: TurnRow) -> LLMResponse:
    """The reply of a job of which only the turn was written down."""
    return LLMResponse(
        status="completed",
        text=turn.text,
        provider=turn.provider,
        model=turn.model,
        usage=turn.usage,
        conversation_id=row.conversation_id,
        finish_reason=turn.finish_reason,
        duration_s=max(0.0, (turn.ended_at or turn.started_at) - turn.started_at),
        job_id=row.id,
        call_id=row.id,
    )


def interrupted(row: JobRow, heard: Heard) -> LLMResponse:
    """The reply of a job whose server died."""
    provider = row.provider or heard.provider
    return LLMResponse(
        status="interrupted",
        text=heard.text,
        provider=provider,
        conversation_id=row.conversation_id,
        finish_reason="error",
        notices=session_told(provider, heard.session),
        error=interruption("possible"),
        job_id=row.id,
        call_id=row.id,
    )


def sort_in(newest: list[JobInfo], others: Sequence[JobInfo]) -> None:
    """Put jobs of which there is no record among those of which there are, the newest first.

    The order of the records stays as it is, in which they were made: clocks are set back. Where another one belongs
    does not depend on how many records there are behind its place, so that pages fit together.
    """
    for other in sorted(others, key=lambda info: info.created_at):
        older = (place for place, info in enumerate(newest) if info.created_at <= other.created_at)
        newest.insert(next(older, len(newest)), other)
