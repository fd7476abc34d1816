"""The turns that a channel works on, and who waits for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dragoman.adapters.base import Act, Emit, Failed, Outcome, Turn, TurnId
from dragoman.latch import Latch
from dragoman.schemas import ErrorCode, ErrorInfo, Event, Text


class Listener(Protocol):
    """Who waits for a turn."""

    def event(self, event: Event) -> None:
        """Something happened in the turn."""
        ...

    def alive(self) -> None:
        """The child gave a sign of life. Its own retries are none."""
        ...


@dataclass(slots=True)
class OpenTurn:
    """One of them. `done` is set when its outcome is known, from when on nobody listens any more."""

    turn: Turn
    listener: Listener | None
    outcome: Outcome | None = None
    done: Latch = field(default_factory=Latch)

    def settle(self, outcome: Outcome) -> None:
        """Its outcome is this, unless it has one."""
        if self.outcome is None:
            self.outcome = outcome
            self.listener = None
            self.done.set()

    async def ended(self, listener: Listener) -> Outcome:
        """Wait for its outcome. Whoever gives up may wait again, and misses what happens until then."""
        if self.outcome is None:
            self.listener = listener
            try:
                await self.done.wait()
            finally:
                self.listener = None
        assert self.outcome is not None  # noqa: S101 - set before the event
        return self.outcome


class OpenTurns:
    """Those of one channel, by id."""

    def __init__(self) -> None:
        self._turns: dict[TurnId, OpenTurn] = {}
        self._last: OpenTurn | None = None

    def __iter__(self) -> Iterator[TurnId]:
        return iter(list(self._turns))

    def __bool__(self) -> bool:
        return bool(self._turns)

    @property
    def are_awaited(self) -> bool:
        """Whether the outcome of one of them is still to be known."""
        return any(open_turn.outcome is None for open_turn in self._turns.values())

    def open(self, turn: Turn, listener: Listener) -> OpenTurn:
        """One more."""
        self._last = self._turns[turn.id] = OpenTurn(turn, listener)
        return self._last

    def opened(self, turn_id: TurnId) -> OpenTurn | None:
        """The last one, ended or not, if it is this."""
        return self._last if self._last is not None and self._last.turn.id == turn_id else None

    def emit(self, turn_id: TurnId, event: Event) -> None:
        """Tell whoever waits for it."""
        open_turn = self._turns.get(turn_id)
        if open_turn is not None and open_turn.listener is not None:
            open_turn.listener.event(event)

    def emit_to_all(self, event: Event) -> None:
        """Tell everyone."""
        for turn_id in self:
            self.emit(turn_id, event)

    def alive(self) -> None:
        """The child gave a sign of life."""
        for open_turn in self._turns.values():
            if open_turn.listener is not None:
                open_turn.listener.alive()

    def end(self, turn_id: TurnId, outcome: Outcome) -> None:
        """It is over."""
        if open_turn := self._turns.pop(turn_id, None):
            open_turn.settle(outcome)

    def end_all(self, outcome: Outcome) -> None:
        """Those that are left are over."""
        for turn_id in self:
            self.end(turn_id, outcome)

    def settle_all(self, outcome: Outcome) -> None:
        """What becomes of them is known, though they stay open."""
        for open_turn in self._turns.values():
            open_turn.settle(outcome)


def merged(acts: Sequence[Act]) -> Iterable[Act]:
    """The acts with neighbouring pieces of an answer joined: a read of many small lines is one event, not thousands."""
    texts: list[str] = []
    owner = ""
    for act in acts:
        if isinstance(act, Emit) and isinstance(act.event, Text):
            if texts and act.turn != owner:
                yield Emit(owner, Text(text="".join(texts)))
                texts.clear()
            owner = act.turn
            texts.append(act.event.text)
            continue
        if texts:
            yield Emit(owner, Text(text="".join(texts)))
            texts.clear()
        yield act
    if texts:
        yield Emit(owner, Text(text="".join(texts)))


def crashed(message: str) -> Failed:
    """The process is gone, or as good as gone."""
    return Failed(ErrorInfo.of(ErrorCode.CRASHED, message))


def wrote_too_much(stream: str, limit: int) -> Failed:
    """The process was killed for what it wrote."""
    return Failed(
        ErrorInfo.of(
            ErrorCode.OUTPUT_LIMIT,
            f"it wrote more than {limit >> 20} MiB to {stream} and was killed",
            next_step="ask for less at once; what it was doing is in the text and at the end of stderr",
        )
    )
