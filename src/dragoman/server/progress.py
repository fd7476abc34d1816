"""What a call does, told to the client in short lines while it waits."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio

from dragoman.engine import Call, EventLog, Job
from dragoman.schemas import Event, LLMError, Notice, Retrying, Started, Text, Thought, Tool

if TYPE_CHECKING:
    from dragoman.structured import OutputSchema

GAP_S = 0.2
"""The least time between two lines; what happens meanwhile is told in one."""
SILENCE_S = 12.0
"""After so long without an event the client is told that the call lives. Some give a request up that says nothing."""
LINE_CHARS = 200
"""Claude Code shows so many."""

PARTIAL_CHARS = 80
"""How much of a structured answer is shown while it grows."""

Tell = Callable[[float, None, str], Awaitable[None]]
"""Takes a number that rises with every line, no total, and the line."""


async def narrate(job: Job, tell: Tell, *, gap_s: float = GAP_S, silence_s: float = SILENCE_S) -> None:
    """Tell what happens until the job ends. The numbers are the seconds since it began.

    Of one that another process runs it is only told that it goes on, until whoever waits for it ends this.
    """
    if job.call is not None:
        await narrate_call(job.call, tell, gap_s=gap_s, silence_s=silence_s)
        return
    age = max(0.0, time.time() - job.info.created_at)
    began = time.monotonic() - age
    while True:
        elapsed = time.monotonic() - began
        await tell(round(elapsed, 3), None, f"{_name(job.info.provider)} has been working for {elapsed:.0f} s")
        await anyio.sleep(silence_s)


async def narrate_call(call: Call, tell: Tell, *, gap_s: float = GAP_S, silence_s: float = SILENCE_S) -> None:
    """The same for a call of this process."""
    story = _Story(_name(call.request.provider), _growing(call))
    seen, heard_at = 0, call.created
    while True:
        events: Sequence[Event] | None = None
        with anyio.move_on_after(silence_s) as silence:
            events = await _next_events(call.log, seen)
            if events is None:
                return
        now = time.monotonic()
        elapsed = now - call.created
        if silence.cancelled_caught:
            line = story.still_working(_time(elapsed, call), now - heard_at)
        else:
            heard_at = now
            seen += len(events or ())
            line = story.hear(events or (), _time(elapsed, call))
        if line:
            await tell(round(elapsed, 3), None, line)
            await anyio.sleep(gap_s)


class _Growing:
    """A structured answer as far as it has come."""

    def __init__(self, schema: OutputSchema) -> None:
        from dragoman.structured import PartialValue

        self._schema = schema
        self._partial = PartialValue(schema)

    def feed(self, text: str) -> None:
        """Takes a piece of the answer."""
        self._partial.feed(text)

    def shown(self) -> str:
        """The end of it, since its beginning was told before; empty when there is nothing to show."""
        if self._partial.value is None:
            return ""
        text = json.dumps(self._partial.value, ensure_ascii=False)
        return f", so far: {text}" if len(text) <= PARTIAL_CHARS else f", so far: …{text[-PARTIAL_CHARS:]}"

    def anew(self) -> _Growing:
        """For an answer that begins again."""
        return _Growing(self._schema)


def _growing(call: Call) -> _Growing | None:
    schema = call.schema
    if schema is None and call.request.output_schema is not None:
        from dragoman.structured import OutputSchema

        try:
            schema = OutputSchema.of(call.request.output_schema)
        except LLMError:
            return None  # the call fails with the reason
    return None if schema is None else _Growing(schema)


class _Story:
    """What is known of the call so far."""

    def __init__(self, provider: str, growing: _Growing | None) -> None:
        self._provider = provider
        self._growing = growing
        self._started = False
        self._characters = 0

    def hear(self, events: Sequence[Event], elapsed: str) -> str | None:
        """A line for these events; None: nothing worth one."""
        doing: list[str] = []
        writing = False
        for event in events:
            match event:
                case Started():
                    self._started = True
                    doing.append("started")
                case Text(text=text):
                    self._characters += len(text)
                    if self._growing is not None:
                        self._growing.feed(text)
                    writing = True
                case Thought():
                    if doing[-1:] != ["thinking"]:
                        doing.append("thinking")
                case Tool():
                    doing.append(f"using {event.name} {event.detail}".rstrip())
                case Retrying():
                    if event.starts_over:
                        self._characters, writing = 0, False
                        self._growing = self._growing and self._growing.anew()
                    pause = "" if event.delay_s is None else f", next in {event.delay_s:g} s"
                    doing.append(f"retrying: {event.cause} (attempt {event.attempt}{pause})")
                case Notice():
                    doing.append(event.message)
                case _:
                    pass
        if writing:
            so_far = self._growing.shown() if self._growing is not None else ""
            doing.append(f"writing, {self._characters} characters{so_far}")
        return _short(f"{self._provider}: {elapsed}, {'; '.join(doing[-3:])}") if doing else None

    def still_working(self, elapsed: str, silent_s: float) -> str:
        """A line for a silence: what hangs is known long before a clock ends it."""
        if not self._started:
            return f"waiting for {self._provider} for {elapsed}"
        so_far = f", {self._characters} characters so far" if self._characters else ""
        return f"{self._provider} has been working for {elapsed}, silent for {silent_s:.0f} s{so_far}"


async def _next_events(log: EventLog, start: int) -> Sequence[Event] | None:
    """What came after number `start`; None when nothing more comes."""
    async with aclosing(log.batches(start)) as batches:
        async for batch in batches:
            return batch
    return None


def _short(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= LINE_CHARS else f"{line[: LINE_CHARS - 1]}…"


def _time(elapsed: float, call: Call) -> str:
    """How long it has taken, and how much of its time is left."""
    left = "" if call.deadline is None else f", {max(0.0, call.deadline - time.monotonic()):.0f} s left"
    return f"{elapsed:.0f} s{left}"


def _name(provider: str | None) -> str:
    return provider or "the provider"
