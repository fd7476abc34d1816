"""What may be said beside a prompt, and how it becomes a question to the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from dragoman.schemas import (
    Access,
    ErrorCode,
    LLMRequest,
    TimeoutConfig,
    TimeoutOverrides,
    TimeoutPreset,
    error_of,
)

if TYPE_CHECKING:
    from dragoman.structured import AsyncValidationStrategy, OutputSchema, SchemaSource, ValidatorSource


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
    validators: Sequence[ValidatorSource] | None
    """What the answer must pass: specs such as ``"regex:^ok"``, functions, classes. They replace the default, which is
    that it is not empty. The model is told what did not pass, and asked again."""
    max_attempts: int | None
    """How often the provider is asked for an answer that passes; None: as configured, 3."""


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
    cache: bool | Literal["only"] | None
    """Whether an earlier answer to the same question will do; ``"only"``: nobody is asked. None: as configured."""
    allow_stale: bool
    """While the provider is left alone, an answer of the cache that is too old will do, too."""
    idempotency_key: str | None
    """A call with the same key joins the one that runs, or gets its reply, instead of asking again. Such a call is a
    job: giving up the wait for it leaves it alone."""


class QueryOptions(AskOptions, total=False):
    """What may be said beside the prompt and the schema."""

    strict: bool
    """Take the answer for JSON as it is, and recover nothing from words or fences around it."""


class JobOptions(QueryOptions, total=False):
    """What may be said beside the prompt of a job."""

    schema: SchemaSource | None
    """What the answer is to match, as for `Dragoman.query`; ``data`` of the reply is then the value."""
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
    cache: bool | Literal["only"] | None
    """Whether an earlier answer to the same question will do; ``"only"``: nobody is asked. None: as configured."""
    allow_stale: bool
    """While the provider is left alone, an answer of the cache that is too old will do, too."""
    effort: str | None
    temperature: float | None
    max_tokens: int | None


@dataclass(frozen=True, slots=True)
class Question:
    """A request, with what only this process knows of what the answer must be."""

    request: LLMRequest
    schema: OutputSchema | None = None
    validators: tuple[AsyncValidationStrategy, ...] | None = None


def question(
    provider: str | None, prompt: str, options: Mapping[str, Any], schema: OutputSchema | None = None
) -> Question:
    """The question that the arguments ask; `options` are those of a `QueryOptions`.

    Raises:
        LLMError: a validator cannot be used (code ``bad_request``).
        pydantic.ValidationError: an argument is wrong.
    """
    fields = {"provider": provider, "prompt": prompt, **options}
    if schema is not None:
        # Whoever goes on with a job knows the request alone.
        fields["output_schema"] = schema.as_object()
    given: Sequence[ValidatorSource] | None = fields.get("validators")
    checks: tuple[AsyncValidationStrategy, ...] | None = None
    if given is not None and not isinstance(given, str):
        from dragoman.structured import validators_from

        checks = validators_from(given)
        fields["validators"] = tuple(spec for spec in given if isinstance(spec, str))
        if len(fields["validators"]) == len(checks):
            checks = None
        elif fields.get("background"):
            raise error_of(
                ErrorCode.BAD_REQUEST,
                "a job in the background takes validators by their names only, since it may end in another process",
                next_step="bring them through the entry points `dragoman.validators`, or leave out `background`",
            )
    return Question(LLMRequest.model_validate(fields), schema, checks)
