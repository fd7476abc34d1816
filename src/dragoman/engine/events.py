"""The event log of a call. An answer can be long, so its text is held once, whoever looks at it and however."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Sequence
from io import StringIO
from typing import overload

from dragoman.latch import Latch
from dragoman.schemas import Event, Text

FINE_EVENTS = 10_000
"""So many events are logged as they come. An event weighs much more than a word: after them text waits for a block."""
BLOCK_CHARS = 4096
JOINED_CHARS = 1 << 20
"""Pieces that have so much together become one: when that goes, the system gets its memory back."""


_EMPTY = (0, 0)


class EventLog:
    """What happened, in order. Followers see all of it, however late they come."""

    def __init__(self) -> None:
        self.events = Events()
        self.closed = False
        self._held = StringIO()
        self._changed = Latch()

    def append(self, event: Event) -> None:
        """Add an event and wake the followers."""
        if isinstance(event, Text) and len(self.events) >= FINE_EVENTS:
            self._held.write(event.text)
            if self._held.tell() < BLOCK_CHARS:
                return
            self._release()
        else:
            self._release()
            self.events.append(event)
        self._wake()

    def text(self) -> str:
        """The text of all events."""
        self._release()
        return self.events.text()

    def share(self, text: str) -> None:
        """Hold on to `text` instead of the text of all events, if it is the same."""
        self._release()
        self.events.share(text)

    def withdraw(self, start: int) -> int:
        """Take back the text of the events from number `start` on; how many events there are."""
        self._release()
        self.events.withdraw(start)
        return len(self.events)

    def close(self) -> None:
        """No more events come."""
        self._release()
        self.closed = True
        self._wake()

    async def follow(self, start: int = 0) -> AsyncGenerator[Event]:
        """Every event from number `start` on; ends when the call ends."""
        async for batch in self.batches(start):
            for event in batch:
                yield event

    async def batches(self, start: int = 0) -> AsyncGenerator[Sequence[Event]]:
        """Like `follow`, a list of those that came since the last one at a time."""
        while True:
            changed = self._changed
            if new := self.events[start:]:
                start += len(new)
                yield new
            elif self.closed:
                return
            else:
                await changed.wait()

    def _release(self) -> None:
        if self._held.tell():
            self.events.append(Text(text=self._held.getvalue()))
            self._held = StringIO()

    def _wake(self) -> None:
        changed, self._changed = self._changed, Latch()
        changed.set()


class Events(Sequence[Event]):
    """Events, of which a `Text` is made anew for whoever looks at it."""

    def __init__(self) -> None:
        self._entries: list[Event | tuple[int, int]] = []
        """In place of a `Text`: from where to where in the text of them all."""
        self._text = _GrowingText()

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        if isinstance(index, slice):
            return [self._event(entry) for entry in self._entries[index]]
        return self._event(self._entries[index])

    def append(self, event: Event) -> None:
        """Add an event."""
        self._entries.append(self._text.append(event.text) if isinstance(event, Text) else event)

    def text(self) -> str:
        """The text of them all."""
        return self._text.whole()

    def share(self, text: str) -> None:
        """See `EventLog.share`."""
        self._text.share(text)

    def withdraw(self, start: int) -> None:
        """Empty the texts from number `start` on."""
        texts = [
            (number, entry)
            for number, entry in enumerate(self._entries[start:], start)
            if isinstance(entry, tuple) and entry != _EMPTY
        ]
        if texts:
            self._text.cut(texts[0][1][0])
        for number, _ in texts:
            self._entries[number] = _EMPTY

    def _event(self, entry: Event | tuple[int, int]) -> Event:
        return Text(text=self._text.part(*entry)) if isinstance(entry, tuple) else entry


class _GrowingText:
    """Text that is added to at its end and looked at in parts, none of which is longer than what was added at once."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._starts: list[int] = []
        self._size = 0
        self._joined = 0
        """How many of the pieces are long enough."""

    def append(self, piece: str) -> tuple[int, int]:
        """Add it; where it begins and ends."""
        start = self._size
        self._pieces.append(piece)
        self._starts.append(start)
        self._size += len(piece)
        if self._size - self._starts[self._joined] >= JOINED_CHARS:
            self._join(self._joined)
        return start, self._size

    def part(self, start: int, end: int) -> str:
        """From where to where."""
        if start == end:
            return ""
        number = bisect_right(self._starts, start) - 1
        offset = self._starts[number]
        return self._pieces[number][start - offset : end - offset]

    def whole(self) -> str:
        """All of it."""
        if len(self._pieces) > 1:
            self._join(0)
        return self._pieces[0] if self._pieces else ""

    def share(self, text: str) -> None:
        """Hold on to `text` instead, if it is the same."""
        if len(text) == self._size and all(map(text.startswith, self._pieces, self._starts)):
            self._pieces, self._starts, self._joined = [text], [0], 1

    def cut(self, size: int) -> None:
        """Drop what is longer."""
        number = bisect_left(self._starts, size)
        del self._pieces[number:], self._starts[number:]
        if self._pieces:
            self._pieces[-1] = self._pieces[-1][: size - self._starts[-1]]
        self._size = size
        self._joined = min(self._joined, number)

    def _join(self, first: int) -> None:
        self._pieces[first:] = ["".join(self._pieces[first:])]
        del self._starts[first + 1 :]
        self._joined = first + 1
