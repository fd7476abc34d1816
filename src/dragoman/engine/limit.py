"""The layer that waits for a free place: so many calls at once per provider, so many in all, so many waiting."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio

from dragoman.adapters.base import Failed, Outcome
from dragoman.config import Configuration
from dragoman.engine.clocks import timed_out
from dragoman.engine.context import Context, Handler
from dragoman.schemas import ErrorCode, ErrorInfo, TimeoutConfig


class Limiter:
    """See the module."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._total = anyio.CapacityLimiter(configuration.limits.max_concurrency)
        self._providers: dict[str, anyio.CapacityLimiter] = {}
        self._waiting = 0

    def around(self, following: Handler) -> Handler:
        """The layer around the next one."""

        async def limited(context: Context) -> Outcome:
            if context.route is None:
                raise ValueError("the limit stands behind the route")
            name, timeouts = context.route.name, context.route.timeouts
            provider = self._providers.get(name) or self._providers.setdefault(
                name, anyio.CapacityLimiter(context.route.settings.max_concurrency)
            )
            async with AsyncExitStack() as places:
                left = context.deadline - anyio.current_time()
                if not await self._enter(places, (provider, self._total), min(timeouts.queue, left)):
                    return self._no_place(name, timeouts, left)
                return await following(context)

        return limited

    async def _enter(
        self, places: AsyncExitStack, limiters: tuple[anyio.CapacityLimiter, ...], patience_s: float
    ) -> bool:
        if all(limiter.available_tokens for limiter in limiters):
            for limiter in limiters:
                await places.enter_async_context(limiter)
            return True
        if self._waiting >= self._configuration.limits.queue:
            return False
        self._waiting += 1
        try:
            with anyio.move_on_after(patience_s) as patience:
                for limiter in limiters:
                    await places.enter_async_context(limiter)
            return not patience.cancelled_caught
        finally:
            self._waiting -= 1

    def _no_place(self, name: str, timeouts: TimeoutConfig, left: float) -> Failed:
        limits = self._configuration.limits
        if self._waiting >= limits.queue:
            return Failed(
                ErrorInfo.of(
                    ErrorCode.OVERLOADED,
                    f"{limits.queue} calls already wait for a place",
                    next_step="ask again later, or raise `queue` or `max_concurrency` under [limits]",
                )
            )
        hint = f"ask again later, or raise `max_concurrency` under [providers.{name}]"
        if left < timeouts.queue:
            return timed_out("call", timeouts.call, because=f"it was still waiting for a place at {name!r}", hint=hint)
        return timed_out("queue", timeouts.queue, because=f"{name!r} is busy", hint=hint)
