"""The library: ask the LLM command-line tools of this machine from Python."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, Unpack

from dragoman.config import Configuration, load_configuration
from dragoman.engine import Engine
from dragoman.schemas import (
    Access,
    Event,
    LLMRequest,
    LLMResponse,
    ProviderStatus,
    TimeoutConfig,
    TimeoutOverrides,
    TimeoutPreset,
    error_from,
)


class AskOptions(TypedDict, total=False):
    """What may be said beside the prompt."""

    model: str | None
    """Free text, as the CLI understands it; None: the CLI chooses."""
    system_prompt: str | None
    """Instructions that stand above the prompt."""
    cwd: str | Path | None
    """A folder inside the workspaces that the provider may look at; None: it sees no files."""
    access: Access
    """What the provider may do; more than the configuration allows is refused."""
    timeouts: TimeoutOverrides | TimeoutConfig | TimeoutPreset | Mapping[str, float | TimeoutPreset]
    """Some of the clocks of `TimeoutConfig`, in seconds, or a preset: ``"interactive"``, ``{"idle": 30}``."""
    fallback: Sequence[str] | None
    """Providers to ask instead when this one cannot answer; None: as configured. The reply names who answered."""


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
        """Give up: the call is cancelled if it still runs."""
        await self._events.aclose()

    async def _follow(self, engine: Engine, request: LLMRequest) -> AsyncGenerator[Event]:
        async with engine.asking(request, streams=True) as call, aclosing(call.log.follow()) as events:
            async for event in events:
                yield event
            self.reply = await call.outcome()
        if self.reply.error is not None:
            raise error_from(self.reply.error, self.reply)


class Dragoman:
    """Every provider of this machine behind one object.

    ::

        async with Dragoman() as d:
            reply = await d.ask("claude", "What is a dragoman?")
            async for event in d.stream("codex", "Write a haiku"):
                ...

    `configuration` None: what `load_configuration` finds. An `Engine` of one's own may be given instead; it stays open.
    """

    def __init__(self, configuration: Configuration | None = None, *, engine: Engine | None = None) -> None:
        self._own_engine = engine is None
        self._engine = engine or Engine(configuration or load_configuration())

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
        async with self._engine.asking(_request(provider, prompt, options)) as call:
            reply = await call.outcome()
        if reply.error is not None:
            raise error_from(reply.error, reply)
        return reply

    def stream(self, provider: str | None, prompt: str, **options: Unpack[AskOptions]) -> Stream:
        """Ask one question and follow its events; arguments and errors as for `ask`."""
        return Stream(self._engine, _request(provider, prompt, options))

    async def providers(self, *, deep: bool = False) -> list[ProviderStatus]:
        """What is known of every provider, in the order of choice. `deep` asks each for its version and login anew."""
        return await self._engine.providers.statuses(deep=deep)


def _request(provider: str | None, prompt: str, options: AskOptions) -> LLMRequest:
    return LLMRequest.model_validate({"provider": provider, "prompt": prompt, **options})
