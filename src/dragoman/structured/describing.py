"""jsonschema's errors, told as problems: the value's place, what should stand there, what does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from jsonschema.exceptions import ValidationError

from dragoman.structured.pointers import resolved
from dragoman.structured.problems import Problem, listed, path_of, shortened, shown

_FIRST = ("type", "required", "additionalProperties", "const", "enum")
"""Faults that explain others, and so come first where several are at one place."""


Expected = Callable[[Any, ValidationError, Any], str]
"""Words for a keyword's value, an error and the root of the schema."""


def problems_from(errors: Iterable[ValidationError], most: int, root: object = None) -> list[Problem]:
    """The best `most` problems, those nearest to the root first; alternatives are looked into.

    `root` is the schema that ``#/…`` refers to.
    """
    found: list[tuple[int, int, Problem]] = []
    for error in errors:
        for leaf in _leaves(error):
            problem = _problem(leaf, root)
            found.append((len(leaf.absolute_path), _rank(leaf), problem))
    found.sort(key=lambda entry: entry[:2])
    return list(dict.fromkeys(problem for _, _, problem in found))[:most]


def _rank(error: ValidationError) -> int:
    keyword = str(error.validator)
    return _FIRST.index(keyword) if keyword in _FIRST else len(_FIRST)


def _leaves(error: ValidationError) -> list[ValidationError]:
    """The errors that tell most: for alternatives, those of the one that was meant."""
    if error.validator not in ("anyOf", "oneOf") or not error.context:
        return [error]
    branches: dict[int | str, list[ValidationError]] = {}
    for below in error.context:
        branch = below.relative_schema_path[0] if below.relative_schema_path else -len(branches)
        branches.setdefault(branch, []).append(below)
    near = [errors for errors in branches.values() if not any(_is_other_kind(below) for below in errors)]
    if not near:
        return _tags(list(branches.values())) or [error]
    meant = min(near, key=len)
    if len(near) > 1 and sum(len(errors) == len(meant) for errors in near) > 1:
        return [error]
    return [leaf for below in meant for leaf in _leaves(below)]


def _is_other_kind(error: ValidationError) -> bool:
    """Whether an error of an alternative says that another one was meant: another type, or another tag."""
    keyword = error.validator
    if not error.relative_path:
        return keyword in ("type", "const", "enum") or error.schema is False
    return len(error.relative_path) == 1 and keyword == "const"


def _tags(branches: list[list[ValidationError]]) -> list[ValidationError]:
    """One error for a tag that belongs to none of the alternatives, when all are told apart by the same one."""
    tags = [[error for error in errors if error.validator == "const" and error.relative_path] for errors in branches]
    if not all(tags) or len({tuple(errors[0].relative_path) for errors in tags}) > 1:
        return []
    known = [errors[0].validator_value for errors in tags]
    first = tags[0][0]
    merged = ValidationError(
        "no known tag", validator="enum", validator_value=known, path=first.relative_path, instance=first.instance
    )
    merged.parent = first.parent
    return [merged]


def _problem(error: ValidationError, root: object) -> Problem:
    keyword, path = str(error.validator), list(error.absolute_path)
    if keyword == "required":
        names = cast("Sequence[str]", error.validator_value)
        # One error for each name; jsonschema says which only in its message.
        name = next((name for name in names if error.message.startswith(f"{name!r} ")), "")
        return Problem(path_of([*path, name]), _wanted_property(error, name, root), "nothing")
    if keyword == "additionalProperties" and error.validator_value is False:
        return Problem(path_of(path), error.message, shown(error.instance))
    expected = _EXPECTED.get(keyword)
    said = expected(error.validator_value, error, root) if expected else None
    return Problem(path_of(path), shortened(said or _plain(error), 300), _got(keyword, error.instance))


def _wanted_property(error: ValidationError, name: str, root: object) -> str:
    schema = cast("Mapping[str, Any]", error.schema)
    properties = cast("Mapping[str, Any]", schema.get("properties", {}))
    return f"{described(properties.get(name, True), root)} (required)"


def _got(keyword: str, value: object) -> str:
    if keyword in ("minItems", "maxItems") and isinstance(value, list):
        return f"{len(cast('list[object]', value))}"
    if keyword in ("minLength", "maxLength") and isinstance(value, str):
        return f"{shown(value)}" if len(value) > 80 else f"{shown(value)} ({len(value)} characters)"
    if keyword in ("minProperties", "maxProperties") and isinstance(value, dict):
        return f"{len(cast('dict[str, object]', value))}"
    return shown(value)


def described(schema: object, root: object = None, depth: int = 0) -> str:
    """What a schema asks for, in a few words. `root` is the schema that ``#/…`` refers to."""
    if not isinstance(schema, dict) or depth > 4:
        return "a value"
    schema = cast("dict[str, Any]", schema)
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if isinstance(schema.get("enum"), list):
        return _one_of(schema["enum"])
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return _kind(kinds)
    if isinstance(kinds, list):
        return listed([_kind(kind) for kind in cast("list[str]", kinds)], "or")
    for keyword in ("anyOf", "oneOf"):
        if isinstance(schema.get(keyword), list):
            parts = [described(part, root, depth + 1) for part in cast("list[Any]", schema[keyword])]
            return listed(list(dict.fromkeys(parts)), "or")
    if "properties" in schema:
        return "an object"
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return "a value"
    target = resolved(reference, root)
    title = cast("dict[str, Any]", target).get("title") if isinstance(target, dict) else None
    said = described(cast("object", target), root, depth + 1)
    return f"{said} ({shortened(title, 40)})" if isinstance(title, str) and said == "an object" else said


def _kind(name: object) -> str:
    return "null" if name == "null" else f"{'an' if str(name)[:1] in 'aeio' else 'a'} {name}"


def _one_of(values: Sequence[object]) -> str:
    return "one of " + listed([json.dumps(value, ensure_ascii=False) for value in values], "or", 20)


def _alternatives(schemas: Sequence[object], error: ValidationError, root: object) -> str:
    if not error.context:
        return "a value that matches exactly one of the alternatives; this one matches several"
    return listed(list(dict.fromkeys(described(schema, root) for schema in schemas)), "or")


def _count(thing: str, least: bool) -> Expected:
    return lambda number, _, __: f"at {'least' if least else 'most'} {number} {thing}{'s' * (number != 1)}"


def _properties(least: bool) -> Expected:
    return lambda number, _, __: f"at {'least' if least else 'most'} {number} propert{'y' if number == 1 else 'ies'}"


def _plain(error: ValidationError) -> str:
    if error.schema is False or not error.validator:
        return "nothing: no value may stand here"
    return f"what {error.validator!r} asks for ({shortened(error.message, 200)})"


_EXPECTED: Mapping[str, Expected] = {
    "type": lambda kinds, _, __: described({"type": kinds}),
    "enum": lambda values, _, __: _one_of(values),
    "const": lambda value, _, __: shortened(json.dumps(value, ensure_ascii=False), 200),
    "minimum": lambda number, _, __: f"a number of at least {number}",
    "maximum": lambda number, _, __: f"a number of at most {number}",
    "exclusiveMinimum": lambda number, _, __: f"a number above {number}",
    "exclusiveMaximum": lambda number, _, __: f"a number below {number}",
    "multipleOf": lambda number, _, __: f"a multiple of {number}",
    "minLength": _count("character", least=True),
    "maxLength": _count("character", least=False),
    "pattern": lambda pattern, _, __: f"a string that matches {pattern}",
    "minItems": _count("item", least=True),
    "maxItems": _count("item", least=False),
    "minProperties": _properties(least=True),
    "maxProperties": _properties(least=False),
    "uniqueItems": lambda _, error, __: error.message,
    "contains": lambda schema, _, root: f"an array with {described(schema, root)} in it",
    "not": lambda schema, _, root: f"anything but {described(schema, root)}",
    "anyOf": _alternatives,
    "oneOf": _alternatives,
    "unevaluatedProperties": lambda _, error, __: f"no other properties ({shortened(error.message, 120)})",
    "unevaluatedItems": lambda _, error, __: f"no other items ({shortened(error.message, 120)})",
    "dependentRequired": lambda _, error, __: shortened(error.message, 120),
}
