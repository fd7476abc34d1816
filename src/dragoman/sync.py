"""The library for programs without an event loop: `Dragoman` with the same methods, which wait.

::

    from dragoman.sync import Dragoman

    with Dragoman() as d:
        print(d.ask("claude", "What is a dragoman?").text)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from anyio.from_thread import start_blocking_portal

from dragoman.client import Dragoman as AsyncDragoman
from dragoman.config import Configuration
from dragoman.conversation_manager import ConversationManager as AsyncConversationManager
from dragoman.engine.conversations import Format
from dragoman.engine.jobs.job import Job as AsyncJob
from dragoman.engine.many import Many as AsyncMany
from dragoman.options import AskOptions, JobOptions, ManyOptions, QueryOptions, TurnOptions
from dragoman.schemas import (
    Combine,
    Combined,
    ConversationInfo,
    Event,
    FoundTurn,
    JobInfo,
    LLMResponse,
    ManyAnswer,
    Message,
    ProviderStatus,
    TurnInfo,
)
from dragoman.waiting import Loop, ObjectStream, QueryStream

if TYPE_CHECKING:
    from dragoman.structured import SchemaSource

T = TypeVar("T")


class Job:
    """The twin of `dragoman.Job`: a call by its id."""

    def __init__(self, loop: Loop, inner: AsyncJob) -> None:
        self._loop = loop
        self._inner = inner

    @property
    def id(self) -> str:
        """The id by which it is found."""
        return self._inner.id

    @property
    def info(self) -> JobInfo:
        """It, as it was when it was found."""
        return self._inner.info

    def reply(self) -> LLMResponse:
        """The reply so far: ``running`` until it ended."""
        return self._inner.reply()

    def wait(self, max_wait_s: float | None = None) -> LLMResponse:
        """Wait for the end, at most so long. A failure is a reply too. Giving up the wait leaves the job alone."""
        return self._loop(lambda: self._inner.wait(max_wait_s))

    def cancel(self) -> LLMResponse:
        """End it, in whichever process it runs."""
        return self._loop(self._inner.cancel)

    def events(self, page: int = 1) -> tuple[Sequence[Event], int | None]:
        """What happened in it, and the number of the next page."""
        return self._loop(lambda: self._inner.events(page))


class Jobs:
    """The twin of `dragoman.Jobs`."""

    def __init__(self, loop: Loop, inner: AsyncDragoman) -> None:
        self._loop = loop
        self._inner = inner.jobs

    def start(self, provider: str | None, prompt: str, **options: Unpack[JobOptions]) -> Job:
        """See `dragoman.Jobs.start`."""
        return Job(self._loop, self._loop(lambda: self._inner.start(provider, prompt, **options)))

    def find(self, job_id: str) -> Job:
        """See `dragoman.Jobs.find`."""
        return Job(self._loop, self._loop(lambda: self._inner.find(job_id)))

    def list(self, limit: int = 50) -> Sequence[JobInfo]:
        """See `dragoman.Jobs.list`."""
        return self._loop(lambda: self._inner.list(limit))


class Conversations:
    """The twin of `dragoman.Conversations`, with its methods and errors."""

    def __init__(self, loop: Loop, inner: AsyncDragoman) -> None:
        self._loop = loop
        self._inner = inner.conversations

    def list(self, limit: int = 50, *, page: int = 1, provider: str | None = None) -> Sequence[ConversationInfo]:
        """A page of conversations, the one that was gone on with last first."""
        return self._loop(lambda: self._inner.list(limit, page=page, provider=provider))

    def search(self, words: str, limit: int = 50) -> tuple[Sequence[FoundTurn], str | None]:
        """The conversations that have a turn with all these words, the newest first; why there may be more, if so."""
        return self._loop(lambda: self._inner.search(words, limit))

    def show(
        self, conversation_id: str, page: int | None = 1
    ) -> tuple[ConversationInfo, Sequence[TurnInfo], int | None]:
        """A conversation, a page of its turns in order, and the number of the next page. `page` None: all turns."""
        return self._loop(lambda: self._inner.show(conversation_id, page))

    def export(self, conversation_id: str, form: Format = "json") -> str:
        """The whole of a conversation as one document. The JSON can be taken in again by `take_in`."""
        return self._loop(lambda: self._inner.export(conversation_id, form))

    def take_in(self, document: str, conversation_id: str | None = None) -> str:
        """Make a conversation of an exported document, under its own id or this one; the id."""
        return self._loop(lambda: self._inner.take_in(document, conversation_id))

    def reset(self, conversation_id: str) -> None:
        """Forget every turn; the id and the system prompt stay."""
        self._loop(lambda: self._inner.reset(conversation_id))

    def delete(self, conversation_id: str) -> None:
        """Forget the conversation."""
        self._loop(lambda: self._inner.delete(conversation_id))

    def fork(self, conversation_id: str, *, upto: int | None = None, new_id: str | None = None) -> str:
        """A new conversation that has the same turns, up to number `upto`; its id."""
        return self._loop(lambda: self._inner.fork(conversation_id, upto=upto, new_id=new_id))


class ConversationManager:
    """The twin of `dragoman.ConversationManager`; `Dragoman.conversation` makes one."""

    def __init__(self, loop: Loop, inner: AsyncConversationManager) -> None:
        self._loop = loop
        self._inner = inner

    @property
    def conversation_id(self) -> str:
        """Its name, by which it can be gone on with."""
        return self._inner.conversation_id

    @property
    def messages(self) -> list[Message]:
        """What was said, oldest first; of an earlier conversation after `load` or the first message."""
        return self._inner.messages

    @property
    def message_count(self) -> int:
        """Questions and answers."""
        return self._inner.message_count

    @property
    def turn_count(self) -> int:
        """Questions that were answered."""
        return self._inner.turn_count

    @property
    def last_reply(self) -> LLMResponse | None:
        """That of the last message, with its tokens and times."""
        return self._inner.last_reply

    def load(self) -> None:
        """See `dragoman.ConversationManager.load`."""
        self._loop(self._inner.load)

    def send_message(self, user_input: str, *, provider: str | None = None, **options: Unpack[TurnOptions]) -> str:
        """See `dragoman.ConversationManager.send_message`."""
        return self._loop(lambda: self._inner.send_message(user_input, provider=provider, **options))

    def reset(self) -> None:
        """See `dragoman.ConversationManager.reset`."""
        self._loop(self._inner.reset)

    def export_history(self, filepath: str | Path) -> None:
        """See `dragoman.ConversationManager.export_history`."""
        self._loop(lambda: self._inner.export_history(filepath))


class Many:
    """The twin of what `dragoman.Dragoman.ask_many` gives. Leaving the iteration early cancels what still runs."""

    def __init__(self, loop: Loop, inner: AsyncMany) -> None:
        self._loop = loop
        self._inner = inner

    def __iter__(self) -> Iterator[ManyAnswer]:
        iterator = aiter(self._inner)

        async def following() -> ManyAnswer | None:
            return await anext(iterator, None)

        try:
            while (answer := self._loop(following)) is not None:
                yield answer
        finally:
            self._loop(self._inner.aclose)

    def answers(self) -> Sequence[ManyAnswer]:
        """All answers, in the order of the questions."""
        return self._loop(self._inner.answers)

    @property
    def combined(self) -> Sequence[Combined]:
        """What was made of the answers, once they are there."""
        return self._inner.combined

    @property
    def progress(self) -> str:
        """Such as ``3 of 7``."""
        return self._inner.progress


class Dragoman:
    """The twin of `dragoman.Dragoman`. Its engine runs in a thread of its own; any thread may call."""

    def __init__(self, configuration: Configuration | None = None) -> None:
        self._configuration = configuration
        self._stack = ExitStack()
        self._loop: Loop | None = None
        self._inner: AsyncDragoman | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            self._inner = portal.call(self._open)
            opened: AbstractContextManager[Any] = portal.wrap_async_context_manager(self._inner)
            stack.enter_context(opened)
            self._loop = Loop(portal)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def ask(self, provider: str | None, prompt: str, **options: Unpack[AskOptions]) -> LLMResponse:
        """See `dragoman.Dragoman.ask`. Ctrl-C cancels the call."""
        loop, inner = self._running()
        return loop(lambda: inner.ask(provider, prompt, **options))

    def stream(self, provider: str | None, prompt: str, **options: Unpack[AskOptions]) -> Iterator[Event]:
        """See `dragoman.Dragoman.stream`. Leaving the iteration early cancels the call."""
        loop, inner = self._running()
        yield from loop.follow(inner.stream(provider, prompt, **options))

    @overload
    def query(self, provider: str | None, prompt: str, schema: type[T], **options: Unpack[QueryOptions]) -> T: ...

    @overload
    def query(
        self, provider: str | None, prompt: str, schema: SchemaSource, **options: Unpack[QueryOptions]
    ) -> Any: ...  # noqa: ANN401 - the schema's own type

    def query(self, provider: str | None, prompt: str, schema: SchemaSource, **options: Unpack[QueryOptions]) -> Any:
        """See `dragoman.Dragoman.query`."""
        loop, inner = self._running()
        return loop(lambda: inner.query(provider, prompt, schema, **options))

    def query_reply(
        self, provider: str | None, prompt: str, schema: SchemaSource, **options: Unpack[QueryOptions]
    ) -> LLMResponse:
        """See `dragoman.Dragoman.query_reply`."""
        loop, inner = self._running()
        return loop(lambda: inner.query_reply(provider, prompt, schema, **options))

    @overload
    def stream_query(
        self, provider: str | None, prompt: str, schema: type[T], **options: Unpack[QueryOptions]
    ) -> QueryStream[T]: ...

    @overload
    def stream_query(
        self, provider: str | None, prompt: str, schema: SchemaSource, **options: Unpack[QueryOptions]
    ) -> QueryStream[Any]: ...

    def stream_query(
        self, provider: str | None, prompt: str, schema: SchemaSource, **options: Unpack[QueryOptions]
    ) -> QueryStream[Any]:
        """See `dragoman.Dragoman.stream_query`. Leaving the iteration early cancels the call."""
        loop, inner = self._running()
        return QueryStream(loop, inner.stream_query(provider, prompt, schema, **options))

    @overload
    def stream_objects(
        self, provider: str | None, prompt: str, schema: type[T], **options: Unpack[AskOptions]
    ) -> ObjectStream[T]: ...

    @overload
    def stream_objects(
        self, provider: str | None, prompt: str, schema: SchemaSource, **options: Unpack[AskOptions]
    ) -> ObjectStream[Any]: ...

    def stream_objects(
        self, provider: str | None, prompt: str, schema: SchemaSource, **options: Unpack[AskOptions]
    ) -> ObjectStream[Any]:
        """See `dragoman.Dragoman.stream_objects`. Leaving the iteration early cancels the call."""
        loop, inner = self._running()
        return ObjectStream(loop, inner.stream_objects(provider, prompt, schema, **options))

    def conversation(
        self,
        provider: str | None = None,
        conversation_id: str | None = None,
        *,
        system_prompt: str | None = None,
        max_turns: int = 10,
        **options: Unpack[TurnOptions],
    ) -> ConversationManager:
        """See `dragoman.Dragoman.conversation`."""
        loop, inner = self._running()
        talk = inner.conversation(
            provider, conversation_id, system_prompt=system_prompt, max_turns=max_turns, **options
        )
        return ConversationManager(loop, talk)

    @property
    def conversations(self) -> Conversations:
        """See `dragoman.Dragoman.conversations`."""
        return Conversations(*self._running())

    @property
    def jobs(self) -> Jobs:
        """See `dragoman.Dragoman.jobs`."""
        return Jobs(*self._running())

    def ask_many(
        self,
        prompts: Sequence[str] | None = None,
        *,
        providers: Sequence[str] | None = None,
        pairs: Sequence[tuple[str | None, str]] | None = None,
        schema: SchemaSource | None = None,
        combine: Combine = "none",
        judge: str | None = None,
        concurrency: int | None = None,
        timeout_s: float | None = None,
        in_order: bool = False,
        **options: Unpack[ManyOptions],
    ) -> Many:
        """See `dragoman.Dragoman.ask_many`."""
        loop, inner = self._running()
        many = inner.ask_many(
            prompts,
            providers=providers,
            pairs=pairs,
            schema=schema,
            combine=combine,
            judge=judge,
            concurrency=concurrency,
            timeout_s=timeout_s,
            in_order=in_order,
            **options,
        )
        return Many(loop, many)

    def providers(self, *, deep: bool = False) -> list[ProviderStatus]:
        """See `dragoman.Dragoman.providers`."""
        loop, inner = self._running()
        return loop(lambda: inner.providers(deep=deep))

    async def _open(self) -> AsyncDragoman:
        return AsyncDragoman(self._configuration)

    def _running(self) -> tuple[Loop, AsyncDragoman]:
        if self._loop is None or self._inner is None:
            raise RuntimeError("not open: use `with Dragoman() as d:`")
        return self._loop, self._inner
