"""The layer that lets an answer pass, or tells the model what is wrong with it and asks again in the same conversation.

Every call of every face goes through it. Without anything asked for, an answer must not be empty. `Shaping` stands
below the route: only then is it known whether the CLI itself can hold an answer to a schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread

from dragoman.adapters.base import Completed, Failed, Outcome, Profile
from dragoman.config import RetryConfig
from dragoman.engine.context import Context, Handler
from dragoman.engine.layers.thread import Known, Said, Thread
from dragoman.schemas import ErrorCode, ErrorInfo, Retrying

if TYPE_CHECKING:
    from dragoman.structured import AsyncValidationStrategy, Extraction, Native, OutputSchema

# `dragoman.structured` is imported by the first call that needs it: whoever starts a server waits for the imports.

IN_A_THREAD_CHARS = 100_000
"""A longer answer is searched in a thread, so that the others do not wait."""


@dataclass(slots=True)
class Wanted:
    """What a call's answer must be, and what was found in the last one."""

    schema: OutputSchema | None = None
    checks: tuple[AsyncValidationStrategy, ...] | None = None
    """None: it is not empty."""
    strict: bool = False
    native: Native | None = None
    """What the CLI holds the next answer to; None: nothing."""
    unsupported: set[str] = field(default_factory=set[str])
    """What the model that is asked cannot do."""
    data: Any = None
    has_data: bool = False
    step: str | None = None

    @property
    def mechanism(self) -> Literal["native", "prompted"] | None:
        """Who holds the answer to the schema."""
        if self.schema is None:
            return None
        return "prompted" if self.native is None else "native"


class Validation:
    """See the module."""

    def __init__(self, config: RetryConfig) -> None:
        self._config = config

    def around(self, following: Handler) -> Handler:
        """The layer around the next one."""

        async def validated(context: Context) -> Outcome:
            wanted = context.wanted = _wanted(context)
            asked, thread = context.request, context.thread
            before, sessions = len(thread.turns), {key: replace(known) for key, known in thread.sessions.items()}
            passed = False
            try:
                outcome = await self._until_it_passes(context, wanted, following)
                passed = isinstance(outcome, Completed)
                return outcome
            finally:
                context.request = asked
                del thread.turns[before:]
                if not passed:
                    _go_back(thread, sessions)

        return validated

    async def _until_it_passes(self, context: Context, wanted: Wanted, following: Handler) -> Outcome:
        most = context.request.max_attempts or self._config.max_attempts
        number = 1
        while True:
            outcome = await following(context)
            if isinstance(outcome, Failed):
                if _does_without(context, wanted, outcome):
                    continue
                if number >= most or not _was_empty(context, wanted, outcome):
                    return outcome
                number += 1
                context.start_over(Retrying(attempt=number, cause=outcome.error.message, starts_over=True))
                continue
            text = outcome.text if outcome.text is not None else context.received()
            faults = await _faults(wanted, outcome, text)
            if not faults:
                return outcome if not wanted.has_data else replace(outcome, text=_as_text(wanted.data))
            failed = Failed(
                _not_passed(faults, number, wanted), model=outcome.model, usage=outcome.usage or context.usage
            )
            context.attempts[-1] = context.attempts[-1].model_copy(update={"error": failed.error})
            if number >= most or anyio.current_time() >= context.deadline:
                return failed
            if context.call.streams and context.text_bytes:
                return failed
            number += 1
            self._tell(context, wanted, text, faults, number)

    def _tell(self, context: Context, wanted: Wanted, text: str, faults: Sequence[str], number: int) -> None:
        """Make the next question what is wrong with this answer."""
        from dragoman.structured import correction

        route, thread = context.route, context.thread
        assert route is not None  # noqa: S101 - it just answered
        thread.turns.append(Said(thread.last + 1, context.request.prompt, text))
        context.start_over(Retrying(attempt=number, cause=f"the answer did not pass: {faults[0]}", starts_over=True))
        context.request = context.request.model_copy(
            update={"prompt": correction(faults, wants_json=wanted.schema is not None), "provider": route.name}
        )


class Shaping:
    """The layer that puts a schema to the provider: natively where its CLI takes it, else in words."""

    def around(self, following: Handler) -> Handler:
        """The layer around the next one."""

        async def shaped(context: Context) -> Outcome:
            wanted, route = context.wanted, context.route
            context.prompt = context.request.prompt
            if wanted is not None and wanted.schema is not None and route is not None:
                from dragoman.structured import prompt_for

                wanted.native = None
                if "schema" not in wanted.unsupported:
                    wanted.native = _native(route.adapter.profile, wanted.schema)
                if wanted.native is None:
                    context.prompt = prompt_for(context.request.prompt, wanted.schema)
            return await following(context)

        return shaped


def _go_back(thread: Thread, before: Mapping[tuple[str, str], Known]) -> None:
    """Forget what sessions have of answers that did not pass: they are gone on with from where they were, in a copy."""
    for key, known in list(thread.sessions.items()):
        if known.knows > thread.last:
            del thread.sessions[key]
            if key in before:
                thread.sessions[key] = replace(before[key], dirty=True)


def _wanted(context: Context) -> Wanted:
    call, request = context.call, context.request
    schema, checks = call.schema, call.validators
    if schema is None and request.output_schema is not None:
        from dragoman.structured import OutputSchema

        schema = OutputSchema.of(request.output_schema)
    if checks is None and request.validators is not None:
        from dragoman.structured import validators_from

        checks = validators_from(request.validators)
    return Wanted(schema, checks, strict=request.strict)


def _native(profile: Profile, schema: OutputSchema) -> Native | None:
    from dragoman.structured import to_strict, wrap

    match profile.native_schema:
        case "none":
            return None
        case "strict":
            return to_strict(schema)
        case "any":
            return wrap(schema)


def _does_without(context: Context, wanted: Wanted, failed: Failed) -> bool:
    """Whether the same can be asked again without what the model cannot do; nothing was asked so far."""
    lacking = failed.unsupported
    if lacking is None or lacking in wanted.unsupported:
        return False
    if lacking != "schema" and getattr(context.request, lacking) is not None:
        return False
    wanted.unsupported.add(lacking)
    context.forget()
    return True


def _was_empty(context: Context, wanted: Wanted, failed: Failed) -> bool:
    """Whether the CLI itself calls it a failure that there was no answer; asking again can do no harm."""
    return (
        failed.error.code is ErrorCode.MALFORMED_OUTPUT
        and wanted.checks != ()
        and not context.text_bytes
        and context.may_start_over(failed)
        and anyio.current_time() < context.deadline
    )


async def _faults(wanted: Wanted, outcome: Completed, text: str) -> Sequence[str]:
    """What is wrong with an answer; nothing: it passes."""
    wanted.has_data, wanted.data, wanted.step = False, None, None
    if wanted.schema is not None:
        if outcome.data is not None:
            faults = _of_value(wanted, wanted.schema, outcome.data)
        elif len(text) > IN_A_THREAD_CHARS:
            faults = await anyio.to_thread.run_sync(_of_text, wanted, wanted.schema, text)
        else:
            faults = _of_text(wanted, wanted.schema, text)
        if faults:
            return faults
        text = _as_text(wanted.data)
    elif wanted.checks is None and text.strip():
        return ()
    from dragoman.structured import ResponseNotEmptyValidator, judge

    checks = wanted.checks if wanted.checks is not None else (ResponseNotEmptyValidator(),)
    return await judge(text, checks)


def _of_value(wanted: Wanted, schema: OutputSchema, value: object) -> Sequence[str]:
    from dragoman.structured.native import ANSWER

    sent, value = value, wanted.native.unwrap(value) if wanted.native is not None else value
    problems = schema.validate(value)
    if not problems:
        wanted.data, wanted.has_data, wanted.step = value, True, "whole"
    # The model sees the value where its CLI wanted it.
    place = f"$.{ANSWER}" if isinstance(sent, dict) and value is not sent and ANSWER in sent else "$"
    return [str(replace(problem, path=place + problem.path.removeprefix("$"))) for problem in problems]


def _of_text(wanted: Wanted, schema: OutputSchema, text: str) -> Sequence[str]:
    from dragoman.structured import extract

    if wanted.native is not None:
        found = extract(text, wanted.native.schema, strict=wanted.strict)
        if found.found and not _of_value(wanted, schema, found.value):
            wanted.step = found.step
            return ()
    found = extract(text, schema, strict=wanted.strict)
    if found.found:
        wanted.data, wanted.has_data, wanted.step = found.value, True, found.step
        return ()
    return _said(found)


def _said(found: Extraction) -> Sequence[str]:
    if found.problems:
        return [f"at {problem.path}: expected {problem.expected}, got {problem.got}" for problem in found.problems]
    return [found.error or "it has no JSON value in it"]


def _not_passed(faults: Sequence[str], attempts: int, wanted: Wanted) -> ErrorInfo:
    from dragoman.structured import not_passed

    return not_passed(faults, attempts, wants_schema=wanted.schema is not None)


def _as_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
