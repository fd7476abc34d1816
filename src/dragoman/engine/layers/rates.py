"""The layer that keeps a provider within so many requests and tokens a minute. What waits, waits on the clock `queue`.

A burst of a minute's worth is let through, then as much as comes free. What a call needs is only known when it ended,
so its prompt is estimated first; for what came on top, such as the answer and further attempts, the next calls wait.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import anyio
from aiolimiter import AsyncLimiter

from dragoman.adapters.base import Failed, Outcome
from dragoman.config import Configuration
from dragoman.engine.context import Context, Handler, Route
from dragoman.schemas import ErrorCode, ErrorInfo

CHARS_PER_TOKEN = 4
"""What a token is taken for before a provider tells."""

_ADVICE = "ask again later, or another provider, or raise its limits under [providers.{}]"


class Budget:
    """So much a minute."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._limiter = AsyncLimiter(per_minute)
        self._owed = 0.0

    async def take(self, amount: float) -> None:
        """Wait until there is so much, and for what is owed."""
        before = self._owed
        due, self._owed = max(0.0, before + amount), min(0.0, before + amount)
        left, got = self._owed, 0.0
        try:
            while got < due:
                # More than a minute's worth takes several.
                part = min(due - got, self.per_minute)
                await self._limiter.acquire(part)
                got += part
        except BaseException:
            self._owed += before - left - got
            raise

    def settle(self, taken: float, used: float) -> None:
        """A call that took so much needed so much."""
        self._owed += used - taken

    def has_at_once(self, amount: float) -> bool:
        """Whether nobody would have to wait for it."""
        return self._owed + amount <= 0 or self._limiter.has_capacity(min(self._owed + amount, self.per_minute))


@dataclass(slots=True)
class _Budgets:
    requests: Budget | None = None
    tokens: Budget | None = None
    waiting: int = 0

    @property
    def told(self) -> str:
        """The limits in words."""
        told = [(self.requests, "requests"), (self.tokens, "tokens")]
        return " and ".join(f"{budget.per_minute} {what}" for budget, what in told if budget is not None)


class Rates:
    """See the module."""

    def __init__(self, configuration: Configuration) -> None:
        self._queue = configuration.limits.queue
        self._budgets: dict[str, _Budgets] = {}

    def around(self, following: Handler) -> Handler:
        """The layer around the next one."""

        async def paced(context: Context) -> Outcome:
            if (route := context.route) is None:
                raise ValueError("the rates stand behind the route")
            settings = route.settings
            if settings.requests_per_minute is None and settings.tokens_per_minute is None:
                return await following(context)
            budgets = self._of(route)
            estimate = len(context.request.prompt) / CHARS_PER_TOKEN
            if (refused := await self._wait(context, route, budgets, estimate)) is not None:
                return refused
            before = len(context.attempts)
            try:
                return await following(context)
            finally:
                made = context.attempts[before:]
                if budgets.requests is not None:
                    budgets.requests.settle(1, max(1, len(made)))
                used = sum(
                    (each.usage.input_tokens or 0) + (each.usage.output_tokens or 0) for each in made if each.usage
                )
                if budgets.tokens is not None and used:
                    budgets.tokens.settle(estimate, used)

        return paced

    def _of(self, route: Route) -> _Budgets:
        if route.name not in self._budgets:
            requests, tokens = route.settings.requests_per_minute, route.settings.tokens_per_minute
            self._budgets[route.name] = _Budgets(
                None if requests is None else Budget(requests), None if tokens is None else Budget(tokens)
            )
        return self._budgets[route.name]

    async def _wait(self, context: Context, route: Route, budgets: _Budgets, tokens: float) -> Failed | None:
        wanted = [(budgets.requests, 1.0), (budgets.tokens, tokens)]
        began = anyio.current_time()
        patience_s = min(route.timeouts.queue, context.deadline - began)
        at_once = all(budget is None or budget.has_at_once(amount) for budget, amount in wanted)
        if not at_once and budgets.waiting >= self._queue:
            return Failed(
                ErrorInfo.of(
                    ErrorCode.OVERLOADED,
                    f"{self._queue} calls already wait for {budgets.told} a minute of {route.name!r}",
                    next_step=_ADVICE.format(route.name),
                )
            )
        budgets.waiting += 1
        behind = nullcontext() if at_once else context.call.standing_behind(f"{budgets.told} a minute")
        try:
            with behind, anyio.move_on_after(patience_s):
                if budgets.requests is not None:
                    await budgets.requests.take(1)
                if budgets.tokens is not None:
                    try:
                        await budgets.tokens.take(tokens)
                    except BaseException:
                        if budgets.requests is not None:
                            budgets.requests.settle(1, 0)
                        raise
                context.queued_s = anyio.current_time() - began
                return None
        finally:
            budgets.waiting -= 1
        return Failed(
            ErrorInfo.of(
                ErrorCode.RATE_LIMITED,
                f"{route.name!r} is held to {budgets.told} a minute, and none came free within {patience_s:.3g} s",
                next_step=_ADVICE.format(route.name),
                retry_after_s=math.ceil(60 / budgets.requests.per_minute) if budgets.requests else 60.0,
            )
        )
