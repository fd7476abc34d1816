"""Every key of the configuration, its default and what it may be. `docs/configuration.md` says what each is for.

All keys are validated from the first release, also those whose feature comes later, so that a file stays valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dragoman.config.paths import absolute
from dragoman.schemas import Access, Billing, Seconds, TimeoutOverrides

KIB = 1024
MIB = 1024 * KIB

LogLevel = Literal["TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"]
Transport = Literal["stdio", "sse", "streamable-http"]


def _context(info: ValidationInfo) -> dict[str, Any]:
    return info.context or {}


def _against_its_file(path: Path, info: ValidationInfo) -> Path:
    return absolute(path, _context(info).get("base"))


def _command(value: object, info: ValidationInfo) -> object:
    """One string is one program. A program with a folder in its name is relative to the file that names it."""
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, (list, tuple)) or not value:
        return cast("object", value)
    program, *rest = cast("Sequence[object]", value)
    if isinstance(program, str) and ("/" in program or program.startswith("~")):
        program = str(absolute(Path(program), _context(info).get("base")))
    return (program, *rest)


def _none_by_name(value: object) -> object:
    return None if value == "none" else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("it must not contain a NUL character")
    return value


Words = Annotated[str, Field(min_length=1), AfterValidator(_no_nul)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
FilePath = Annotated[Path, AfterValidator(_against_its_file)]
Command = Annotated[tuple[Words, ...], BeforeValidator(_command)]
Argument = Annotated[str, AfterValidator(_no_nul)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
VariablePattern = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\*?$")]
# TOML and the environment have no null, so the word stands for it.
OrNone = BeforeValidator(_none_by_name)


class _Section(BaseModel):
    # defer_build: the validators are built once, by the first load, not each by itself at import.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class ProviderSettings(_Section):
    """``[providers.NAME]``: one provider."""

    enabled: bool = True
    command: Command = ()
    """The program and what always comes first after it; empty: the adapter looks on PATH."""
    model: Words | None = None
    args: tuple[Argument, ...] = ()
    env: dict[VariableName, Argument] = Field(default_factory=dict[str, str])
    pass_env: tuple[VariablePattern, ...] = ()
    credentials: Literal["subscription", "inherit"] = "subscription"
    access: Access = "read-only"
    """The most a caller may ask for."""
    workspaces: tuple[FilePath, ...] | None = None
    """None: those of the top level."""
    max_concurrency: PositiveInt = 3
    requests_per_minute: Annotated[PositiveInt | None, OrNone] = None
    tokens_per_minute: Annotated[PositiveInt | None, OrNone] = None
    """Of question and answer together; None: any number."""
    start_gap_s: Annotated[NonNegativeFloat | None, OrNone] = None
    """Between two starts with one login, whichever Dragoman of this machine starts them; None: the provider's own."""
    fallback: tuple[Name, ...] = ()
    """Who is asked instead when this one cannot answer, best first."""
    warm: bool = False
    timeouts: TimeoutOverrides = TimeoutOverrides()

    @field_validator("model")
    @classmethod
    def _not_a_flag(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("-"):
            raise ValueError("a model name does not begin with a dash")
        return value


class RetryConfig(_Section):
    """``[retry]``: how often and how soon a call is tried again. Delays are seconds."""

    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    initial_delay_s: NonNegativeFloat = 0.1
    """Before the second attempt after a local failure, such as a crash."""
    upstream_delay_s: NonNegativeFloat = 1.0
    """Before the second attempt after the provider was busy or out of reach."""
    max_delay_s: NonNegativeFloat = 30.0
    exponential_base: Annotated[float, Field(ge=1)] = 2.0
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.25
    """The share of a delay that is left to chance."""


class BreakerSettings(_Section):
    """``[breaker]``: when a failing provider is left alone, and for how long."""

    failure_threshold: PositiveInt = 5
    success_threshold: PositiveInt = 2
    open_s: Seconds = 60.0
    half_open_permits: PositiveInt = 1
    never_open_last: bool = True
    """Keep trying the only provider that is left."""


class LimitSettings(_Section):
    """``[limits]``: what a call may use."""

    max_concurrency: PositiveInt = 10
    """Calls at once, all providers together."""
    queue: NonNegativeInt = 64
    line_bytes: PositiveInt = 8 * MIB
    capture_bytes: PositiveInt = 16 * MIB
    stderr_bytes: PositiveInt = 256 * KIB
    max_depth: NonNegativeInt = 2
    prompt_bytes: PositiveInt = 10 * MIB


class ConversationSettings(_Section):
    """``[conversations]``: what is kept and replayed."""

    remember: bool = True
    """Whether calls that name no conversation begin one; otherwise nothing of them is kept but statistics and jobs."""
    max_history: NonNegativeInt = 20
    max_turns: NonNegativeInt = 0
    """0: no limit."""
    transcript: Literal["natural", "json"] = "natural"
    """How a conversation is told again to a provider that does not know it."""
    native_sessions: bool = True
    """Whether a provider keeps a conversation in a session of its own too, where it can."""
    keep_days: Annotated[PositiveFloat | None, OrNone] = None
    keep_mb: Annotated[PositiveFloat | None, OrNone] = None


class CacheSettings(_Section):
    """``[cache]``: answers kept for the same question."""

    enabled: bool = False
    ttl_s: Seconds = 3600.0
    max_mb: PositiveFloat = 256.0


class ServerSettings(_Section):
    """``[server]``: the MCP server."""

    transport: Transport = "stdio"
    host: Words = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    max_wait_s: Annotated[NonNegativeFloat | Literal["by-client"] | None, OrNone] = "by-client"
    """After this long a tool hands over a job id instead of an answer; None: it waits to the end."""
    answer_bytes: Annotated[int, Field(ge=1000)] | Literal["by-client"] = "by-client"
    """How much of an answer one result holds; the rest is read by page."""


class LogSettings(_Section):
    """``[log]``: what is written to stderr, and to a file."""

    level: Annotated[LogLevel, BeforeValidator(_upper)] = "WARNING"
    as_json: bool = Field(default=False, alias="json")
    content: bool = False
    """Whether prompts and answers are logged, redacted."""
    file: FilePath | None = None


class DeclaredSettings(_Section):
    """``[declared.NAME]``: a provider told as data, for a command that no adapter knows."""

    command: Command = ()
    args: tuple[Argument, ...] = ()
    title: str = ""
    description: str = ""
    prompt: Literal["stdin", "arg", "file"] = "stdin"
    model_flag: Words | None = None
    """Such as ``--model``: the value follows as ``--model=VALUE``."""
    output: Literal["text", "json", "jsonl"] = "text"
    text: Words = "text"
    """Where the answer stands in the JSON, such as ``message.content``."""
    billing: Billing = "unknown"

    @model_validator(mode="after")
    def _has_a_command(self, info: ValidationInfo) -> DeclaredSettings:
        # One layer may hold a part of the table; only what all layers make together must be whole.
        if not self.command and not _context(info).get("partial"):
            raise ValueError("it needs a 'command'")
        return self


class Configuration(_Section):
    """Everything that can be configured. Paths are absolute."""

    order: tuple[Name, ...] = ()
    """Providers to prefer, best first; the others follow in their own order."""
    workspaces: tuple[FilePath, ...] = ()
    """Folders a call's ``cwd`` may lie in, for providers that name none of their own."""
    providers: dict[Name, ProviderSettings] = Field(default_factory=dict[str, ProviderSettings])
    retry: RetryConfig = Field(default_factory=RetryConfig)
    breaker: BreakerSettings = Field(default_factory=BreakerSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    conversations: ConversationSettings = Field(default_factory=ConversationSettings)
    cache: CacheSettings = Field(default_factory=CacheSettings)
    server: ServerSettings = Field(default_factory=ServerSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    declared: dict[Name, DeclaredSettings] = Field(default_factory=dict[str, DeclaredSettings])

    def provider(self, name: str) -> ProviderSettings:
        """The settings of a provider; the defaults when nothing is said about it."""
        return self.providers.get(name) or _unmentioned()

    def workspaces_of(self, name: str) -> tuple[Path, ...]:
        """The folders this provider may be shown: its own when it has them, else the top level's."""
        own = self.provider(name).workspaces
        return self.workspaces if own is None else own


@cache
def _unmentioned() -> ProviderSettings:
    return ProviderSettings()
