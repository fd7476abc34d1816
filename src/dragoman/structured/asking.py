"""Asking again until the answer passes, for callers with an ask function of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

from pydantic import BaseModel

from dragoman.schemas import ErrorCode, ErrorInfo, error_from
from dragoman.structured.prompting import correction
from dragoman.structured.registry import ValidatorSource, judge, validators_from
from dragoman.structured.validators import (
    AsyncValidationStrategy,
    JsonSchemaValidator,
    JsonStringValidator,
    ResponseNotEmptyValidator,
)

MAX_ATTEMPTS = 3

R = TypeVar("R")


class HasMaxAttempts(Protocol):
    """Whatever says how often to ask, such as `RetryConfig`."""

    @property
    def max_attempts(self) -> int:
        """At least 1."""
        ...


async def retry_with_validation(
    llm_call_func: Callable[..., Awaitable[R]],
    messages: Sequence[Mapping[str, Any]],
    response_format: object = None,
    validation_strategies: Iterable[ValidatorSource] | None = None,
    config: HasMaxAttempts | None = None,
    **params: object,
) -> R:
    """The first answer of `llm_call_func` that passes.

    It is called with ``messages`` and ``response_format`` as keywords, and with `params`. After an answer that does
    not pass, that answer and what was wrong with it are added to the messages and it is called again. Its own
    failures are raised as they are.

    Args:
        llm_call_func: any async function that gives a text, an `LLMResponse`, or an answer in OpenAI's form.
        messages: what is asked, in OpenAI's form.
        response_format: ``{"type": "json_object"}``, ``{"type": "json_schema", …}`` or a Pydantic class.
        validation_strategies: what the answer must pass; None: not empty, and JSON when the format asks for it.
        config: has ``max_attempts``, the first one counted; None: 3.
        params: go to every call as they are.

    Raises:
        LLMError: ``schema_mismatch`` or ``malformed_output``: no answer passed; ``bad_request``: a validator or the
            schema cannot be used.
    """
    wanted = validators_from(
        default_validators(response_format) if validation_strategies is None else validation_strategies
    )
    most = MAX_ATTEMPTS if config is None else max(config.max_attempts, 1)
    said: list[Mapping[str, Any]] = [*messages]
    faults: list[str] = []
    for _ in range(most):
        response = await llm_call_func(messages=[*said], response_format=response_format, **params)
        text = text_of(response)
        faults = await judge(text, wanted)
        if not faults:
            return response
        # Some providers refuse an empty message.
        said += [{"role": "assistant", "content": text}] if text.strip() else []
        said.append({"role": "user", "content": correction(faults, wants_json=response_format is not None)})
    raise error_from(not_passed(faults, most, wants_schema=any(isinstance(one, JsonSchemaValidator) for one in wanted)))


def not_passed(faults: Sequence[str], attempts: int, *, wants_schema: bool) -> ErrorInfo:
    """The failure of a call none of whose answers passed."""
    times = "once" if attempts == 1 else f"{attempts} times"
    return ErrorInfo.of(
        ErrorCode.SCHEMA_MISMATCH if wants_schema else ErrorCode.MALFORMED_OUTPUT,
        f"No answer passed, asked {times}; the last one: {'; '.join(faults)}",
        next_step="Ask for less at once, loosen what must pass, allow more attempts, or use another model.",
    )


def default_validators(response_format: object = None) -> tuple[AsyncValidationStrategy, ...]:
    """What an answer must pass when nobody says: it is not empty, and is JSON where JSON was asked for."""
    first = ResponseNotEmptyValidator()
    if isinstance(response_format, type) and issubclass(response_format, BaseModel):
        return first, JsonSchemaValidator(response_format)
    if not isinstance(response_format, Mapping):
        return (first,)
    form = cast("Mapping[str, Any]", response_format)
    described = form.get("json_schema")
    if form.get("type") == "json_schema" and isinstance(described, Mapping):
        schema = cast("Mapping[str, Any]", described).get("schema", True)
        return first, JsonSchemaValidator(schema)
    return (first, JsonStringValidator()) if form.get("type") == "json_object" else (first,)


def text_of(response: object) -> str:
    """The text of an answer in one of the usual forms.

    Raises:
        TypeError: it has none.
    """
    if isinstance(response, str):
        return response
    text = getattr(response, "text", None)
    if isinstance(text, str):
        return text
    choices = _part(response, "choices")
    if isinstance(choices, Sequence) and choices:
        message = _part(cast("Sequence[object]", choices)[0], "message")
        content = _part(message, "content")
        # A refusal, or a call of a tool, has no content: that is an empty answer.
        return content if isinstance(content, str) else ""
    content = _part(response, "content")
    if isinstance(content, str):
        return content
    raise TypeError(f"an answer of type {type(response).__name__} has no text: neither text, content nor choices")


def _part(value: object, name: str) -> object:
    return cast("Mapping[str, object]", value).get(name) if isinstance(value, Mapping) else getattr(value, name, None)
