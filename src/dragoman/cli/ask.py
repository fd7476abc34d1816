"""``dragoman ask`` and ``dragoman query``: one question, its answer on stdout as it comes, or once it has passed."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import anyio
from pydantic import ValidationError

from dragoman.cli import output
from dragoman.cli.answer import Answer
from dragoman.cli.common import Common
from dragoman.cli.exits import EXIT_CODES, OK, USAGE
from dragoman.cli.guard import on_stop, report
from dragoman.cli.question import Question, UsageError, read_schema
from dragoman.cli.status import StatusLine
from dragoman.engine import Call, Engine, Job
from dragoman.schemas import (
    ErrorCode,
    LLMError,
    LLMRequest,
    LLMResponse,
    Started,
    Text,
    error_of,
)

FACE = "cli"
STOPPED = "stopped; this message and its answer are not told to anyone later"
"""A turn that was broken off stays to be seen, and is no more than that."""
CUT = "notice: the answer was cut: the model reached its limit of tokens"
OPTIONS = {
    "model": "--model",
    "system_prompt": "--system",
    "timeouts": "--timeout",
    "cwd": "--cwd",
    "conversation_id": "--conversation",
    "max_history": "--max-history",
    "effort": "--effort",
    "temperature": "--temperature",
    "max_tokens": "--max-tokens",
    "max_attempts": "--max-attempts",
    "idempotency_key": "--idempotency-key",
}
"""Where on the command line the fields of a request come from; the others are the prompt."""


def ask(common: Common, question: Question, *, as_json: bool, quiet: bool) -> int:
    """Ask, print, and end with the exit code of the outcome."""
    manner = _Manner(question.last, as_json, quiet, waits="validators" in question.options)
    return _ask(common, question, manner)


def query(common: Common, question: Question, schema: str, *, as_json: bool, quiet: bool) -> int:
    """Ask for JSON, print it when it is valid, and end with the exit code of the outcome.

    Raises:
        LLMError: the schema cannot be used (code ``bad_request``).
    """
    from dragoman.structured import OutputSchema

    try:
        source = read_schema(schema)
    except UsageError as error:
        output.complain(str(error))
        return USAGE
    wanted = OutputSchema.of(source).as_object()
    asked = replace(question, options={**question.options, "output_schema": wanted})
    return _ask(common, asked, _Manner(question.last, as_json, quiet, waits=True))


def _ask(common: Common, question: Question, manner: _Manner) -> int:
    loaded = common.load(question.overrides())
    if not manner.quiet:
        common.warn(loaded)
    engine = Engine(loaded.configuration)
    try:
        request = question.request(engine.providers.adapters)
    except UsageError as error:
        output.complain(str(error))
        return USAGE
    except ValidationError as error:
        refuse(error)
        return USAGE
    if request.validators:
        from dragoman.structured import validators_from

        validators_from(request.validators)
    return anyio.run(_put, engine, request, manner)


def refuse(error: ValidationError) -> None:
    """Tell what is wrong with which option."""
    for detail in error.errors(include_url=False):
        named = OPTIONS.get(str(detail["loc"][0]), "PROMPT")
        said = detail["msg"].removeprefix("Value error, ")
        if said.startswith("Input "):
            # Pydantic's own words, which do not say what to do.
            said = f"{detail['input']!r}{said.removeprefix('Input')}; give another value"
        output.complain(f"{named}: {said}")


async def continued(engine: Engine, request: LLMRequest, *, last: bool) -> LLMRequest:
    """The request in its conversation: the newest one if `last`. Who answered there answers, unless somebody is named.

    Raises:
        LLMError: there is no conversation yet (code ``not_found``), or it cannot be read.
    """
    if last:
        newest = await engine.conversations.list(1)
        if not newest:
            raise error_of(ErrorCode.NOT_FOUND, "there is no conversation yet", next_step="ask without --last")
        request = request.model_copy(update={"conversation_id": newest[0].conversation_id})
    if request.conversation_id is None or request.provider is not None:
        return request
    try:
        info, _, _ = await engine.conversations.show(request.conversation_id)
    except LLMError as error:
        if error.code is not ErrorCode.NOT_FOUND:
            raise
        return request
    return request.model_copy(update={"provider": info.provider})


@dataclass(frozen=True)
class _Manner:
    last: bool
    as_json: bool
    quiet: bool
    waits: bool
    """Whether nothing is printed before the answer has passed."""

    @property
    def streams(self) -> bool:
        """Whether the answer is printed as it comes."""
        return not (self.as_json or self.waits)


async def _put(engine: Engine, request: LLMRequest, manner: _Manner) -> int:
    failed: LLMError | BrokenPipeError | None = None
    code = OK
    async with engine:
        try:
            request = await continued(engine, request, last=manner.last)
            if request.background:
                code = await _hand_out(engine, request, manner)
            else:
                code = await _answer(engine, request, manner)
        except (LLMError, BrokenPipeError) as error:
            # Raised only outside: what leaves an engine as an exception comes out of it in a group.
            failed = error
    if isinstance(failed, LLMError) and manner.as_json:
        # A program reads one object, whatever became of its question.
        reply = LLMResponse(status="failed", provider=request.provider, finish_reason="error", error=failed.info)
        output.say_json(reply.public())
        return report(failed.info)
    if failed:
        raise failed
    return code


async def _hand_out(engine: Engine, request: LLMRequest, manner: _Manner) -> int:
    """Start a job and leave it to itself as soon as it can go on without this process."""
    job = await engine.jobs.start(request, face=FACE)
    if job.call is not None:
        with on_stop(job.call.cancel):
            async for event in job.call.log.follow():
                if isinstance(event, Started):
                    break
    reply = job.reply()
    if manner.as_json:
        output.say_json(reply.public())
    elif reply.error is None:
        output.say(job.id)
    if reply.status == "running" and not manner.quiet:
        output.remark(f"it works on; for its answer: dragoman jobs wait {job.id}")
    return _code(reply, quiet=manner.quiet)


async def _answer(engine: Engine, request: LLMRequest, manner: _Manner) -> int:
    with StatusLine(request.provider, quiet=manner.quiet) as status:
        if request.idempotency_key is None:
            async with engine.asking(request, face=FACE, streams=manner.streams) as call:
                reply = await _follow(call, status, manner)
        else:
            job = await engine.jobs.start(request, face=FACE, streams=manner.streams)
            reply = await _follow(job.call, status, manner) if job.call else await _collect(job, status, manner)
    if reply.conversation_id and not manner.quiet and output.is_terminal(sys.stderr) and not manner.as_json:
        output.remark(f"conversation {reply.conversation_id}; to go on: dragoman ask -c {reply.conversation_id} …")
    return _code(reply, quiet=manner.quiet)


async def _follow(call: Call, status: StatusLine, manner: _Manner) -> LLMResponse:
    with on_stop(call.cancel):
        await (_stream(call, status) if manner.streams else _wait(call, status))
    reply = await call.outcome()
    if not manner.streams:
        _print(reply, manner)
    return reply


async def _collect(job: Job, status: StatusLine, manner: _Manner) -> LLMResponse:
    """The answer of a job of another process."""
    with anyio.CancelScope() as waiting, on_stop(waiting.cancel):
        await job.wait()
    status.stop()
    reply = job.reply()
    _print(reply, manner)
    return reply


def _print(reply: LLMResponse, manner: _Manner) -> None:
    """Print the whole reply, or what was answered."""
    if manner.as_json:
        output.say_json(reply.public())
    elif manner.waits and reply.status != "completed":
        return
    elif reply.extraction is not None:
        output.say_json(reply.data)
    elif reply.text:
        output.say(reply.text.rstrip("\n"))


async def _wait(call: Call, status: StatusLine) -> None:
    async for event in call.log.follow():
        status.show(event)
    status.stop()


async def _stream(call: Call, status: StatusLine) -> None:
    """Print the answer while it comes."""
    answer = Answer()
    async for events in call.log.batches():
        for event in events:
            if isinstance(event, Text):
                if sys.stdout.isatty():
                    status.stop()
                await answer.write(event.text)
            else:
                status.show(event, answer.make_room)
    status.stop()
    reply = await call.outcome()
    if not answer.begun:
        await answer.write(reply.text)
    await answer.end()


def _code(reply: LLMResponse, *, quiet: bool) -> int:
    """The exit code of a reply; a failure is told."""
    if reply.error is not None and reply.error.code is ErrorCode.CANCELLED:
        if not quiet:
            output.remark(STOPPED if reply.conversation_id else "stopped")
        return EXIT_CODES[reply.error.code]
    if reply.error is not None:
        return report(reply.error)
    if reply.finish_reason == "max_tokens" and not quiet:
        output.remark(CUT)
    return OK
