"""The library: ask the LLM command-line tools of this machine from Python."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from dragoman.config import Configuration, load_configuration
from dragoman.engine import Engine, Job
from dragoman.options import AskOptions, JobOptions, ManyOptions, QueryOptions, Question, TurnOptions, question
from dragoman.schemas import Combine, JobInfo, LLMRequest, LLMResponse, ProviderStatus, error_from
from dragoman.streams import FACE, ObjectStream, QueryStream, Stream

if TYPE_CHECKING:
    from dragoman.conversation_manager import ConversationManager
    from dragoman.engine.conversations import Conversations
    from dragoman.engine.many import Many
    from dragoman.structured import SchemaSource

T = TypeVar("T")


class Jobs:
    """Calls that can be found by their id, by this process and others of this machine. See `Dragoman.jobs`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def start(self, provider: str | None, prompt: str, **options: Unpack[JobOptions]) -> Job:
        """Start a call without waiting for its reply; arguments as for `Dragoman.ask`.

        A job ends with this `Dragoman`, unless it was started with ``background=True``.

        Raises:
            LLMError: its idempotency key was used for another question, or its schema or a validator cannot be used
                (code ``bad_request``).
            pydantic.ValidationError: an argument is wrong.
        """
        fields = dict(options)
        source = fields.pop("schema", None)
        schema = None
        if source is not None:
            from dragoman.structured import OutputSchema

            schema = OutputSchema.of(source)
        asked = question(provider, prompt, fields, schema)
        return await self._engine.jobs.start(asked.request, face=FACE, schema=asked.schema, validators=asked.validators)

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
        return await self._reply(question(provider, prompt, options))

    def stream(self, provider: str | None, prompt: str, **options: Unpack[AskOptions]) -> Stream:
        """Ask one question and follow its events; arguments and errors as for `ask`.

        Text that was handed on cannot be taken back: after it an answer that does not pass is a failure at once.
        """
        return Stream(self._engine, question(provider, prompt, options))

    @overload
    async def query(self, provider: str | None, prompt: str, schema: type[T], **options: Unpack[QueryOptions]) -> T: ...

    @overload
    async def query(
        self, provider: str | None, prompt: str, schema: SchemaSource, **options: Unpack[QueryOptions]
    ) -> Any: ...  # noqa: ANN401 - the schema's own type

    async def query(
        self, provider: str | None, prompt: str, schema: SchemaSource, **options: Unpack[QueryOptions]
    ) -> Any:
        """Ask for an answer that matches a schema, and have it as a value that does.

        The model is told what is wrong with an answer that does not match, and asked again.

        Args:
            provider: such as ``"claude"``; None: the first that is ready.
            prompt: text; what JSON is wanted need not be said in it.
            schema: a Pydantic class or any type that Pydantic knows, a JSON Schema, or ``"name, age int"``.
            **options: see `QueryOptions`.

        Returns:
            An instance of the class or type, or for a JSON Schema the plain value.

        Raises:
            LLMError: the call failed; ``schema_mismatch``: no answer matched; ``bad_request``: nothing was asked,
                because the schema or a validator cannot be used.
            pydantic.ValidationError: an argument is wrong.
        """
        from dragoman.structured import OutputSchema

        wanted = OutputSchema.of(schema)
        return wanted.parse((await self.query_reply(provider, prompt, wanted, **options)).data)

    async def query_reply(
        self, provider: str | None, prompt: str, schema: SchemaSource, **options: Unpack[QueryOptions]
    ) -> LLMResponse:
        """Like `query`, but the whole reply: ``data`` is the plain value, ``mechanism`` and ``extraction`` tell how
        it was come by, ``attempts`` what every one was found wrong with. Arguments and errors as for `query`."""
        from dragoman.structured import OutputSchema

        return await self._reply(question(provider, prompt, options, OutputSchema.of(schema)))

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
        """Like `query`, with a look at the answer while it grows: see `QueryStream`.

        Raises:
            LLMError: ``bad_request``: the schema or a validator cannot be used; other failures while iterating.
            pydantic.ValidationError: an argument is wrong.
        """
        from dragoman.structured import OutputSchema

        wanted = OutputSchema.of(schema)
        return QueryStream(self._engine, question(provider, prompt, options, wanted), wanted)

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
        """Ask for many values of one schema, and have each as soon as its line is there: see `ObjectStream`.

        Arguments and errors as for `stream_query`.
        """
        from dragoman.structured import OutputSchema

        return ObjectStream[Any].ask(self._engine, provider, prompt, OutputSchema.of(schema), options)

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

            fields["output_schema"] = OutputSchema.of(schema).as_object()
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

    async def _reply(self, asked: Question) -> LLMResponse:
        """The reply, when it is no failure."""
        if asked.request.idempotency_key is None:
            async with self._engine.asking(
                asked.request, face=FACE, schema=asked.schema, validators=asked.validators
            ) as call:
                reply = await call.outcome()
        else:
            job = await self._engine.jobs.start(
                asked.request, face=FACE, schema=asked.schema, validators=asked.validators
            )
            reply = await job.wait()
        if reply.error is not None:
            raise error_from(reply.error, reply)
        return reply
