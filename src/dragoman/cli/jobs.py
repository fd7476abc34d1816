"""``dragoman jobs …``: calls by their id, whichever process of this machine runs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio

from dragoman.cli import output
from dragoman.cli.ask import CUT
from dragoman.cli.common import Common
from dragoman.cli.conversations import age
from dragoman.cli.exits import CANCELLED, EXIT_CODES, OK
from dragoman.cli.guard import report, stoppable
from dragoman.cli.status import StatusLine, describe
from dragoman.engine import Engine, Job, Jobs
from dragoman.schemas import Bound, ErrorCode, Event, JobInfo, LLMResponse, Started, Text, Usage, error_of

TIMED_OUT = EXIT_CODES[ErrorCode.TIMEOUT]


def list_them(common: Common, limit: int, page: int, *, as_json: bool) -> int:
    """A table of jobs."""

    async def tell(jobs: Jobs) -> int:
        found = await jobs.listed(limit, page=page)
        if as_json:
            output.say_json([info.model_dump(mode="json", exclude_none=True) for info in found])
        elif found:
            output.say_list(("job", "status", "provider", "age", "question"), [_row(info) for info in found])
            if len(found) == limit and await jobs.listed(1, page=limit * page + 1):
                output.remark(f"more: --page {page + 1}")
        else:
            output.remark("no jobs yet" if page == 1 else "no such page")
        return OK

    return with_jobs(common, tell)


def show(common: Common, job_id: str, *, as_json: bool) -> int:
    """How it stands."""

    async def tell(jobs: Jobs) -> int:
        job = await jobs.find(await jobs.full_id(job_id))
        reply = await job.so_far()
        if as_json:
            output.say_json(reply.public())
            return OK
        output.remark(_state(job, reply))
        if reply.text:
            output.say(reply.text.rstrip("\n"))
        _remark(reply)
        if reply.error is not None:
            report(reply.error)
        return OK

    return with_jobs(common, tell)


def wait(common: Common, job_id: str, timeout_s: float | None, *, as_json: bool, quiet: bool) -> int:
    """Its answer, once it is there."""

    async def until_it_ends(jobs: Jobs) -> int:
        job = await jobs.find(await jobs.full_id(job_id))
        try:
            with StatusLine(job.info.provider, quiet=quiet):
                reply = await job.wait(timeout_s)
        except anyio.get_cancelled_exc_class():
            if not quiet:
                output.remark(f"job {job.id} works on")
            raise
        if as_json:
            output.say_json(reply.public())
        elif reply.text:
            output.say(reply.text.rstrip("\n"))
        if not quiet:
            _remark(reply)
        if reply.status == "running":
            output.complain(f"job {job.id} is still running after {timeout_s:g} s", kind=ErrorCode.TIMEOUT.value)
            output.suggest(f"wait again: dragoman jobs wait {job.id}")
            return TIMED_OUT
        if reply.error is not None:
            return report(reply.error)
        return CANCELLED if reply.status == "cancelled" else OK

    return with_jobs(common, until_it_ends)


def cancel(common: Common, job_id: str, *, as_json: bool) -> int:
    """It runs no more."""

    async def end(jobs: Jobs) -> int:
        job = await jobs.find(await jobs.full_id(job_id))
        reply = await job.cancel()
        if as_json:
            output.say_json(reply.public())
        elif reply.status == "running":
            output.remark(f"job {job.id} was told to end")
        else:
            output.remark(f"job {job.id}: {reply.status}")
        return OK

    return with_jobs(common, end)


def log(common: Common, job_id: str, page: int, *, as_json: bool) -> int:
    """What happened in it."""

    async def tell(jobs: Jobs) -> int:
        job = await jobs.find(await jobs.full_id(job_id))
        events, next_page = await job.events(page)
        if page > 1 and not events:
            raise error_of(
                ErrorCode.BAD_REQUEST,
                f"there is no page {page}",
                next_step="give a smaller one; page 1 is always there",
            )
        if as_json:
            facts = {"job_id": job.id, "events": [event.model_dump(mode="json", exclude_none=True) for event in events]}
            output.say_json(facts if next_page is None else {**facts, "next_page": next_page})
            return OK
        for line in _lines(events):
            output.say(line)
        if next_page is not None:
            output.remark(f"more: --page {next_page}")
        elif job.reply().status == "running" and job.call is None:
            output.remark("it runs in another process, which writes down what happens now and again")
        return OK

    return with_jobs(common, tell)


def with_jobs(common: Common, act: Callable[[Jobs], Awaitable[int]]) -> int:
    """Do something with the jobs of this machine."""
    loaded = common.load()
    common.warn(loaded)

    async def opened() -> int:
        async with Engine(loaded.configuration) as engine:
            # Stopped inside the engine and not around it: it may have taken a job over, which is to go on without us.
            return await stoppable(lambda: act(engine.jobs))

    return anyio.run(opened)


def _remark(reply: LLMResponse) -> None:
    """Tell what there is to know besides the answer."""
    for notice in reply.notices:
        output.remark(f"notice: {notice}")
    if reply.finish_reason == "max_tokens":
        output.remark(CUT)


def _lines(events: Sequence[Event]) -> list[str]:
    """Events as lines; pieces of the answer that follow each other are one."""
    lines: list[str] = []
    written = 0
    for event in (*events, None):
        if isinstance(event, Text):
            written += len(event.text)
            continue
        if written:
            lines.append(f"text: {written} characters")
            written = 0
        line = None if event is None else _line(event)
        if line is not None:
            lines.append(line)
    return lines


def _line(event: Event) -> str | None:
    match event:
        case Started():
            return " ".join(filter(None, ("started:", event.provider, event.version, event.model)))
        case Bound():
            return f"session: {event.native_session}"
        case Usage():
            return f"tokens: {event.input_tokens or 0} in, {event.output_tokens or 0} out"
        case _:
            return describe(event)


def _state(job: Job, reply: LLMResponse) -> str:
    words = [f"job {job.id}: {reply.status}", reply.provider or job.info.provider, f"{reply.duration_s:.1f} s"]
    if reply.conversation_id:
        words.append(f"conversation {reply.conversation_id}")
    return ", ".join(filter(None, words))


def _row(info: JobInfo) -> Sequence[str]:
    status = f"{info.status} (background)" if info.background and info.status == "running" else info.status
    return info.job_id, status, info.provider or "", age(info.created_at), info.prompt
