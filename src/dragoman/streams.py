"""Calls that are followed while they run: their events, a structured answer as it grows, values line by line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dragoman.engine import Call, Engine
from dragoman.options import Question, question
from dragoman.schemas import Event, LLMResponse, Retrying, Text, error_from

if TYPE_CHECKING:
    from dragoman.structured import Line, OutputSchema

FACE = "library"

T = TypeVar("T")


class _Followed:
    """A call that is followed to its end."""

    def __init__(self) -> None:
        self.reply: LLMResponse | None = None
        """The whole, once the iteration is over."""
        self._call: Call | None = None

    async def _follow(self, engine: Engine, asked: Question, *, streams: bool) -> AsyncGenerator[Event]:
        """Its events; at their end `reply` is there, and a failure is raised."""
        events = self._job if asked.request.idempotency_key else self._own
        async with aclosing(events(engine, asked, streams)) as following:
            async for event in following:
                yield event
        if self.reply is not None and self.reply.error is not None:
            raise error_from(self.reply.error, self.reply)

    async def _own(self, engine: Engine, asked: Question, streams: bool) -> AsyncGenerator[Event]:
        async with engine.asking(
            asked.request, face=FACE, streams=streams, schema=asked.schema, validators=asked.validators
        ) as call:
            self._call = call
            async with aclosing(call.log.follow()) as events:
                async for event in events:
                    yield event
            self.reply = await call.outcome()

    async def _job(self, engine: Engine, asked: Question, streams: bool) -> AsyncGenerator[Event]:
        job = await engine.jobs.start(
            asked.request, face=FACE, streams=streams, schema=asked.schema, validators=asked.validators
        )
        self._call = job.call
        if job.call is not None:
            async with aclosing(job.call.log.follow()) as events:
                async for event in events:
                    yield event
        self.reply = await job.wait()
        if job.call is None and self.reply.text:
            # Another process has its events; the answer comes in one piece.
            yield Text(text=self.reply.text)


class Stream(_Followed):
    """The events of one call as they come: ``async for event in stream``. Afterwards `reply` has the whole.

    Raises:
        LLMError: while iterating, after the last event, when the call failed.
    """

    def __init__(self, engine: Engine, asked: Question) -> None:
        super().__init__()
        self._events = self._follow(engine, asked, streams=True)

    def __aiter__(self) -> AsyncGenerator[Event]:
        return self._events

    async def aclose(self) -> None:
        """Give up: the call is cancelled if it still runs, unless it has an idempotency key."""
        await self._events.aclose()


@dataclass(frozen=True, slots=True)
class Partial:
    """What there is of a structured answer so far. It is not valid yet, may be cut anywhere, and may still change."""

    value: Any
    attempt: int = 1
    """Rises when the provider is asked again; what came before is then no part of the answer."""


class QueryStream(_Followed, Generic[T]):
    """A structured answer as it grows: ``async for partial in stream``. Afterwards `data` is the valid value.

    A provider that shows nothing before its answer is complete has no partial ones.

    Raises:
        LLMError: while iterating, after the last partial, when the call failed.
    """

    def __init__(self, engine: Engine, asked: Question, schema: OutputSchema) -> None:
        super().__init__()
        self._schema = schema
        self._partials = self._grow(engine, asked)

    @property
    def data(self) -> T:
        """The value: an instance, where the schema was made from a class.

        Raises:
            RuntimeError: the iteration is not over.
        """
        if self.reply is None:
            raise RuntimeError("the answer is not there yet: iterate to the end first")
        return self._schema.parse(self.reply.data)

    def __aiter__(self) -> AsyncGenerator[Partial]:
        return self._partials

    async def aclose(self) -> None:
        """Give up: the call is cancelled if it still runs, unless it has an idempotency key."""
        await self._partials.aclose()

    async def _grow(self, engine: Engine, asked: Question) -> AsyncGenerator[Partial]:
        from dragoman.structured import PartialValue

        growing, attempt = PartialValue(self._schema), 1
        # What is partial can be taken back, so the model may be asked again.
        async with aclosing(self._follow(engine, asked, streams=False)) as events:
            async for event in events:
                if isinstance(event, Retrying) and event.starts_over:
                    growing, attempt = PartialValue(self._schema), attempt + 1
                elif isinstance(event, Text) and growing.feed(event.text):
                    yield Partial(growing.value, attempt)


class ObjectStream(_Followed, Generic[T]):
    """Values that come one on each line, each valid: ``async for value in stream``. Afterwards `reply` has the whole.

    A line that is not valid is passed over and told in `notices`. Until the first value is handed on, an answer
    without any is told to the model, which is asked again.

    Raises:
        LLMError: while iterating, after the last value, when the call failed.
    """

    def __init__(self, engine: Engine, asked: Question, schema: OutputSchema) -> None:
        super().__init__()
        self.notices: list[str] = []
        """The lines that were not valid, each with its number and what is wrong with it."""
        self._schema = schema
        self._values = self._judge(engine, asked)

    @classmethod
    def ask(
        cls,
        engine: Engine,
        provider: str | None,
        prompt: str,
        schema: OutputSchema,
        options: Mapping[str, Any],
    ) -> ObjectStream[T]:
        """One that puts this question. See `Dragoman.stream_objects`."""
        from dragoman.structured import JsonLinesValidator, lines_prompt_for

        checks = (JsonLinesValidator(schema), *(options.get("validators") or ()))
        asked = question(provider, lines_prompt_for(prompt, schema), {**options, "validators": checks})
        return cls(engine, asked, schema)

    def __aiter__(self) -> AsyncGenerator[T]:
        return self._values

    async def aclose(self) -> None:
        """Give up: the call is cancelled if it still runs, unless it has an idempotency key."""
        await self._values.aclose()

    async def _judge(self, engine: Engine, asked: Question) -> AsyncGenerator[T]:
        from dragoman.structured import JSONLines

        lines, heard = JSONLines(self._schema), False
        async with aclosing(self._follow(engine, asked, streams=False)) as events:
            async for event in events:
                if isinstance(event, Retrying) and event.starts_over:
                    lines, heard = JSONLines(self._schema), False
                    self.notices.clear()
                elif isinstance(event, Text) and event.text:
                    heard = True
                    for value in self._valid(lines.feed(event.text)):
                        yield value
        # Of a call that failed the last line may be cut, and is not reached.
        rest = [] if heard or self.reply is None else [*lines.feed(self.reply.text)]
        for value in self._valid([*rest, *lines.close()]):
            yield value
        if self.reply is not None:
            self.reply = self.reply.model_copy(update={"notices": (*self.reply.notices, *self.notices)})

    def _valid(self, lines: Iterable[Line]) -> Iterable[T]:
        for line in lines:
            if line.problem is not None:
                self.notices.append(f"line {line.number}: {line.problem}")
                continue
            if self._call is not None:
                # From here on nobody may begin another answer.
                self._call.streams = True
            yield line.value
