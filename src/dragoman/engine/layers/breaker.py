"""When a failing provider is left alone, and when it is tried again. Pure: it waits for nothing and does no I/O.

    closed ──failures in a row, a used-up quota, a missing login──► open ──its time is over──► half-open
       ▲                                                              ▲                          │  │
       └───────────────────────────── successes in a row ─────────────┼──────────────────────────┘  │
                                                                      └───────── a failure ─────────┘

`Circuit` is the state as data, which processes can share; `judge` is what one verdict makes of it. Every opening and
closing begins a new generation: what was started in an earlier one says nothing about the present one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from inspect import isawaitable
from typing import ParamSpec, TypeVar, cast

from dragoman.config import BreakerSettings
from dragoman.schemas import RULES, CircuitState, CircuitStatus, ErrorCode, ErrorInfo, LLMError, error_from

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_S = 40 * 24 * 3600.0
"""No limit that a provider states is longer than a month; a time that is further away was misread."""
_AT_ONCE = (ErrorCode.QUOTA, ErrorCode.AUTH)


@dataclass(frozen=True)
class Circuit:
    """What is known of a provider's health. Times are seconds since 1970."""

    generation: int = 0
    failures: int = 0
    """In a row, of the provider."""
    local_failures: int = 0
    """In a row, of this machine: it could not be started, crashed, nobody is logged in."""
    successes: int = 0
    """In a row, since it was opened."""
    last_failure: float | None = None
    opened: float | None = None
    """None: closed."""
    until: float | None = None
    """From when on it is half-open."""
    cause: str | None = None
    """The code of the last failure."""
    source: str | None = None
    """What failed last, where one thing can fail several calls."""

    @classmethod
    def read(cls, text: str | None) -> Circuit:
        """What `text` wrote; a new one for None."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in json.loads(text or "{}").items() if name in known})

    def text(self) -> str:
        """For keeping it."""
        return json.dumps(asdict(self))

    def state(self, now: float) -> CircuitState:
        """What it is now."""
        if self.opened is None or self.until is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now < self.until else CircuitState.HALF_OPEN

    def status(self, now: float) -> CircuitStatus:
        """For people and programs."""
        return CircuitStatus(
            state=self.state(now),
            failure_count=self.failures,
            local_failure_count=self.local_failures,
            success_count=self.successes,
            last_failure_time=_iso(self.last_failure),
            last_failure=self.cause,
            reset_at=_iso(self.until),
        )


@dataclass(frozen=True)
class Verdict:
    """How a call that was let through ended."""

    generation: int
    at: float
    succeeded: bool
    local: bool = False
    at_once: bool = False
    """One is enough, to open or to close."""
    until: float | None = None
    """When the provider says it will answer again."""
    cause: str | None = None
    source: str | None = None


def judge(circuit: Circuit, verdict: Verdict, settings: BreakerSettings) -> Circuit:
    """The circuit after a verdict; the same object when it changes nothing."""
    if verdict.generation != circuit.generation:
        return circuit
    return (_after_success if verdict.succeeded else _after_failure)(circuit, verdict, settings)


def _after_success(circuit: Circuit, verdict: Verdict, settings: BreakerSettings) -> Circuit:
    if circuit.opened is None:
        if not (circuit.failures or circuit.local_failures):
            return circuit
        return replace(circuit, failures=0, local_failures=0, source=None)
    successes = circuit.successes + 1
    if successes < settings.success_threshold and not verdict.at_once:
        return replace(circuit, successes=successes)
    return Circuit(circuit.generation + 1, last_failure=circuit.last_failure, cause=circuit.cause)


def _after_failure(circuit: Circuit, verdict: Verdict, settings: BreakerSettings) -> Circuit:
    if verdict.source is not None and verdict.source == circuit.source:
        return circuit
    failed = replace(
        circuit,
        failures=circuit.failures if verdict.local else circuit.failures + 1,
        local_failures=circuit.local_failures + 1 if verdict.local else 0,
        successes=0,
        last_failure=verdict.at,
        cause=verdict.cause,
        source=verdict.source,
    )
    count = failed.local_failures if verdict.local else failed.failures
    if circuit.opened is None and not verdict.at_once and count < settings.failure_threshold:
        return failed
    stated = verdict.until if verdict.until is not None and verdict.until > verdict.at else None
    until = verdict.at + settings.open_s if stated is None else min(stated, verdict.at + LONGEST_S)
    if circuit.until is not None and stated is None:
        # A call that was let through although it is open cannot shorten what the provider stated before.
        until = max(until, circuit.until)
    return replace(failed, generation=circuit.generation + 1, opened=verdict.at, until=until)


MakeVerdict = Callable[[float], Verdict]
"""A verdict, given the time."""


class Permit:
    """Leave for one call. It is settled once, by the first of `succeed`, `fail` and `release`.

    Each returns the verdict when it changed something, so that it can be passed on.
    """

    def __init__(
        self,
        settle: Callable[[MakeVerdict | None], Verdict | None],
        generation: int,
        settings: BreakerSettings,
        *,
        is_probe: bool = False,
        closes: bool = False,
    ) -> None:
        self.is_probe = is_probe
        """Whether it is one of the few that a half-open circuit gives."""
        self._settle: Callable[[MakeVerdict | None], Verdict | None] | None = settle
        self._generation = generation
        self._settings = settings
        self._closes = closes

    def succeed(self) -> Verdict | None:
        """The call was answered."""
        return self._settled(lambda at: Verdict(self._generation, at, succeeded=True, at_once=self._closes))

    def fail(self, error: ErrorInfo | None = None, *, source: str | None = None) -> Verdict | None:
        """The call failed. A failure that says nothing about the provider is no verdict.

        `source` names what failed where several calls share it: its death is one failure.
        """
        if error is None:
            return self._settled(lambda at: Verdict(self._generation, at, succeeded=False, source=source))
        counts = RULES[error.code].counts
        if counts == "no":
            return self._settled(None)

        def verdict(at: float) -> Verdict:
            until = _stated(error, at, self._settings.open_s)
            return Verdict(
                self._generation,
                at,
                succeeded=False,
                local=counts == "local" or error.clock == "spawn",
                at_once=error.code in _AT_ONCE or (error.code is ErrorCode.RATE_LIMITED and until is not None),
                until=until,
                cause=error.code.value,
                source=source,
            )

        return self._settled(verdict)

    def release(self) -> None:
        """The call ended without telling anything about the provider, such as when it was cancelled."""
        self._settled(None)

    def _settled(self, verdict: MakeVerdict | None) -> Verdict | None:
        settle, self._settle = self._settle, None
        return None if settle is None else settle(verdict)


class CircuitBreaker:
    """See the module. `clock` gives seconds since 1970.

    ::

        permit = breaker.acquire()
        if permit is None:
            ...                     # not now: `status` says until when
        permit.succeed()            # or fail(error), or release()
    """

    def __init__(
        self,
        failure_threshold: int = 5,
        success_threshold: int = 2,
        timeout_seconds: float = 60.0,
        *,
        half_open_permits: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = BreakerSettings(
            failure_threshold=failure_threshold,
            success_threshold=success_threshold,
            open_s=timeout_seconds,
            half_open_permits=half_open_permits,
        )
        self._clock = clock
        self._circuit = Circuit()
        self._probes = 0

    @classmethod
    def of(cls, settings: BreakerSettings, clock: Callable[[], float]) -> CircuitBreaker:
        """A closed one as it is configured."""
        return cls(
            settings.failure_threshold,
            settings.success_threshold,
            settings.open_s,
            half_open_permits=settings.half_open_permits,
            clock=clock,
        )

    @property
    def state(self) -> CircuitState:
        """Closed, open or half-open."""
        return self._circuit.state(self._now())

    @property
    def status(self) -> CircuitStatus:
        """The state with what led to it."""
        return self._circuit.status(self._now())

    @property
    def circuit(self) -> Circuit:
        """What may be shared. Setting it takes over what another process knows."""
        return self._circuit

    @circuit.setter
    def circuit(self, circuit: Circuit) -> None:
        if circuit.generation != self._circuit.generation:
            self._probes = 0
        self._circuit = circuit

    def acquire(self) -> Permit | None:
        """Leave for a call; None: not now."""
        match self._circuit.state(self._now()):
            case CircuitState.CLOSED:
                return self._permit()
            case CircuitState.OPEN:
                return None
            case CircuitState.HALF_OPEN:
                if self._probes >= self.settings.half_open_permits:
                    return None
                self._probes += 1
                return self._permit(is_probe=True)

    def force(self, *, closes: bool = False) -> Permit:
        """Leave for a call that is made whatever the state. `closes`: its success alone closes the circuit."""
        return self._permit(closes=closes)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` if it may be called now. Of an async function the verdict comes when its result was awaited.

        Raises:
            LLMError: it may not (code ``circuit_open``).
            Exception: whatever `function` raised.
        """
        permit = self.acquire()
        if permit is None:
            raise error_from(self.refusal("it"))
        with _telling(permit):
            result = function(*args, **kwargs)
            if not isawaitable(result):
                permit.succeed()
                return result
        return cast("T", _awaited(permit, result))

    def refusal(self, name: str, next_step: str | None = None) -> ErrorInfo:
        """Why a call to `name` is not let through, and until when."""
        now, circuit = self._now(), self._circuit
        failures = max(circuit.failures, circuit.local_failures)
        because = f"{failures} failure{'s' if failures > 1 else ''} in a row" + (
            f", the last one {circuit.cause}" if circuit.cause else ""
        )
        if circuit.state(now) is CircuitState.OPEN and circuit.until is not None:
            reset_at = datetime.fromtimestamp(circuit.until, UTC)
            return ErrorInfo.of(
                ErrorCode.CIRCUIT_OPEN,
                f"{name} is left alone until {reset_at:%Y-%m-%d %H:%M:%S} UTC after {because}",
                next_step=next_step,
                retry_after_s=round(circuit.until - now, 3),
                reset_at=reset_at,
            )
        return ErrorInfo.of(
            ErrorCode.CIRCUIT_OPEN,
            f"{name} was left alone after {because}, and another call is just trying whether it answers again",
            next_step=next_step,
            retry_after_s=1.0,
        )

    def _permit(self, *, is_probe: bool = False, closes: bool = False) -> Permit:
        generation = self._circuit.generation

        def settle(verdict: MakeVerdict | None) -> Verdict | None:
            before = self._circuit
            if is_probe and generation == before.generation:
                self._probes -= 1
            if verdict is None:
                return None
            given = verdict(self._now())
            before = self._circuit
            self.circuit = judge(before, given, self.settings)
            return None if self._circuit is before else given

        return Permit(settle, generation, self.settings, is_probe=is_probe, closes=closes)

    def _now(self) -> float:
        now, opened, until = self._clock(), self._circuit.opened, self._circuit.until
        if opened is not None and until is not None and now < opened:
            # The clock was set back: it stays open as long as it was meant to, not until that time comes again.
            self._circuit = replace(self._circuit, opened=now, until=now + until - opened)
        return now


@contextmanager
def _telling(permit: Permit) -> Generator[None]:
    """Settle the permit with what is raised."""
    try:
        yield
    except LLMError as error:
        permit.fail(error.info)
        raise
    except Exception:
        permit.fail()
        raise
    except BaseException:
        permit.release()
        raise


async def _awaited(permit: Permit, answer: Awaitable[T]) -> T:
    with _telling(permit):
        result = await answer
        permit.succeed()
        return result


def _stated(error: ErrorInfo, at: float, open_s: float) -> float | None:
    """When the provider says it will answer again. Only of a quota it is believed that this may be soon."""
    if error.reset_at is not None:
        moment = error.reset_at.timestamp()
    elif error.retry_after_s is not None:
        moment = at + error.retry_after_s
    else:
        return None
    return moment if error.code is ErrorCode.QUOTA or moment > at + open_s else None


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
