"""Schemas made palatable for the CLIs that take one: an object at the root, or OpenAI's strict subset.

Each way gives the schema to send and a function that turns the answer back; what comes back is checked against the
caller's own schema all the same. None means that the schema cannot be sent so: then the model is asked in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from dragoman.structured.pointers import resolved
from dragoman.structured.schema import OutputSchema, SchemaSource

ANSWER = "answer"
"""The property that holds the value when its schema was wrapped."""

Schema = dict[str, Any]

_FOREIGN = ("$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef")
_NOT_AT_ROOT = ("$ref", "anyOf", "oneOf", "allOf", "not", "enum", "const", "if")
_DATA = ("enum", "const", "default", "examples", "example")
"""Keywords whose values are no schemas."""
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose values have a schema for each name."""


class Native(NamedTuple):
    """A schema that a CLI takes, and what turns its answer into a value of the caller's schema."""

    schema: Schema
    unwrap: Callable[[object], object]


def wrap(schema: SchemaSource | OutputSchema) -> Native | None:
    """The schema with a plain object at its root, since some CLIs take no other; others become its one property.

    None: it names places in it by ``$id`` or ``$anchor``, which does not survive the move.
    """
    portable = _portable(OutputSchema.of(schema).schema)
    if portable is None:
        return None
    if portable.get("type") == "object" and not any(keyword in portable for keyword in _NOT_AT_ROOT):
        return Native(portable, _same)
    kept = {name: portable.pop(name) for name in ("$defs", "definitions") if isinstance(portable.get(name), dict)}
    refers_inside = any(
        reference == "#" or not reference.startswith(("#/$defs/", "#/definitions/"))
        for part in _schemas({**kept, **portable})
        if isinstance(reference := part.get("$ref"), str)
    )
    body: Schema = portable
    if refers_inside:
        definitions = kept.setdefault("$defs", {})
        name = next(name for name in (ANSWER, *(f"{ANSWER}{n}" for n in range(2, 99))) if name not in definitions)
        definitions[name] = portable
        for part in _schemas(kept):
            reference = part.get("$ref")
            if isinstance(reference, str) and not reference.startswith(("#/$defs/", "#/definitions/")):
                part["$ref"] = f"#/$defs/{name}{reference[1:]}"
        body = {"$ref": f"#/$defs/{name}"}
    wrapped = {"type": "object", "properties": {ANSWER: body}, "required": [ANSWER], "additionalProperties": False}
    return Native(wrapped | kept, _unwrapped)


def drop_nulls(value: object, schema: SchemaSource | OutputSchema) -> object:
    """`value` without those nulls that stand for a property left out: it may be, and its schema refuses null."""
    root = OutputSchema.of(schema).schema
    return _dropped(value, root, root)


def accepts_null(schema: object, root: object) -> bool:
    """Whether null is valid against `schema`, as far as its plain keywords tell."""
    return _accepts_null(schema, root, {})


def _accepts_null(schema: object, root: object, known: dict[int, bool]) -> bool:
    if not isinstance(schema, Mapping):
        return schema is not False
    here = cast("Mapping[str, Any]", schema)
    if id(here) not in known:
        known[id(here)] = True  # while it is being found out
        known[id(here)] = _all_accept_null(here, root, known)
    return known[id(here)]


def _all_accept_null(here: Mapping[str, Any], root: object, known: dict[int, bool]) -> bool:
    kinds = here.get("type")
    if kinds is not None and "null" not in ([kinds] if isinstance(kinds, str) else kinds):
        return False
    if ("enum" in here and None not in here["enum"]) or here.get("const", None) is not None:
        return False
    if isinstance(here.get("$ref"), str) and not _accepts_null(resolved(here["$ref"], root), root, known):
        return False
    if not all(_accepts_null(part, root, known) for part in here.get("allOf", ())):
        return False
    return all(
        any(_accepts_null(part, root, known) for part in here[keyword])
        for keyword in ("anyOf", "oneOf")
        if keyword in here
    )


def _dropped(value: object, schema: object, root: object) -> object:
    if not isinstance(schema, Mapping) or not _is_container(value):
        return value
    here = cast("Mapping[str, Any]", schema)
    if isinstance(here.get("$ref"), str):
        value = _dropped(value, resolved(here["$ref"], root), root)
    for part in here.get("allOf", ()):
        value = _dropped(value, part, root)
    for keyword in ("anyOf", "oneOf"):
        tried = (_dropped(value, part, root) for part in here.get(keyword, ()) if _may_fit(value, part, root))
        value = next(tried, value)
    if isinstance(value, list):
        items = here.get("items", True)
        return [_dropped(item, items, root) for item in cast("list[object]", value)]
    properties, required = here.get("properties", {}), here.get("required", ())
    return {
        name: _dropped(part, properties.get(name, True), root)
        for name, part in cast("dict[str, object]", value).items()
        if not (
            part is None and name in properties and name not in required and not accepts_null(properties[name], root)
        )
    }


def _is_container(value: object) -> bool:
    return isinstance(value, (dict, list))


def _may_fit(value: object, schema: object, root: object) -> bool:
    """Whether an alternative is the one that a container was written for: its type, its names, its tags."""
    if not isinstance(schema, Mapping):
        return schema is not False
    here = cast("Mapping[str, Any]", schema)
    if isinstance(here.get("$ref"), str):
        return _may_fit(value, resolved(here["$ref"], root), root)
    kinds = here.get("type", ("object", "array"))
    if ("object" if isinstance(value, dict) else "array") not in ([kinds] if isinstance(kinds, str) else kinds):
        return False
    if not isinstance(value, dict):
        return True
    members, properties = cast("dict[str, object]", value), here.get("properties", {})
    if not set(here.get("required", ())) <= set(members) or (properties and not set(members) <= set(properties)):
        return False
    named = cast("dict[str, Schema | bool]", properties).items()
    tags = ((name, one["const"]) for name, one in named if not isinstance(one, bool) and "const" in one)
    return all(members.get(name, constant) == constant for name, constant in tags)


def _portable(schema: Mapping[str, Any] | bool) -> Schema | None:
    """A copy without what belongs to the document and not to the value; None when places in it have names."""
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    copied = _copied(schema)
    name = copied.pop("$id", None)
    for part in _schemas(copied):
        reference = part.get("$ref")
        if isinstance(reference, str) and isinstance(name, str) and reference.startswith(f"{name.rstrip('#')}#"):
            part["$ref"] = reference = reference.removeprefix(name.rstrip("#"))
        if any(keyword in part for keyword in _FOREIGN):
            return None
        if isinstance(reference, str) and reference != "#" and not reference.startswith("#/"):
            return None
    for document in ("$schema", "$comment", "$vocabulary"):
        copied.pop(document, None)
    return copied


def _schemas(schema: object) -> Iterator[Schema]:
    """`schema` and every schema in it."""
    pending: list[object] = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending += cast("list[object]", part)
        elif isinstance(part, dict):
            here = cast("Schema", part)
            yield here
            for keyword, below in here.items():
                if keyword in _NAMED and isinstance(below, dict):
                    pending += cast("dict[str, object]", below).values()
                elif keyword not in _DATA:
                    pending.append(below)


def _copied(value: Any) -> Any:  # noqa: ANN401 - JSON in, the same JSON out
    if isinstance(value, Mapping):
        return {name: _copied(part) for name, part in cast("Mapping[str, Any]", value).items()}
    return [_copied(part) for part in cast("list[Any]", value)] if isinstance(value, (list, tuple)) else value


def _unwrapped(value: object) -> object:
    # A model that was shown the schema may answer without the wrapping; then the check has the say.
    if isinstance(value, dict) and set(cast("dict[str, object]", value)) == {ANSWER}:
        return cast("dict[str, object]", value)[ANSWER]
    return cast("object", value)


def _same(value: object) -> object:
    return value
