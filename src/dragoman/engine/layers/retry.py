"""The layer that tries again: one loop for every face, within the call's deadline, and only where it can do no harm."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from dragoman.adapters.base import Failed, Outcome
from dragoman.config import RetryConfig
from dragoman.engine.context import Context, Handler
from dragoman.schemas import RULES, ErrorCode, ErrorInfo, Retrying

if TYPE_CHECKING:
    from tenacity import RetryCallState


def delay(config: RetryConfig, attempt: int, error: ErrorInfo, chance: float) -> float:
    """Seconds from the end of attempt number `attempt` (from 1) to the next; `chance` is between 0 and 1.

    It is never sooner than the provider asked for, and after a failure of the provider never sooner than
    `RetryConfig.upstream_delay_s`.
    """
    is_local = RULES[error.code].counts == "local"
    first = min(config.initial_delay_s if is_local else config.upstream_delay_s, config.max_delay_s)
    try:
        grown = first * config.exponential_base ** (attempt - 1)
    except OverflowError:
        grown = config.max_delay_s
    wait = min(grown * (1 + config.jitter * (2 * chance - 1)), config.max_delay_s)
    if not is_local:
        wait = max(wait, first)
    if error.retry_after_s is not None:
        # Everyone was told the same time; not everyone comes back in the same moment.
        wait = max(wait, error.retry_after_s + config.jitter * chance * first)
    return wait


ROOM_S = 1.0
"""What a pause leaves of the call's time. An attempt with less would end as a ``timeout``, which tells less than the
failure before it."""


class Retrier:
    """See the module. `chance` gives numbers between 0 and 1."""

    def __init__(self, config: RetryConfig, chance: Callable[[], float] = random.random) -> None:
        self._config = config
        self._chance = chance

    def around(self, following: Handler) -> Handler:
        """The layer around the next one."""

        async def retried(context: Context) -> Outcome:
            first = await following(context)
            if not isinstance(first, Failed):
                return first  # most calls need no loop
            # Not imported before it is needed: whoever starts a server waits for the imports.
            from tenacity import AsyncRetrying

            loop = _Loop(self._config, self._chance, context, following, first)
            # An object for each call: it keeps the state of the loop it drives.
            retrying = AsyncRetrying(
                sleep=loop.pause,
                retry=loop.helps,
                wait=loop.wait,
                stop=loop.is_over,
                before_sleep=loop.start_over,
                retry_error_callback=_outcome,
            )
            outcome: Outcome = await retrying(loop.attempt)
            return outcome

        return retried


class _Loop:
    """The attempts of one call, as `tenacity` asks about them."""

    def __init__(
        self,
        config: RetryConfig,
        chance: Callable[[], float],
        context: Context,
        following: Handler,
        first: Failed,
    ) -> None:
        self._config = config
        self._chance = chance
        self._context = context
        self._following = following
        self._crashes = 0
        self._first: Failed | None = first
        """The first attempt, which was made before the loop began."""
        self._failed: Failed | None = None
        self._has_place = True

    async def attempt(self) -> Outcome:
        """One more; the last failure again where, during the wait, others found the provider to be down, or took all
        places.
        """
        if self._first is not None:
            first, self._first = self._first, None
            return first
        failed = self._failed
        if failed is not None and (not self._has_place or self._context.is_barred()):
            # What it asked to be waited for was waited for.
            return replace(failed, error=failed.error.model_copy(update={"retry_after_s": None}))
        return await self._following(self._context)

    def helps(self, state: RetryCallState) -> bool:
        """Whether another attempt may help and can do no harm."""
        if state.outcome is None or state.outcome.failed:
            return False  # cancelled, or a refusal: nothing was attempted
        failed, context = _outcome(state), self._context
        if not isinstance(failed, Failed):
            return False
        self._failed = failed
        if failed.error.code is ErrorCode.CRASHED:
            self._crashes += 1
        return (
            failed.error.retryable
            and self._crashes < 2
            and self._has_place
            and not context.is_barred()
            and (context.route is None or context.route.adapter.profile.own_retries != "unlimited")
            and context.may_start_over(failed)
        )

    def wait(self, state: RetryCallState) -> float:
        """Seconds to the next attempt."""
        return delay(self._config, state.attempt_number, _failed(state).error, self._chance())

    async def pause(self, seconds: float) -> None:
        """Between two attempts."""
        if seconds > self._config.max_delay_s:
            # As long as a provider likes: others of it need not wait for that, such as those who ask another model.
            self._has_place = await self._context.stand_aside(seconds)
        else:
            await anyio.sleep(seconds)

    def is_over(self, state: RetryCallState) -> bool:
        """Whether there is no attempt left, or no time for one."""
        return (
            state.attempt_number >= self._config.max_attempts
            # Nobody waits for as long as a provider likes while another one may be asked now.
            or (state.upcoming_sleep > self._config.max_delay_s and self._context.may_be_stood_in_for())
            or anyio.current_time() + state.upcoming_sleep + ROOM_S > self._context.deadline
        )

    def start_over(self, state: RetryCallState) -> None:
        """Another attempt is coming."""
        error = _failed(state).error
        self._context.start_over(
            Retrying(
                attempt=state.attempt_number + 1,
                cause=f"{error.code.value}: {error.message}",
                delay_s=round(state.upcoming_sleep, 3),
                starts_over=True,
            )
        )


def _outcome(state: RetryCallState) -> Outcome:
    assert state.outcome is not None  # noqa: S101 - asked only after an attempt
    outcome: Outcome = state.outcome.result()
    return outcome


def _failed(state: RetryCallState) -> Failed:
    outcome = _outcome(state)
    assert isinstance(outcome, Failed)  # noqa: S101 - asked only when another attempt helps
    return outcome
