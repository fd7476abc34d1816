"""The layer that leaves a failing provider alone: a circuit breaker for each provider, account and model.

What one process finds out, all of this machine know: circuits stand in the store. They are read before a call, which
costs microseconds; a change is written by the store's thread, together with what other processes changed meanwhile.
The few calls that a half-open circuit lets through hold a lock, so that they are few on the machine, and the death of
whoever holds it gives it back.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.lowlevel

from dragoman import store as records
from dragoman.adapters.base import Failed, Outcome
from dragoman.config import BreakerSettings
from dragoman.engine.context import Context, Handler, Route
from dragoman.engine.layers.breaker import Circuit, CircuitBreaker, Permit, Verdict, judge
from dragoman.engine.layers.places import Machine, Place
from dragoman.log import logger
from dragoman.schemas import CircuitState, CircuitStatus, ErrorCode, ErrorInfo, LLMError

if TYPE_CHECKING:
    from dragoman.store import CircuitChanged, CircuitKey, CircuitRow, StoreError

FRESH_S = 0.1
"""A provider that answered is taken to be well for so long: else a call would ask twice, and one of many each time."""
UNWRITTEN_S = 10.0
"""After so long a change that was posted will not be written any more: what stands in the store counts again."""
_RANK = (CircuitState.CLOSED, CircuitState.HALF_OPEN, CircuitState.OPEN)


class Peers(Protocol):
    """What is known of the providers."""

    def others(self, name: str) -> Iterable[CircuitKey]:
        """The other providers that could be asked as far as is known without asking: their circuits."""
        ...

    async def is_logged_in(self, name: str) -> bool:
        """Whether the CLI itself says, now, that somebody is logged in."""
        ...


class CircuitStore(Protocol):
    """Where circuits stand; see `dragoman.store.Store`."""

    def circuit(self, key: CircuitKey) -> CircuitRow | None:
        """A circuit."""
        ...

    def data_changed(self, since: int = 0) -> int:
        """0 when nothing was written since this said `since`; else another number."""
        ...

    def circuits(self) -> Sequence[CircuitRow]:
        """All of them."""
        ...

    def post(self, record: CircuitChanged) -> object:
        """Write a change soon."""
        ...


@dataclass(slots=True)
class _Kept:
    """A breaker, and how far it and the store have told each other."""

    key: CircuitKey
    breaker: CircuitBreaker
    version: int = 0
    """The last that was taken over."""
    seen: int = 0
    """What the store said when it was last read: until it says another thing, nobody wrote anything."""
    looked_at: float = -math.inf
    posted: int = 0
    posted_at: float = 0.0
    written: int = 0
    """Counted by the store's thread alone, as `posted` is by ours."""
    written_version: int = 0
    """What the last of them made; it can be read once it is committed."""


class Breakers:
    """See the module. `store` gives the store, once it is open; without one each process knows only its own calls.

    `open_store` opens it if there is one, for whoever wants to know before any call.
    """

    def __init__(
        self,
        settings: BreakerSettings,
        machine: Machine,
        store: Callable[[], CircuitStore | None] = lambda: None,
        clock: Callable[[], float] = time.time,
        open_store: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint,
    ) -> None:
        self._settings = settings
        self._machine = machine
        self._store = store
        self._open_store = open_store
        self._clock = clock
        self._kept: dict[CircuitKey, _Kept] = {}
        self._is_alone = False

    def around(self, following: Handler, peers: Peers) -> Handler:
        """The layer around a call with all its attempts: how it ends is one verdict."""

        async def guarded(context: Context) -> Outcome:
            kept, route = self._of(context), _route(context)
            self._glance(kept)
            permit, place = await self._admit(kept, context, peers)
            if permit is None:
                return Failed(kept.breaker.refusal(route.name, _advice(kept, route)))
            context.is_barred = partial(self._is_barred, kept)
            earlier, given_s = len(context.attempts), context.deadline - anyio.current_time()

            def settle(error: ErrorInfo) -> None:
                failures = [*(attempt.error for attempt in context.attempts[earlier:]), error]
                if not context.was_retrying:
                    failures = [each for each in failures if each and _tells(each, route, given_s)]
                self._settle(kept, permit, context, failures[-1] if failures else None)

            with place:
                try:
                    outcome = await following(context)
                except LLMError as refused:
                    settle(refused.info)
                    raise
                except BaseException:
                    permit.release()
                    raise
                if isinstance(outcome, Failed):
                    settle(outcome.error)
                elif (verdict := permit.succeed()) is not None:
                    self._share(kept, verdict)
            return outcome

        return guarded

    def ahead(self, following: Handler, peers: Peers) -> Handler:
        """The layer before the queue: nobody waits for a place only to be refused then."""

        async def ahead(context: Context) -> Outcome:
            kept, route = self._of(context), _route(context)
            self._glance(kept)
            if kept.breaker.state is CircuitState.OPEN and not await self._may_insist(kept, context, peers):
                return Failed(kept.breaker.refusal(route.name, _advice(kept, route)))
            return await following(context)

        return ahead

    def is_open(self, key: CircuitKey) -> bool:
        """Whether this model of a provider is left alone now, as far as is known since the last `refresh`."""
        kept = self._kept.get(key)
        return kept is not None and kept.breaker.state is CircuitState.OPEN

    async def refresh(self) -> None:
        """Learn what the processes of this machine know."""
        await self._open_store()
        if (store := self._store()) is None:
            return
        try:
            rows = store.circuits()
        except records.StoreError as error:
            self._alone(error)
            return
        for row in rows:
            self._adopt(self._at(row.key), row.version, row.circuit)

    def status(self, name: str, account: str) -> tuple[str, CircuitStatus] | None:
        """Of a provider's account the model that stands worst, with its circuit; None: it was not needed yet."""
        found = [kept for key, kept in self._kept.items() if key[:2] == (name, account)]
        worst = max(found, key=lambda kept: _RANK.index(kept.breaker.state), default=None)
        return (worst.key.model, worst.breaker.status) if worst else None

    def _is_barred(self, kept: _Kept) -> bool:
        """Whether a call that was let through is to make do with the attempt it had."""
        self._look(kept)
        return kept.breaker.state is not CircuitState.CLOSED

    def _settle(self, kept: _Kept, permit: Permit, context: Context, error: ErrorInfo | None) -> None:
        """The call failed; None: with nothing that tells about the provider."""
        if error is None:
            permit.release()
            return
        source = context.channel if error.code is ErrorCode.CRASHED else None
        if (verdict := permit.fail(error, source=source)) is not None:
            self._share(kept, verdict)

    async def _admit(self, kept: _Kept, context: Context, peers: Peers) -> tuple[Permit | None, Place]:
        permit = kept.breaker.acquire()
        if permit is not None and permit.is_probe:
            place = self._machine.take(_lock(kept.key), self._settings.half_open_permits, of="probe")
            if place is not None:
                return permit, place
            permit.release()
            permit = None
        if permit is None and await self._may_insist(kept, context, peers):
            # Also when it is half-open and another call is just trying: that one may take its time.
            permit = kept.breaker.force(closes=context.call.insists)
        return permit, Place()

    async def _may_insist(self, kept: _Kept, context: Context, peers: Peers) -> bool:
        """Whether a call is let through although the circuit is open."""
        route = _route(context)
        if not (route.is_let_through or context.call.insists):
            with anyio.move_on_at(context.deadline):
                route.is_let_through = await self._is_exempt(kept, peers)
        return route.is_let_through or context.call.insists

    async def _is_exempt(self, kept: _Kept, peers: Peers) -> bool:
        if kept.breaker.circuit.cause == ErrorCode.AUTH and await peers.is_logged_in(kept.key.provider):
            # Whoever was told to log in, and did, is not to wait.
            return True
        if not self._settings.never_open_last:
            return False
        await self.refresh()
        return all(map(self.is_open, peers.others(kept.key.provider)))

    def _of(self, context: Context) -> _Kept:
        route = _route(context)
        return self._at(records.CircuitKey(route.name, route.account, route.model(context.request) or ""))

    def _at(self, key: CircuitKey) -> _Kept:
        if key not in self._kept:
            self._kept[key] = _Kept(key, CircuitBreaker.of(self._settings, self._clock))
        return self._kept[key]

    def _glance(self, kept: _Kept) -> None:
        """Look, unless nothing was wrong just now."""
        circuit = kept.breaker.circuit
        is_well = circuit.opened is None and not circuit.failures and not circuit.local_failures
        if not is_well or time.monotonic() >= kept.looked_at + FRESH_S:
            self._look(kept)

    def _look(self, kept: _Kept) -> None:
        """Take over what other processes found out."""
        if (store := self._store()) is None:
            return
        try:
            changed = store.data_changed(kept.seen)
            row = store.circuit(kept.key) if changed else None
        except records.StoreError as error:
            self._alone(error)
            return
        kept.seen = changed or kept.seen
        if row is not None and not self._adopt(kept, row.version, row.circuit):
            kept.seen = 0
        kept.looked_at = time.monotonic()

    def _adopt(self, kept: _Kept, version: int, circuit: str) -> bool:
        """Take a circuit over if it is newer than ours; False: it cannot be told yet."""
        if kept.posted != kept.written and time.monotonic() - kept.posted_at < UNWRITTEN_S:
            return False  # what we know is newer: ours is still on its way
        if version > kept.version and version >= kept.written_version:
            kept.version = version
            kept.breaker.circuit = Circuit.read(circuit)
        return version >= kept.written_version

    def _share(self, kept: _Kept, verdict: Verdict) -> None:
        if (store := self._store()) is None:
            return
        after = kept.breaker.circuit

        def change(version: int, text: str | None) -> str:
            there = Circuit.read(text)
            kept.written_version = version
            kept.written += 1
            if there.generation == verdict.generation:
                return judge(there, verdict, self._settings).text()
            # Ahead of what is there, since something was not written: what we know stands for all of it.
            return (after if after.generation > there.generation else there).text()

        kept.posted += 1
        kept.posted_at = time.monotonic()
        try:
            store.post(records.CircuitChanged(kept.key, change))
        except records.StoreError as error:
            self._alone(error)

    def _alone(self, error: StoreError) -> None:
        if not self._is_alone:
            self._is_alone = True
            logger.warning("circuit breakers are not shared with other Dragomans of this machine: {}", error)


def _route(context: Context) -> Route:
    if context.route is None:
        raise ValueError("the breaker stands behind the route")
    return context.route


def _tells(error: ErrorInfo, route: Route, given_s: float) -> bool:
    """Whether a failure says anything about the provider, of which so much of the call's time was left.

    A clock that fired does not where the caller had set it shorter than it is for everybody, nor where most of its time
    had gone to the queue, or to another provider.
    """
    if error.clock is None:
        return True
    return error.clock not in route.shortened and (error.clock != "call" or 2 * given_s >= route.timeouts.call)


def _lock(key: CircuitKey) -> str:
    """A file name for a key: a model's name may hold anything, and be long."""
    if not key.model:
        return key.account
    return f"{key.account}-{hashlib.blake2b(key.model.encode(), digest_size=6).hexdigest()}"


def _advice(kept: _Kept, route: Route) -> str | None:
    login = route.adapter.profile.login
    if kept.breaker.circuit.cause == ErrorCode.AUTH and login is not None:
        return f"{login.hint}, then ask again"
    return None
