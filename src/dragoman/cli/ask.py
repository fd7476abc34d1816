"""``dragoman ask``: one question, its answer on stdout as it comes."""

from __future__ import annotations

import sys

import anyio
from pydantic import ValidationError

from dragoman.cli import output
from dragoman.cli.answer import Answer
from dragoman.cli.common import Common
from dragoman.cli.exits import EXIT_CODES, OK, USAGE
from dragoman.cli.guard import on_stop, report
from dragoman.cli.question import Question, UsageError
from dragoman.cli.status import StatusLine
from dragoman.engine import Call, Engine
from dragoman.schemas import ErrorCode, LLMRequest, LLMResponse, Text

FACE = "cli"
OPTIONS = {"model": "--model", "system_prompt": "--system", "timeouts": "--timeout", "cwd": "--cwd"}
"""Where on the command line the fields of a request come from; the others are the prompt."""


def ask(common: Common, question: Question, *, as_json: bool, quiet: bool) -> int:
    """Ask, print, and end with the exit code of the outcome."""
    loaded = common.load(question.overrides())
    if not quiet:
        common.warn(loaded)
    engine = Engine(loaded.configuration)
    try:
        request = question.request(engine.providers.adapters)
    except UsageError as error:
        output.complain(str(error))
        return USAGE
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            named = OPTIONS.get(str(detail["loc"][0]), "PROMPT")
            output.complain(f"{named}: {detail['msg'].removeprefix('Value error, ')}")
        return USAGE
    reply = anyio.run(_put, engine, request, as_json, quiet)
    return _code(reply, quiet=quiet)


async def _put(engine: Engine, request: LLMRequest, as_json: bool, quiet: bool) -> LLMResponse:
    gone: BrokenPipeError | None = None
    async with engine:
        with StatusLine(request.provider, quiet=quiet) as status:
            async with engine.asking(request, face=FACE, streams=not as_json) as call:
                with on_stop(call.cancel):
                    try:
                        await (_wait(call, status) if as_json else _stream(call, status))
                    except BrokenPipeError as error:
                        # Raised only outside: what leaves an engine as an exception comes out of it in a group.
                        gone = error
    if gone:
        raise gone
    return await call.outcome()


async def _wait(call: Call, status: StatusLine) -> None:
    """Print the reply as one object."""
    async for event in call.log.follow():
        status.show(event)
    status.stop()
    reply = await call.outcome()
    output.say_json(reply.public())


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
    if reply.error is not None:
        return EXIT_CODES[reply.error.code] if reply.error.code is ErrorCode.CANCELLED else report(reply.error)
    if reply.finish_reason == "max_tokens" and not quiet:
        output.remark("notice: the answer was cut: the model reached its limit of tokens")
    return OK
