"""The clocks of one attempt, kept as the moving deadline of one cancel scope."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import anyio

from dragoman.adapters.base import Failed, Profile
from dragoman.schemas import ErrorCode, ErrorInfo, TimeoutConfig

RunClock = Literal["spawn", "startup", "idle", "attempt", "call"]

LATE_S = 1.0
"""A clock that fires so late was not looked at: somebody stopped this process, as with Ctrl-Z, and had it go on."""
LISTEN_S = 1.0
"""How long what a child said until its time was over is listened to then."""
_SOFT = ("startup", "idle")
"""Clocks of a silence, which is none when nobody listened."""

_WORDS: Mapping[str, str] = {
    "queue": "no place became free within {:g} s",
    "spawn": "the process did not start within {:g} s",
    "startup": "no sign of life within {:g} s of the start",
    "idle": "silent for {:g} s",
    "attempt": "not done within {:g} s",
    "call": "the call was not done within {:g} s",
}


def timed_out(clock: Literal["queue"] | RunClock, seconds: float, *, because: str = "", hint: str = "") -> Failed:
    """The failure that names the clock that fired."""
    # One text for all faces; a longer `call` lengthens `attempt` with it.
    ways = " (`--timeout`, `timeout_s`)" if clock in ("attempt", "call") else ""
    return Failed(
        ErrorInfo.of(
            ErrorCode.TIMEOUT,
            "; ".join(filter(None, (_WORDS[clock].format(seconds), because))),
            clock=clock,
            next_step=hint or f"raise the `{clock}` clock{ways}, or ask for less at once",
        )
    )


class Clocks:
    """Arms the earliest of the clocks that apply; after the scope was cancelled, `fired` names the one."""

    def __init__(self, timeouts: TimeoutConfig, profile: Profile, call_deadline: float) -> None:
        self._timeouts = timeouts
        self._profile = profile
        self._hard: tuple[float, RunClock] = min(
            (anyio.current_time() + timeouts.attempt, "attempt"), (call_deadline, "call")
        )
        self._armed = self._hard
        self.scope = anyio.CancelScope(deadline=self._hard[0])

    @property
    def fired(self) -> RunClock:
        """The clock that the scope's deadline belongs to."""
        return self._armed[1]

    def seconds(self) -> float:
        """How long the clock that fired was set to."""
        return float(getattr(self._timeouts, self.fired))

    def overslept(self) -> bool:
        """Whether one fired late: this process was stopped meanwhile, and what the child said then was not heard."""
        return self.scope.cancelled_caught and anyio.current_time() > self._armed[0] + LATE_S

    def wound_up(self) -> anyio.CancelScope:
        """A new scope for the clock that fired: it begins anew or, if it cannot, leaves time to hear what was said."""
        now, fired = anyio.current_time(), self.fired
        self._hard = max(self._hard, (now + LISTEN_S, self._hard[1]))
        self.scope = anyio.CancelScope()
        self._arm(fired, getattr(self._timeouts, fired) if fired in _SOFT else math.inf)
        return self.scope

    def spawning(self) -> None:
        """The process is being started."""
        self._arm("spawn", self._timeouts.spawn)

    def starting(self) -> None:
        """The process runs and has said nothing yet."""
        self._arm("startup", self._timeouts.startup if "startup" in self._profile.clocks else math.inf)

    def alive(self) -> None:
        """The process gave a sign of life."""
        self._arm("idle", self._timeouts.idle if "idle" in self._profile.clocks else math.inf)

    def _arm(self, clock: RunClock, seconds: float) -> None:
        if self.scope.cancel_called:
            # A clock fired: what the child says until it is stopped must not give it another name.
            return
        self._armed = min((anyio.current_time() + seconds, clock), self._hard)
        self.scope.deadline = self._armed[0]
