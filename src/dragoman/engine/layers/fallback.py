"""The layer that asks another provider in the place of one that could not answer.

Only where the caller or the configuration names one, only after failures of the provider, and only while nothing was
changed or said that cannot be taken back. The reply names who failed, how, and who answered.
"""

from __future__ import annotations

import anyio

from dragoman.adapters.base import Completed, Failed, Outcome
from dragoman.config import Configuration
from dragoman.engine.context import Context, Handler
from dragoman.schemas import ErrorCode, LLMError, LLMRequest, Retrying

ELIGIBLE = frozenset(
    {
        *(ErrorCode.RATE_LIMITED, ErrorCode.QUOTA, ErrorCode.OVERLOADED, ErrorCode.NETWORK, ErrorCode.CIRCUIT_OPEN),
        *(
            ErrorCode.TIMEOUT,
            ErrorCode.MALFORMED_OUTPUT,
            ErrorCode.SCHEMA_MISMATCH,
            ErrorCode.AUTH,
            ErrorCode.NOT_FOUND,
            ErrorCode.CRASHED,
        ),
    }
)
"""Failures of the provider. What is wrong with a question, or refused, is so wherever it is asked."""
CAUSE_CHARS = 200


class Fallback:
    """See the module."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def around(self, following: Handler) -> Handler:
        """The layer around the next one."""

        async def with_fallback(context: Context) -> Outcome:
            try:
                return await stood_in_for(context)
            finally:
                # It knows the context: until somebody looks for cycles, the two would hold each other and the answer.
                context.may_be_stood_in_for = lambda: False

        async def stood_in_for(context: Context) -> Outcome:
            request, asked = context.request, list[str | None]()

            def left() -> list[str]:
                name = asked[0] if asked else context.route.name if context.route else request.provider
                return [other for other in self._others(request, name) if other not in asked]

            context.may_be_stood_in_for = lambda: bool(left())
            first = await _caught(following, context)
            if isinstance(first, Completed) or first.error.code not in ELIGIBLE:
                return first
            route = context.route
            name = route.name if route else request.provider
            asked.append(name)
            failures = [_told(name, first)]
            last = first
            while others := left():
                asked.append(other := others[0])
                if not context.may_start_over(last) or anyio.current_time() >= context.deadline:
                    break
                cause = f"{failures[-1]}; asking {other}"
                context.start_over(Retrying(attempt=len(context.attempts) + 1, cause=cause, starts_over=True))
                context.route = None
                # A model's name means something to its own provider only.
                context.request = request.model_copy(update={"provider": other, "model": None})
                outcome = await _caught(following, context)
                if isinstance(outcome, Completed):
                    context.notices.insert(0, f"{other} answered; {'; '.join(failures)}")
                    return outcome
                failures.append(_told(other, outcome))
                last = outcome
            if last is first:
                return first
            told = "; ".join(failures)
            if context.may_start_over(last):
                # None of them could answer: the failure is that of the one that was asked for.
                context.forget()
                context.route, context.request, last = route, request, first
            context.notices.insert(0, told)
            return last

        return with_fallback

    def _others(self, request: LLMRequest, first: str | None) -> tuple[str, ...]:
        named = request.fallback
        if named is None:
            named = self._configuration.provider(first).fallback if first else ()
        return tuple(dict.fromkeys(named))


async def _caught(following: Handler, context: Context) -> Outcome:
    try:
        return await following(context)
    except LLMError as error:
        return Failed(error.info)


def _told(name: str | None, failed: Failed) -> str:
    message = " ".join(failed.error.message.split())
    cause = message if len(message) <= CAUSE_CHARS else f"{message[: CAUSE_CHARS - 1]}…"
    return f"{name or 'the provider'} failed ({failed.error.code.value}: {cause})"
