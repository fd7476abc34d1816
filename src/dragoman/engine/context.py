"""What one call carries down the layers, and what the layers leave in it for the reply."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from dragoman.adapters.base import Adapter, Completed, Failed, Outcome, Session
from dragoman.config import ProviderSettings
from dragoman.engine.advice import advised, tellable
from dragoman.engine.call import Call, interruption, session_told
from dragoman.engine.layers.thread import Known, Thread
from dragoman.engine.locks import Held
from dragoman.engine.providers.finding import Program
from dragoman.schemas import (
    Attempt,
    Bound,
    ErrorCode,
    ErrorInfo,
    Event,
    LLMRequest,
    LLMResponse,
    Message,
    Notice,
    Retrying,
    Status,
    Text,
    Thought,
    TimeoutConfig,
    Tool,
    Usage,
)

if TYPE_CHECKING:
    from dragoman.engine.layers.validation import Wanted
    from dragoman.store import Posted, TurnEnded

MAX_NOTICES = 20
EVENT_BYTES = 600
"""What an event weighs besides its text, when it is decided whether there is room for it."""


@dataclass(slots=True)
class Route:
    """Who answers, and how they are set up."""

    name: str
    adapter: Adapter
    settings: ProviderSettings
    program: Program
    timeouts: TimeoutConfig
    account: str
    """Whose login is used, as a name that tells nothing: see `account_of`."""

    shortened: frozenset[str] = frozenset()
    """The clocks that the caller set shorter than they are for this provider."""
    is_let_through: bool = False
    """Whether it is asked although its circuit is open."""

    def model(self, request: LLMRequest) -> str | None:
        """The model that is asked for; None: the provider chooses."""
        return request.model or self.settings.model


@dataclass(slots=True)
class OpenTurn:
    """A turn that is being answered."""

    conversation_id: str
    number: int
    lock: Held
    sessions: Mapping[tuple[str, str], Known]
    """Those that there were, as they were, by provider and account."""
    begun: Posted | None = None
    """What becomes of the record of its beginning; None: that is there."""
    end: TurnEnded | None = None
    ended: Posted | None = None
    """The record of its end, and what becomes of that."""
    taken_back: Posted | None = None
    """The same of the record in its place, where it did not fit."""
    is_settled: bool = False
    """Whether that is known."""


@dataclass(frozen=True)
class Saying:
    """What one attempt says to the provider."""

    prompt: str
    session: Session | None = None
    history: tuple[Message, ...] = ()


async def stay(seconds: float) -> bool:
    """Stand aside where no place is given back."""
    await anyio.sleep(seconds)
    return True


@dataclass(slots=True)
class Context:
    """One call on its way through the layers."""

    call: Call
    capture_bytes: int
    request: LLMRequest = field(init=False)
    """What is asked. The call's own request, unless another provider stands in."""
    route: Route | None = None
    turn: OpenTurn | None = None
    """The turn of a conversation that this call is; None: of none that is kept."""
    thread: Thread = field(default_factory=Thread)
    """What was said before."""
    saying: Saying | None = None
    """What the next attempt says; None: the request's prompt."""
    wanted: Wanted | None = None
    """What the answer must be."""
    prompt: str = field(init=False)
    """What the next attempt asks: the request's prompt, with what is said of a schema."""
    session_lock: Held | None = None
    """Held until the child is gone that writes to the provider's session."""
    keeps_sessions: bool = True
    """Whether a provider may keep the conversation in a session of its own."""
    bound: Bound | None = None
    """The provider's session of the last attempt."""
    deadline: float = math.inf
    """On the event loop's clock; set by the layer that routes, since the clocks are the provider's."""
    may_be_stood_in_for: Callable[[], bool] = lambda: False
    """Whether another provider is asked if this one fails."""
    stand_aside: Callable[[float], Awaitable[bool]] = stay
    """Wait so many seconds without a place, and then for one; whether there was one in time."""
    is_barred: Callable[[], bool] = lambda: False
    """Whether the circuit breaker stands against another attempt."""
    cached: LLMResponse | None = None
    """The reply of an earlier call, or of one at the same time, that answers this one too."""
    channel: str | None = None
    """What the last attempt ran in: other calls may have run in it too."""
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    argv_shape: str | None = None
    """The command line that was run, without anything a user wrote."""
    notices: list[str] = field(default_factory=list[str])
    text_bytes: int = 0
    other_bytes: int = 0
    lost_bytes: int = 0
    """Text that came when there was no more room for it."""
    was_retrying: bool = False
    """Whether the CLI was trying again by itself when a clock ended the last attempt: the provider was failing then."""
    acted: bool = False
    """Whether a tool was used that can have changed something."""
    first_output_s: float | None = None
    """None: there is no text, or nobody was there when it came."""
    ended_at: float | None = None
    """When the child ended that answered, in seconds since 1970, if an earlier server started it; None: just now."""
    model: str | None = None
    usage: Usage | None = None
    queued_at: float = field(default_factory=anyio.current_time)
    queued_s: float = 0.0
    """How much of the clock `queue` was used before a place was waited for."""
    _kept_events: int = 0

    def __post_init__(self) -> None:
        self.request = self.call.request
        self.prompt = self.request.prompt

    def may_start_over(self, failed: Failed) -> bool:
        """Whether asking once more can do no harm: nothing was changed, and no text went where it must stay."""
        return failed.error.effects == "none" and not self.acted and not (self.call.streams and self.text_bytes)

    def start_over(self, event: Retrying) -> None:
        """Forget what an attempt left: nothing of it may show in the answer of the next one."""
        self.forget()
        # Until then it has no child, and if this process ends, whoever comes next asks instead.
        self.call.host = None
        self.take(event)

    def forget(self) -> None:
        """Drop what an attempt left, but for its place in `attempts`."""
        self.notices.clear()
        self.text_bytes = self.lost_bytes = 0
        self.acted = self.was_retrying = False
        self.first_output_s = self.ended_at = self.model = self.usage = self.channel = None
        self._kept_events = self.call.log.withdraw(self._kept_events)

    def take(self, event: Event) -> None:
        """Keep what the reply needs of an event, and log it for the followers, as long as there is room."""
        if isinstance(event, Text):
            self._take_text(event)
            return
        if isinstance(event, Usage):
            self.usage = event
        elif isinstance(event, Bound):
            self.bound = event
        elif isinstance(event, Tool) and not event.reads_only:
            self.acted = True
        elif isinstance(event, Retrying):
            event = event.model_copy(update={"cause": tellable(event.cause)})
        elif isinstance(event, Notice):
            if len(self.notices) >= MAX_NOTICES:
                return
            event = event.model_copy(update={"message": tellable(event.message)})
            if event.message in self.notices:
                return
        had_room = self.other_bytes <= self.capture_bytes
        self.other_bytes += _weight(event)
        if self.other_bytes > self.capture_bytes:
            if not had_room:
                return
            event = Notice(message="it did more than there is room to tell")
        if isinstance(event, Notice):
            self.notices.append(event.message)
        self.call.log.append(event)

    def _take_text(self, event: Text) -> None:
        call = self.call
        if not self.text_bytes and (call.caught_up.is_set() or not call.is_taken_over):
            self.first_output_s = time.monotonic() - call.created
        size, room = _utf8_size(event.text), self.capture_bytes - self.text_bytes
        if size > room:
            self.lost_bytes += size - room
            # The room counts as used even if a character of several bytes left some: no later one may slip into it.
            size = room
            event = Text(text=event.text[:room].encode()[:room].decode("utf-8", "ignore"))
        self.text_bytes += size
        if event.text:
            self.call.log.append(event)

    def received(self) -> str:
        """The text that came."""
        return self.call.log.text()

    def reply(self, outcome: Outcome | None) -> LLMResponse:
        """The reply; `outcome` None: the call was cancelled, or its server ends."""
        if self.cached is not None and isinstance(outcome, Completed):
            return self.cached.model_copy(
                update={
                    "duration_s": self._duration_s(),
                    "call_id": self.call.id,
                    "notices": tuple(self.notices),
                }
            )
        status: Status = "completed"
        wanted = self.wanted
        error: ErrorInfo | None = None
        match outcome:
            case Completed():
                text = outcome.text if outcome.text is not None else self.received()
                self.call.log.share(text)
                finish_reason = outcome.finish_reason
            case Failed():
                status, text, finish_reason = "failed", self.received(), outcome.finish_reason
                error = advised(outcome.error)
            case None if self.call.is_interrupted:
                status, text, finish_reason = "interrupted", self.received(), "error"
                error = interruption("possible" if self.acted else "none")
                told = session_told(self.route.name, self.bound.native_session) if self.route and self.bound else ()
                self.notices.extend(told)
            case None:
                status, text, finish_reason = "cancelled", self.received(), "cancelled"
                error = advised(ErrorInfo.of(ErrorCode.CANCELLED, "the call was cancelled"))
        billing = self.route.adapter.profile.billing if self.route else "unknown"
        return LLMResponse(
            status=status,
            text=text,
            provider=self.route.name if self.route else self.request.provider,
            model=(outcome.model if outcome else None) or self.model,
            usage=(outcome.usage if outcome else None) or self.usage,
            billing=(outcome.billing if isinstance(outcome, Completed) else None) or billing,
            finish_reason=finish_reason,
            duration_s=self._duration_s(),
            first_output_s=None if self.first_output_s is None else round(self.first_output_s, 6),
            attempts=tuple(self.attempts),
            truncated=self.lost_bytes > 0 and status != "completed",
            notices=tuple(self.notices),
            error=error,
            call_id=self.call.id,
            data=wanted.data if wanted and status == "completed" else None,
            mechanism=wanted.mechanism if wanted else None,
            extraction=wanted.step if wanted and status == "completed" else None,
        )

    def _duration_s(self) -> float:
        call = self.call
        lasted = time.monotonic() - call.created if self.ended_at is None else self.ended_at - call.created_at
        return round(max(0.0, lasted), 6)


def _weight(event: Event) -> int:
    match event:
        case Thought(text=text) | Notice(message=text) | Retrying(cause=text):
            return EVENT_BYTES + _utf8_size(text)
        case Tool(name=name, detail=detail):
            return EVENT_BYTES + _utf8_size(name) + _utf8_size(detail)
        case _:
            return EVENT_BYTES


def _utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


Handler = Callable[[Context], Awaitable[Outcome]]
"""One way for every call: each layer is a handler around the next one."""
