"""The library: ask the LLM command-line tools of this machine from Python."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypedDict, Unpack

from dragoman.config import Configuration, load_configuration
from dragoman.engine import Engine, Job
from dragoman.schemas import (
    Access,
    Combine,
    Event,
    JobInfo,
    LLMRequest,
    LLMResponse,
    ProviderStatus,
    Text,
    TimeoutConfig,
    TimeoutOverrides,
    TimeoutPreset,
    error_from,
)

if TYPE_CHECKING:
    from dragoman.conversation_manager import ConversationManager
    from dragoman.engine.conversations import Conversations
    from dragoman.engine.many import Many
    from dragoman.structured import SchemaSource

FACE = "library"


class TurnOptions(TypedDict, total=False):
    """What may be said beside the prompt of a turn."""

    model: str | None
    """Free text, as the CLI understands it; None: the CLI chooses."""
    cwd: str | Path | None
    """A folder inside the workspaces that the provider may look at; None: it sees no files."""
    access: Access
    """What the provider may do; more than the configuration allows is refused."""
    timeouts: TimeoutOverrides | TimeoutConfig | TimeoutPreset | Mapping[str, float | TimeoutPreset]
    """Some of the clocks of `TimeoutConfig`, in seconds, or a preset: ``"interactive"``, ``{"idle": 30}``."""
    fallback: Sequence[str] | None
    """Providers to ask instead when this one cannot answer; None: as configured. The reply names who answered."""
    max_history: int | None
    """Send so many earlier messages as text instead of going on in the provider's own session; all are kept."""
    if_busy: Literal["wait", "fail"]
    """What to do while another call has the conversation."""
    effort: str | None
    """How hard to think, where the provider has such levels."""
    temperature: float | None
    """Where the provider takes one."""
    max_tokens: int | None
    """The longest answer, where the provider takes that."""


class AskOptions(TurnOptions, total=False):
    """What may be said beside the prompt."""

    system_prompt: str | None
    """Instructions that stand above the prompt, and in a conversation above all that follow."""
    conversation_id: str | None
    """The conversation to go on with, or to begin under this name; None: a new one, whose id the reply has."""
    max_turns: int | None
    """How many turns the conversation may have; 0: any number; None: as configured."""
    remember: bool
    """False: the turn is kept nowhere, not even by the CLI."""
    idempotency_key: str | None
    """A call with the same key joins the one that runs, or gets its reply, instead of asking again. Such a call is a
    job: giving up the wait for it leaves it alone."""


class JobOptions(AskOptions, total=False):
    """What may be said beside the prompt of a job."""

    background: bool
    """Go on when this process ends, where the provider can; any later process finds the job by its id."""


class ManyOptions(TypedDict, total=False):
    """What may be said beside the prompts of many questions; it holds for each of them."""

    model: str | None
    """As its CLI names it: for questions to one provider."""
    system_prompt: str | None
    """Instructions above each prompt."""
    cwd: str | Path | None
    """A folder inside the workspaces that the providers may look at; None: they see no files."""
    timeouts: TimeoutOverrides | TimeoutConfig | TimeoutPreset | Mapping[str, float | TimeoutPreset]
    """The clocks of each question; ``queue`` only ends it when it is given here."""
    fallback: Sequence[str] | None
    """Providers to ask instead when one cannot answer; None: as configured."""
    remember: bool
    """True: each becomes a conversation that can be gone on with. Otherwise none is kept."""
    effort: str | None
    temperature: float | None
    max_tokens: int | None


class Stream:
    """The events of one call as they come: ``async for event in stream``. Afterwards `reply` has the whole.

    Raises:
        LLMError: while iterating, after the last event, when the call failed.
    """

    def __init__(self, engine: Engine, request: LLMRequest) -> None:
        self.reply: LLMResponse | None = None
        self._events = self._follow(engine, request)

    def __aiter__(self) -> AsyncGenerator[Event]:
        return self._events

    async def aclose(self) -> None:
        """Give up: the call is cancelled if it still runs, unless it has an idempotency key."""
        await self._events.aclose()

    async def _follow(self, engine: Engine, request: LLMRequest) -> AsyncGenerator[Event]:
        events = _job_events(self, engine, request) if request.idempotency_key else _call_events(self, engine, request)
        async with aclosing(events):
            async for event in events:
                yield event
        if self.reply is not None and self.reply.error is not None:
            raise error_from(self.reply.error, self.reply)


async def _call_events(stream: Stream, engine: Engine, request: LLMRequest) -> AsyncGenerator[Event]:
    async with engine.asking(request, face=FACE, streams=True) as call, aclosing(call.log.follow()) as events:
        async for event in events:
            yield event
        stream.reply = await call.outcome()


async def _job_events(stream: Stream, engine: Engine, request: LLMRequest) -> AsyncGenerator[Event]:
    job = await engine.jobs.start(request, face=FACE, streams=True)
    if job.call is not None:
        async with aclosing(job.call.log.follow()) as events:
            async for event in events:
                yield event
    stream.reply = await job.wait()
    if job.call is None and stream.reply.text:
        # Another process has its events; the answer comes in one piece.
        yield Text(text=stream.reply.text)


class Jobs:
    """Calls that can be found by their id, by this process and others of this machine. See `Dragoman.jobs`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def start(self, provider: str | None, prompt: str, **options: Unpack[JobOptions]) -> Job:
        """Start a call without waiting for its reply; arguments as for `Dragoman.ask`.

        A job ends with this `Dragoman`, unless it was started with ``background=True``.

        Raises:
            LLMError: its idempotency key was used for another question (code ``bad_request``).
            pydantic.ValidationError: an argument is wrong.
        """
        return await self._engine.jobs.start(_request(provider, prompt, options), face=FACE)

    async def find(self, job_id: str) -> Job:
        """The job of this id, in whichever process it runs or ran.

        Raises:
            LLMError: there is none (code ``not_found``).
        """
        return await self._engine.jobs.find(job_id)

    async def list(self, limit: int = 50) -> Sequence[JobInfo]:
        """The newest jobs of this machine, the newest first."""
        return await self._engine.jobs.listed(limit)


class Dragoman:
    """Every provider of this machine behind one object.

    ::

        async with Dragoman() as d:
            reply = await d.ask("claude", "What is a dragoman?")
            async for event in d.stream("codex", "Write a haiku", conversation_id=reply.conversation_id):
                ...

    `configuration` None: what `load_configuration` finds. An `Engine` of one's own may be given instead; it stays open.
    """

    def __init__(self, configuration: Configuration | None = None, *, engine: Engine | None = None) -> None:
        self._own_engine = engine is None
        self._engine = engine or Engine(configuration or load_configuration())
        self.jobs = Jobs(self._engine)
        """Calls that can be found by their id."""

    async def __aenter__(self) -> Self:
        if self._own_engine:
            await self._engine.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own_engine:
            await self._engine.__aexit__(kind, error, trace)

    async def ask(self, provider: str | None, prompt: str, **options: Unpack[AskOptions]) -> LLMResponse:
        """Ask one question and wait for the reply. Cancelling the wait cancels the call.

        Args:
            provider: such as ``"claude"``; None: the first that is ready.
            prompt: text, taken as it is.
            **options: see `AskOptions`.

        Raises:
            LLMError: the call failed; ``.info`` says how, ``.reply`` keeps what was received.
            pydantic.ValidationError: an argument is wrong.
        """
        request = _request(provider, prompt, options)
        if request.idempotency_key is None:
            async with self._engine.asking(request, face=FACE) as call:
                reply = await call.outcome()
        else:
            reply = await (await self._engine.jobs.start(request, face=FACE)).wait()
        if reply.error is not None:
            raise error_from(reply.error, reply)
        return reply

    def stream(self, provider: str | None, prompt: str, **options: Unpack[AskOptions]) -> Stream:
        """Ask one question and follow its events; arguments and errors as for `ask`."""
        return Stream(self._engine, _request(provider, prompt, options))

    def conversation(
        self,
        provider: str | None = None,
        conversation_id: str | None = None,
        *,
        system_prompt: str | None = None,
        max_turns: int = 10,
        **options: Unpack[TurnOptions],
    ) -> ConversationManager:
        """A conversation to be had turn by turn: a new one, or with `conversation_id` an earlier one. It asks nothing.

        `options` are those of every turn. See `ConversationManager`.
        """
        from dragoman.conversation_manager import ConversationManager

        return ConversationManager(
            self, provider, conversation_id, system_prompt=system_prompt, max_turns=max_turns, **options
        )

    @property
    def conversations(self) -> Conversations:
        """All that are kept on this machine: to list, search, show, export, take in, fork, reset and delete them."""
        return self._engine.conversations

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
        """Ask many questions at once. Each answer comes as soon as it is there; a failure is an answer, too.

        ::

            many = d.ask_many(["Is 2027 a prime?"], providers=["claude", "codex", "gemini"], combine="vote")
            async for answer in many:
                print(answer.number, answer.reply.provider, answer.reply.text)
            print(many.combined[0].text)

        ``await many.answers()`` gives all of them in the order of the questions.

        Args:
            prompts: each is put to each of `providers`, or to the first that is ready.
            providers: who is asked.
            pairs: provider and prompt of each question, instead of both.
            schema: what each answer must match: a JSON Schema, a Pydantic class or another type.
            combine: what is made of the answers to the same prompt, in ``combined`` at the end: ``"vote"``, what most
                of them say; ``"judge"``, what the provider `judge` makes of them.
            judge: the provider that judges.
            concurrency: how many at once; None: as many as the configuration allows. Never more than that.
            timeout_s: for all of them together; what is not answered then has failed by time.
            in_order: whether answers come in the order of the questions, so that a slow one holds back those behind it.
            **options: see `ManyOptions`.

        Raises:
            LLMError: that is no question, or no usable schema (code ``bad_request``).
            pydantic.ValidationError: an argument is wrong.
        """
        from dragoman.engine.many import Many, questions

        fields: dict[str, object] = {"remember": False, **options}
        if schema is not None:
            from dragoman.structured import OutputSchema

            fields["output_schema"] = OutputSchema.of(schema).schema
        requests = [
            LLMRequest.model_validate({"provider": provider, "prompt": prompt, **fields})
            for provider, prompt in questions(prompts, providers, pairs)
        ]
        return Many(
            self._engine,
            requests,
            face=FACE,
            concurrency=concurrency,
            timeout_s=timeout_s,
            in_order=in_order,
            combine=combine,
            judge=judge,
        )

    async def providers(self, *, deep: bool = False) -> list[ProviderStatus]:
        """What is known of every provider, in the order of choice. `deep` asks each for its version and login anew."""
        return await self._engine.providers.statuses(deep=deep)


def _request(provider: str | None, prompt: str, options: AskOptions) -> LLMRequest:
    return LLMRequest.model_validate({"provider": provider, "prompt": prompt, **options})
