"""The layer that waits for a free place: so many calls at once per provider, so many in all, so many waiting.

A provider's places are those of its account: every Dragoman of this machine shares them.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Literal

import anyio

from dragoman.adapters.base import Failed, Outcome
from dragoman.config import Configuration
from dragoman.engine.attempt.clocks import timed_out
from dragoman.engine.context import Context, Handler, Route, stay
from dragoman.engine.layers.places import Machine
from dragoman.schemas import ErrorCode, ErrorInfo

ASK_AGAIN_S = 0.05
"""How often a place that another process holds is asked for. Only whoever has a place in this process asks."""

MOST_GAPS = 20
"""How many gaps a start waits at most."""


class Limiter:
    """See the module."""

    def __init__(self, configuration: Configuration, machine: Machine) -> None:
        self._limits = configuration.limits
        self._machine = machine
        self._total = anyio.CapacityLimiter(self._limits.max_concurrency)
        self._providers: dict[str, anyio.CapacityLimiter] = {}
        self._waiting = 0

    def around(self, following: Handler) -> Handler:
        """The layer around the next one."""

        async def limited(context: Context) -> Outcome:
            if (route := context.route) is None:
                raise ValueError("the limit stands behind the route")
            with ExitStack() as places:
                if not self._enter_at_once(places, route):
                    if self._waiting >= self._limits.queue:
                        return self._overloaded()
                    left, patience = context.deadline - anyio.current_time(), route.timeouts.queue - context.queued_s
                    if not await self._wait(places, context, route, min(patience, left)):
                        return self._timed_out(route, "call" if left < patience else "queue")
                context.stand_aside = partial(self._stand_aside, places, context, route)
                try:
                    return await following(context)
                finally:
                    # It knows the context: the two would hold each other.
                    context.stand_aside = stay

        return limited

    async def _stand_aside(self, places: ExitStack, context: Context, route: Route, seconds: float) -> bool:
        places.close()
        await anyio.sleep(seconds)
        if self._enter_at_once(places, route):
            return True
        return await self._wait(
            places, context, route, min(route.timeouts.queue, context.deadline - anyio.current_time())
        )

    def _provider(self, route: Route) -> anyio.CapacityLimiter:
        return self._providers.get(route.name) or self._providers.setdefault(
            route.name, anyio.CapacityLimiter(route.settings.max_concurrency)
        )

    def _enter_at_once(self, places: ExitStack, route: Route) -> bool:
        limiters = (self._provider(route), self._total)
        if not (limiters[0].available_tokens and limiters[1].available_tokens):
            return False
        if (place := self._machine.take(route.account, route.settings.max_concurrency)) is None:
            return False
        places.callback(place.release)
        for limiter in limiters:
            # On behalf of the stack, not of the task: a task may be in several places, such as of a call within a call.
            limiter.acquire_on_behalf_of_nowait(places)
            places.callback(limiter.release_on_behalf_of, places)
        return True

    async def _enter(self, places: ExitStack, limiter: anyio.CapacityLimiter) -> None:
        await limiter.acquire_on_behalf_of(places)
        places.callback(limiter.release_on_behalf_of, places)

    async def _enter_both(self, places: ExitStack, route: Route) -> bool:
        """Whether the account had a place. Neither of the two is held while the other one is waited for."""
        with ExitStack() as taken:
            await self._enter(taken, self._total)
            if (place := self._machine.take(route.account, route.settings.max_concurrency)) is None:
                return False
            taken.callback(place.release)
            places.push(taken.pop_all())
            return True

    async def _wait(self, places: ExitStack, context: Context, route: Route, patience_s: float) -> bool:
        self._waiting += 1
        try:
            with context.call.standing_behind("a free place"), anyio.move_on_after(patience_s):
                await self._enter(places, self._provider(route))
                while not await self._enter_both(places, route):  # noqa: ASYNC110 - see below
                    # Another process gives it back, and tells nobody.
                    await anyio.sleep(ASK_AGAIN_S)
                return True
            return False
        finally:
            self._waiting -= 1

    def _overloaded(self) -> Failed:
        return Failed(
            ErrorInfo.of(
                ErrorCode.OVERLOADED,
                f"{self._limits.queue} calls already wait for a place",
                next_step="ask again later, or raise `queue` or `max_concurrency` under [limits]",
            )
        )

    def _timed_out(self, route: Route, clock: Literal["call", "queue"]) -> Failed:
        busy, section = repr(route.name), f"providers.{route.name}"
        if not self._total.available_tokens:
            busy, section = "this Dragoman", "limits"
        hint = f"ask again later, or raise `max_concurrency` under [{section}]"
        if clock == "call":
            because = f"it was still waiting for a place, since {busy} is busy"
            return timed_out("call", route.timeouts.call, because=because, hint=hint)
        return timed_out("queue", route.timeouts.queue, because=f"{busy} is busy", hint=hint)


class StartGate:
    """The layer that keeps the starts of CLIs with one login apart, on the whole machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def around(self, following: Handler) -> Handler:
        """The layer around the next one."""

        async def gated(context: Context) -> Outcome:
            if (route := context.route) is None:
                raise ValueError("starts are kept apart behind the route")
            gap_s = route.settings.start_gap_s
            gap_s = route.adapter.profile.start_gap_s if gap_s is None else gap_s
            if gap_s:
                # Bounded: whoever stands in the way may have been stopped, and a start too early is better than none.
                with anyio.move_on_after(min(MOST_GAPS * gap_s, context.deadline - anyio.current_time())):
                    while (wait_s := self._machine.claim_start(route.account, gap_s)) > 0:  # noqa: ASYNC110 - no event
                        await anyio.sleep(wait_s)
            return await following(context)

        return gated
