"""What one call carries down the layers, and what the layers leave in it for the reply."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from dragoman.adapters.base import Adapter, Completed, Failed, Outcome
from dragoman.config import ProviderSettings
from dragoman.engine.advice import advised
from dragoman.engine.call import Call
from dragoman.engine.finding import Program
from dragoman.schemas import (
    Attempt,
    ErrorCode,
    ErrorInfo,
    Event,
    LLMResponse,
    Notice,
    Status,
    Text,
    Thought,
    TimeoutConfig,
    Tool,
    Usage,
)

MAX_NOTICES = 20
EVENT_CHARS = 100
"""What an event weighs besides its text, when it is decided whether there is room for it."""


@dataclass(slots=True)
class Route:
    """Who answers, and how they are set up."""

    name: str
    adapter: Adapter
    settings: ProviderSettings
    program: Program
    timeouts: TimeoutConfig


@dataclass(slots=True)
class Context:
    """One call on its way through the layers."""

    call: Call
    capture_bytes: int
    route: Route | None = None
    deadline: float = 0.0
    """On the event loop's clock; set by the layer that routes, since the clocks are the provider's."""
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    texts: list[str] = field(default_factory=list[str])
    argv_shape: str | None = None
    """The command line that was run, without anything a user wrote."""
    notices: list[str] = field(default_factory=list[str])
    text_chars: int = 0
    other_chars: int = 0
    lost_chars: int = 0
    """Text that came when there was no more room for it."""
    acted: bool = False
    """Whether a tool was used that can have changed something."""
    first_output_s: float | None = None
    model: str | None = None
    usage: Usage | None = None
    queued_at: float = field(default_factory=anyio.current_time)

    def take(self, event: Event) -> None:
        """Keep what the reply needs of an event, and log it for the followers, as long as there is room."""
        match event:
            case Text(text=text):
                if self.first_output_s is None:
                    self.first_output_s = time.monotonic() - self.call.created
                room = max(self.capture_bytes - self.text_chars, 0)
                if len(text) > room:
                    self.lost_chars += len(text) - room
                    if room == 0:
                        return
                    event = Text(text=text[:room])
                self.texts.append(event.text)
                self.text_chars += len(event.text)
            case Notice(message=message):
                if message not in self.notices and len(self.notices) < MAX_NOTICES:
                    self.notices.append(message)
            case Usage():
                self.usage = event
            case Tool(reads_only=False):
                self.acted = True
            case _:
                pass
        if not isinstance(event, Text):
            self.other_chars += _weight(event)
            if self.other_chars > self.capture_bytes:
                return
        self.call.log.append(event)

    def received(self) -> str:
        """The text that came."""
        return "".join(self.texts)

    def reply(self, outcome: Outcome | None) -> LLMResponse:
        """The reply; `outcome` None: the call was cancelled."""
        status: Status = "completed"
        error: ErrorInfo | None = None
        match outcome:
            case Completed():
                text = outcome.text if outcome.text is not None else self.received()
                finish_reason = outcome.finish_reason
            case Failed():
                status, text, finish_reason = "failed", self.received(), outcome.finish_reason
                error = advised(outcome.error)
            case None:
                status, text, finish_reason = "cancelled", self.received(), "cancelled"
                error = advised(ErrorInfo.of(ErrorCode.CANCELLED, "the call was cancelled"))
        billing = self.route.adapter.profile.billing if self.route else "unknown"
        return LLMResponse(
            status=status,
            text=text,
            provider=self.route.name if self.route else self.call.request.provider,
            model=(outcome.model if outcome else None) or self.model,
            usage=(outcome.usage if outcome else None) or self.usage,
            billing=(outcome.billing if isinstance(outcome, Completed) else None) or billing,
            finish_reason=finish_reason,
            duration_s=round(time.monotonic() - self.call.created, 6),
            first_output_s=None if self.first_output_s is None else round(self.first_output_s, 6),
            attempts=tuple(self.attempts),
            truncated=self.lost_chars > 0 and status != "completed",
            notices=tuple(self.notices),
            error=error,
            call_id=self.call.id,
        )


def _weight(event: Event) -> int:
    match event:
        case Thought(text=text) | Notice(message=text):
            return EVENT_CHARS + len(text)
        case Tool(name=name, detail=detail):
            return EVENT_CHARS + len(name) + len(detail or "")
        case _:
            return EVENT_CHARS


Handler = Callable[[Context], Awaitable[Outcome]]
"""One way for every call: each layer is a handler around the next one."""
