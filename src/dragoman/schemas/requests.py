"""What a caller asks for."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    field_serializer,
    field_validator,
)

from dragoman.schemas.text import Writable, writable

Access = Literal["read-only", "edit", "full"]
"""What the child may do. Ordered from least to most."""

ACCESS_ORDER: tuple[Access, ...] = get_args(Access)

_CONVERSATION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
"""A conversation's name: what can stand in a URL, a file's name and a terminal as it is."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TimeoutConfig(BaseModel):
    """The seven clocks of a call, in seconds. Each failure by time names the clock that fired."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    queue: Seconds = 60.0
    """Waiting for a free place."""
    spawn: Seconds = 5.0
    """Starting the process."""
    startup: Seconds = 60.0
    """From the start to the first sign of life."""
    idle: Seconds = 180.0
    """Between two signs of life. The CLI's own retries are none."""
    attempt: Seconds = 900.0
    """One run, from start to reply."""
    call: Seconds = 1800.0
    """The whole call, queue and every attempt included."""
    grace: Seconds = 5.0
    """For a child to end by itself, from when it is told to stop until it is killed. No reply waits for it."""

    @classmethod
    def interactive(cls) -> TimeoutConfig:
        """The preset for a person who waits at a prompt: short clocks."""
        return cls(spawn=5.0, startup=10.0, idle=5.0, attempt=60.0, call=60.0, grace=5.0)

    def raised(self, floor: TimeoutOverrides) -> TimeoutConfig:
        """These clocks, those that are shorter than `floor`'s raised to it."""
        return self.model_copy(
            update={name: max(getattr(self, name), seconds) for name, seconds in floor.named().items()}
        )

    def shorter_than(self, other: TimeoutConfig) -> frozenset[str]:
        """The names of the clocks that are set shorter than those of `other`."""
        return frozenset(name for name in TimeoutConfig.model_fields if getattr(self, name) < getattr(other, name))


TimeoutPreset = Literal["default", "interactive"]


class TimeoutOverrides(BaseModel):
    """Some of the clocks of `TimeoutConfig`; what is left out keeps its value, or gets that of the preset."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    preset: TimeoutPreset | None = None
    queue: Seconds | None = None
    spawn: Seconds | None = None
    startup: Seconds | None = None
    idle: Seconds | None = None
    attempt: Seconds | None = None
    call: Seconds | None = None
    grace: Seconds | None = None

    def named(self) -> dict[str, float]:
        """The clocks that are given."""
        return self.model_dump(exclude_none=True, exclude={"preset"})

    def over(self, base: TimeoutConfig, floor: TimeoutOverrides | None = None) -> TimeoutConfig:
        """`base`, or the preset raised to `floor`, with these clocks in place of its own.

        A longer ``call`` alone lengthens ``attempt`` with it.
        """
        if not self.model_fields_set:
            return base
        if self.preset is not None:
            preset = TimeoutConfig.interactive() if self.preset == "interactive" else TimeoutConfig()
            base = preset.raised(floor) if floor else preset
        changed = self.named()
        if self.call is not None and self.attempt is None:
            changed["attempt"] = max(base.attempt, self.call)
        return base.model_copy(update=changed)


def _overrides(value: object) -> object:
    """A preset's name, or a whole `TimeoutConfig`, as the overrides they stand for."""
    if isinstance(value, str):
        return {"preset": value}
    return value.model_dump(exclude_unset=True) if isinstance(value, TimeoutConfig) else value


Timeouts = Annotated[TimeoutOverrides, BeforeValidator(_overrides)]
"""`TimeoutOverrides`, which may be given as the name of a preset or as a `TimeoutConfig` too."""


def _conversation_id(value: str) -> str:
    if not _CONVERSATION_ID.fullmatch(value):
        raise ValueError(
            "an id has up to 128 letters (a-z, A-Z), digits and . _ : -, and begins with a letter or a digit"
        )
    return value


ConversationId = Annotated[str, AfterValidator(_conversation_id)]
"""What names a conversation."""


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    role: Literal["user", "assistant", "system"]
    content: str
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])


class LLMRequest(BaseModel):
    """One question to one provider.

    ``prompt`` is text and nothing else: it is never read as a flag, a slash command or a file mention.
    Without ``cwd`` the provider gets an empty folder and no tools; with it, it may look at that folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    prompt: Writable
    provider: Writable | None = Field(default=None, description="Which provider to ask; None: the first that is ready")
    model: str | None = Field(default=None, min_length=1, max_length=200)
    system_prompt: Writable | None = None
    cwd: Path | None = None
    access: Access = "read-only"
    timeouts: Timeouts = TimeoutOverrides()
    fallback: tuple[Writable, ...] | None = None
    """Providers to ask, in this order, when the first cannot answer; None: as configured; empty: none."""
    conversation_id: ConversationId | None = None
    """The conversation to go on with, or to begin under this name. None: a new one, with a name of ours."""
    remember: bool | None = None
    """Whether the turn is kept, so that the conversation can go on; False: it is not, not even by the CLI. None: a
    conversation that is named is, and of others what the configuration says.
    """
    max_history: NonNegativeInt | None = None
    """Send so many earlier messages as text, and leave the provider's own session; None: go on in that session."""
    max_turns: NonNegativeInt | None = None
    """How many turns the conversation may have; 0: any number; None: as configured."""
    if_busy: Literal["wait", "fail"] = "wait"
    """What to do while another call has the conversation."""
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=200)
    """A call with the same key gets the reply of the first one instead of a new one."""
    background: bool = False
    """Go on when this process ends; whoever comes next on this machine can fetch the answer by its job id."""
    effort: str | None = Field(default=None, min_length=1, max_length=40)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    max_tokens: PositiveInt | None = None
    output_schema: dict[str, Any] | None = None
    """The JSON Schema that the answer is to match."""
    validators: tuple[Writable, ...] | None = None
    """What the answer must pass, such as ``regex:^ok``; None: it is not empty. They replace the default."""
    max_attempts: Annotated[int, Field(ge=1, le=20)] | None = None
    """How often the provider is asked for an answer that passes; None: 3."""
    strict: bool = False
    """Take the answer for JSON as it is, and recover nothing."""
    cache: bool | Literal["only"] | None = None
    """Whether an earlier answer to the same question will do; ``"only"``: nobody is asked. None: as configured."""
    allow_stale: bool = False
    """While the provider is left alone, an answer that is too old will do, too. It needs the cache."""

    @field_validator("prompt", "system_prompt", "model")
    @classmethod
    def _no_nul(cls, value: str | None) -> str | None:
        # A NUL ends a C string: CLIs cut there or replace it, so the model would see another prompt.
        if value is not None and "\0" in value:
            raise ValueError("contains a NUL character; remove it")
        return value

    @field_validator("cwd", mode="before")
    @classmethod
    def _is_named(cls, value: object) -> object:
        if value == "":
            raise ValueError("is empty; name a folder, or leave it out")
        return value

    @field_serializer("cwd", when_used="json-unless-none")
    def _written(self, value: Path) -> str:
        # A folder's name may hold bytes that are no text; whoever reads this just does not find it.
        return writable(str(value))

    @field_validator("prompt")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; write a question")
        return value

    @field_validator("model")
    @classmethod
    def _not_a_flag(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("-"):
            raise ValueError(f"is {value!r}: a model name does not begin with a dash")
        return value
