"""Fifty callers and an upstream that fails now and then, is down for an hour, and comes back: hours of virtual time.

python -m benchmarks.outage             prints a table
python -m benchmarks.outage --write     also writes it into docs/resilience.md

Beside Dragoman's layers stand the same callers without a breaker, and with that of pybreaker where it is installed.
"""

from __future__ import annotations

import random
import sys
import tempfile
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import anyio
import trio.testing

from dragoman.adapters.base import Completed, Failed, Outcome
from dragoman.config import BreakerSettings, ProviderSettings, RetryConfig
from dragoman.engine.call import Call
from dragoman.engine.context import Context, Handler, Route
from dragoman.engine.layers.breakers import Breakers
from dragoman.engine.layers.places import Machine
from dragoman.engine.layers.retry import Retrier
from dragoman.engine.providers.finding import Program
from dragoman.schemas import ErrorCode, ErrorInfo, LLMError, LLMRequest, TimeoutConfig, error_from
from dragoman.testing import FakeAdapter

PAGE = Path(__file__).parents[1] / "docs" / "resilience.md"
MARKS = ("<!-- outage -->\n", "<!-- /outage -->\n")
MINUTE = 60.0
DOWN, UP, END = 30 * MINUTE, 90 * MINUTE, 120 * MINUTE
CALLERS = 50
PAUSE_S = 20.0
"""What a caller waits between two questions, on average."""
ANSWER_S, FAILURE_S = 5.0, 2.0
SHAKY = 0.3
STEADY = 10
"""So many answers in a row are a recovery."""


@dataclass
class Story:
    """What came of it."""

    seed: int
    attempts: list[float] = field(default_factory=list[float])
    ended: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """When each call ended and how: ``completed``, or an error's code."""

    def attempted(self, start: float, end: float) -> int:
        """Attempts that were begun in this time."""
        return sum(start <= at < end for at in self.attempts)

    def calls(self, start: float, end: float, *how: str) -> int:
        """Calls that ended in this time, so."""
        return sum(start <= at < end and (not how or said in how) for at, said in self.ended)

    def herd(self) -> int:
        """The most attempts that were begun within a second of each other when it had been down for a while."""
        late = [at for at in self.attempts if DOWN + 2 * MINUTE <= at < UP]
        return max((bisect_left(late, at + 1) - number for number, at in enumerate(late)), default=0)

    def first_answer_s(self) -> float:
        """From the recovery of the upstream to the first answer."""
        return min(at for at, said in self.ended if said == "completed" and at >= UP) - UP

    def steady_s(self) -> float:
        """From the recovery of the upstream until callers get answers, and nothing else."""
        row = 0
        for at, said in self.ended:
            row = row + 1 if said == "completed" and at >= UP else 0
            if row == STEADY:
                return at - UP
        raise RuntimeError("it never recovered")


def play(layers: Callable[[Handler, Path], Handler], seed: int = 1) -> Story:
    """Two hours, in a second or two."""
    story = Story(seed)

    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="dragoman-outage-") as folder:
            way = layers(_upstream(story, _dice(seed)), Path(folder))
            async with anyio.create_task_group() as callers:
                for number in range(CALLERS):
                    callers.start_soon(_caller, story, way, _dice(seed * 1000 + number))

    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(main, backend="trio", backend_options={"clock": clock})
    return story


def with_dragoman(following: Handler, folder: Path) -> Handler:
    """Dragoman's own layers."""
    settings = BreakerSettings(never_open_last=False)
    breakers = Breakers(settings, Machine(lambda: folder / "locks"), clock=anyio.current_time)
    return breakers.around(with_nothing(following, folder), _Alone())


def with_nothing(following: Handler, folder: Path) -> Handler:  # noqa: ARG001 - it locks nothing
    """The same without a breaker."""
    return Retrier(RetryConfig(), _dice(7).random).around(following)


def with_pybreaker(following: Handler, folder: Path) -> Handler:
    """The same with another breaker in the same place, set to the same numbers.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    import pybreaker  # pyright: ignore[reportMissingImports] - it need not be installed

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # pyright: ignore[reportIncompatibleMethodOverride] - it gives what pybreaker asks for
            return datetime.fromtimestamp(anyio.current_time(), tz or UTC)

    library: Any = pybreaker
    library.datetime = Clock
    breaker = library.CircuitBreaker(fail_max=5, reset_timeout=60, success_threshold=2)
    retried = with_nothing(following, folder)

    async def guarded(context: Context) -> Outcome:
        outcome: Outcome | None = None
        with suppress(LLMError, library.CircuitBreakerError), breaker.calling():
            outcome = await retried(context)
            if isinstance(outcome, Failed):
                raise error_from(outcome.error)  # it counts exceptions
        return outcome or Failed(ErrorInfo.of(ErrorCode.CIRCUIT_OPEN, "open"))

    return guarded


class _Alone:
    """There is no other provider."""

    def others(self, name: str) -> tuple[()]:  # noqa: ARG002 - all are alike to it
        return ()

    async def is_logged_in(self, name: str) -> bool:  # noqa: ARG002 - all are alike to it
        return False


def _upstream(story: Story, chance: random.Random) -> Handler:
    async def ask(context: Context) -> Outcome:  # noqa: ARG001 - all are alike to it
        now = anyio.current_time()
        story.attempts.append(now)
        fails = chance.random() < (SHAKY if now < DOWN else 1.0 if now < UP else 0.0)
        await anyio.sleep(FAILURE_S if fails else ANSWER_S)
        return Failed(ErrorInfo.of(ErrorCode.OVERLOADED, "busy")) if fails else Completed(text="fine")

    return ask


def _dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same in every run


async def _caller(story: Story, way: Handler, chance: random.Random) -> None:
    program = Program(("fake",), Path("fake"))
    while anyio.current_time() < END:
        await anyio.sleep(chance.expovariate(1 / PAUSE_S))
        context = Context(Call(LLMRequest(prompt="hi"), "simulation"), 1000)
        context.route = Route("fake", FakeAdapter(), ProviderSettings(), program, TimeoutConfig(), "account")
        context.deadline = anyio.current_time() + TimeoutConfig().call
        outcome = await way(context)
        said = outcome.error.code.value if isinstance(outcome, Failed) else "completed"
        story.ended.append((anyio.current_time(), said))


def table() -> str:
    """The comparison."""
    ways = {"Dragoman": with_dragoman, "no breaker": with_nothing, "pybreaker": with_pybreaker}
    stories: dict[str, Story] = {}
    for name, layers in ways.items():
        try:
            stories[name] = play(layers)
        except ModuleNotFoundError:
            sys.stderr.write(f"{name} is not installed and left out\n")
    rows: list[tuple[str, Callable[[Story], str]]] = [
        ("while 30 % fail: calls answered", lambda story: _share(story, 0, DOWN, "completed")),
        ("while 30 % fail: calls refused", lambda story: _share(story, 0, DOWN, "circuit_open")),
        ("the hour it is down: attempts", lambda story: f"{story.attempted(DOWN, UP):,}"),
        ("the hour it is down: most attempts within a second", lambda story: str(story.herd())),
        ("back: until the first answer", lambda story: f"{story.first_answer_s():.0f} s"),
        (f"back: until {STEADY} answers in a row", lambda story: f"{story.steady_s():.0f} s"),
        ("back: calls refused", lambda story: str(story.calls(UP, END, "circuit_open"))),
    ]
    lines = [f"| | {' | '.join(stories)} |", f"|---|{'---|' * len(stories)}"]
    lines += [f"| {what} | {' | '.join(map(tell, stories.values()))} |" for what, tell in rows]
    return "\n".join(lines)


def _share(story: Story, start: float, end: float, how: str) -> str:
    return f"{100 * story.calls(start, end, how) / story.calls(start, end):.1f} %"


if __name__ == "__main__":
    made = table()
    sys.stdout.write(made + "\n")
    if "--write" in sys.argv:
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition(MARKS[0])
        _, _, after = rest.partition(MARKS[1])
        PAGE.write_text(f"{before}{MARKS[0]}{made}\n{MARKS[1]}{after}", encoding="utf-8")
