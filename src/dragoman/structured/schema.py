"""What an answer is to look like: a JSON Schema 2020-12, checked before anything is asked, compiled once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from pydantic import (
    PydanticSchemaGenerationError,
    PydanticUndefinedAnnotation,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)

from dragoman.schemas import ErrorCode, LLMError, error_of
from dragoman.structured.problems import Problem, kind_of, path_of, shown
from dragoman.structured.strict_json import NotJSONError, parse_json

if TYPE_CHECKING:
    from dragoman.structured.compiler import Compiled

MAX_DEPTH = 64
MAX_BYTES = 256 * 1024
MAX_PROBLEMS = 10

SchemaSource = Mapping[str, Any] | bool | str | Any
"""A JSON Schema as a mapping or as JSON text, the short form ``'name, age int'``, a Pydantic class, or any type
that Pydantic knows, such as ``list[Model]``."""

_NEXT = "Correct the schema and ask again; nothing was asked."


class OutputSchema:
    """A schema that is known to be usable. Make it with `of`, which keeps those that were used lately."""

    def __init__(
        self, schema: Mapping[str, Any] | bool, text: str, adapter: TypeAdapter[Any] | None, kind: object
    ) -> None:
        self.schema = schema
        """The JSON Schema. Do not change it."""
        self.text = text
        """The same as compact JSON."""
        self.type = kind
        """The Python type it was made from, or None."""
        self._adapter = adapter
        self._compiled: Compiled = _compiled(schema)

    @classmethod
    def of(cls, source: SchemaSource) -> OutputSchema:
        """The schema that `source` stands for, checked and compiled.

        Raises:
            LLMError: ``bad_request``: it is no usable schema; the message names the place and the fault.
        """
        if isinstance(source, OutputSchema):
            return source
        if isinstance(source, str):
            return _of_written(source)
        if isinstance(source, (Mapping, bool)):
            return _of_text(_as_text(cast("Mapping[str, Any] | bool", source)))
        try:
            return _of_type(source)
        except TypeError as error:
            if "unhashable" not in str(error):
                raise
            return _made_of_type(source)

    def as_object(self) -> dict[str, Any]:
        """The JSON Schema as an object, also where it is only true or false."""
        match self.schema:
            case True:
                return {}
            case False:
                return {"not": {}}
            case _:
                return dict(self.schema)

    def validate(self, value: object) -> list[Problem]:
        """What is wrong with `value`, the faults first that explain others; empty when it is valid."""
        problems = self._compiled.problems(value, MAX_PROBLEMS)
        if problems or self._adapter is None:
            return problems
        try:
            self._adapter.validate_json(json.dumps(value))
        except ValidationError as error:
            return _problems_of(error)
        return []

    def accepts(self, value: object) -> bool:
        """Whether `value` is valid."""
        return self._compiled.accepts(value) and (self._adapter is None or not self.validate(value))

    def parse(self, value: object) -> Any:  # noqa: ANN401 - the caller's own type
        """`value` as what the schema was made from: an instance of the Pydantic class, else `value` itself.

        Raises:
            LLMError: ``schema_mismatch``: it is not valid.
        """
        problems = self.validate(value)
        if problems:
            raise error_of(
                ErrorCode.SCHEMA_MISMATCH,
                "The value does not match the schema: " + "; ".join(map(str, problems)),
                next_step="Ask again, or loosen the schema.",
            )
        return value if self._adapter is None else self._adapter.validate_json(json.dumps(value))

    def __repr__(self) -> str:
        return f"OutputSchema({self.text[:60]}{'…' * (len(self.text) > 60)})"


def unusable(message: str) -> LLMError:
    """The error for a schema that cannot be used."""
    return error_of(ErrorCode.BAD_REQUEST, f"The schema cannot be used: {message}.", next_step=_NEXT)


def _of_written(text: str) -> OutputSchema:
    from dragoman.structured.shorthand import schema_of

    stripped = text.strip()
    if stripped[:1] not in ("{", "[") and stripped not in ("true", "false"):
        return _of_text(_as_text(schema_of(text)))
    if len(text) > MAX_BYTES:
        raise _too_large(len(text))
    try:
        schema = parse_json(stripped)
    except NotJSONError as error:
        raise unusable(f"it is not JSON: {error}") from None
    return _of_text(_as_text(schema))


@lru_cache(maxsize=64)
def _of_text(text: str) -> OutputSchema:
    return OutputSchema(json.loads(text), text, None, None)


@lru_cache(maxsize=64)
def _of_type(kind: object) -> OutputSchema:
    return _made_of_type(kind)


def _made_of_type(kind: object) -> OutputSchema:
    try:
        adapter = TypeAdapter[Any](cast("Any", kind))
        text = _as_text(adapter.json_schema())
    except PydanticSchemaGenerationError:
        raise unusable(f"{shown(kind)} is neither a JSON Schema nor a type that Pydantic knows") from None
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        raise unusable(f"Pydantic makes no JSON Schema of {kind!r}: {error.message}") from None
    return OutputSchema(json.loads(text), text, adapter, kind)


def _compiled(schema: Mapping[str, Any] | bool) -> Compiled:
    # Half of what a schema costs at first use is the import.
    from dragoman.structured.compiler import UnusableSchemaError, compile_schema

    try:
        return compile_schema(schema)
    except UnusableSchemaError as error:
        raise unusable(str(error)) from None


def _as_text(schema: object) -> str:
    """The schema as compact JSON, when it is JSON and within the bounds."""
    if not isinstance(schema, (Mapping, bool)):
        raise unusable(f"it is {kind_of(schema)}; a schema is an object")
    _check_bounds(cast("object", schema))
    try:
        text = json.dumps(schema, allow_nan=False, separators=(",", ":"), ensure_ascii=False, default=dict)
        text.encode()
    except UnicodeEncodeError:
        raise unusable("it has half a character in it (an unpaired surrogate)") from None
    except ValueError as error:
        raise unusable(f"it is not JSON: {error}") from None
    if len(text) > MAX_BYTES:
        raise _too_large(len(text))
    return text


def _check_bounds(schema: object) -> None:
    """Depth first, so that a mapping that contains itself ends at the bound and not in memory."""
    pending: list[tuple[tuple[str | int, ...], object]] = [((), schema)]
    seen = 0
    while pending:
        path, part = pending.pop()
        seen += 1
        if len(path) > MAX_DEPTH:
            raise unusable(f"it is nested more than {MAX_DEPTH} levels deep, at {path_of(path[:6])}…")
        if seen > MAX_BYTES // 2:
            raise _too_large(seen)
        if isinstance(part, Mapping):
            for name, below in cast("Mapping[object, object]", part).items():
                if not isinstance(name, str):
                    raise unusable(f"at {path_of(path)}: the name {name!r} is not a string")
                pending.append(((*path, name), below))
        elif isinstance(part, (list, tuple)):
            pending += [((*path, index), below) for index, below in enumerate(cast("list[object]", part))]
        elif part is not None and not isinstance(part, (str, int, float, bool)):
            raise unusable(f"at {path_of(path)}: {type(part).__name__} is not a JSON value")


def _too_large(size: int) -> LLMError:
    return unusable(f"it is too large ({size:,}; at most {MAX_BYTES:,} characters are taken)")


def _problems_of(error: ValidationError) -> list[Problem]:
    """What a Pydantic class found that its JSON Schema cannot say."""
    details = error.errors(include_url=False, include_context=False)
    return [
        Problem(
            path_of(detail["loc"]),
            f"a value that passes the check of its type ({detail['msg'].removeprefix('Value error, ').rstrip('.')})",
            shown(detail["input"]),
        )
        for detail in details[:MAX_PROBLEMS]
    ]
