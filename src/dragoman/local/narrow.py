"""A JSON Schema narrowed so that a grammar can hold a small model to it and the answer comes to an end.

llama.cpp makes a grammar of a schema, but leaves out `multipleOf` and the bounds of fractions, follows no recursion to
an end, and lets a model that rambles fill a string or a list until its tokens are used up. What is made here only ever
takes away: whatever matches the narrowed schema matches the one that was given.

It cannot help where the grammar has no word for it: `not`, `contains`, `if`, and objects with any number of free names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, cast

STRING_CHARS = 120
LIST_ITEMS = 8
NESTED_ITEMS = 3
"""The same for a list in a list: what is in it is told many times."""
NUMBERS = 101
"""How many numbers a range of numbers is made of."""
REPEATS = 2
"""How often a definition may contain itself."""

Schema = Mapping[str, Any]

_SCALARS = ("string", "number", "boolean", "null")
_NOTES = frozenset(
    (
        *("$anchor", "$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated", "description"),
        *("examples", "readOnly", "title", "writeOnly"),
    )
)
"""What says nothing about which values match."""
_HELD_FORMATS = frozenset(("date", "date-time", "time", "uuid"))
"""The grammar ends strings of these formats by itself."""


class _NothingFits(Exception):  # noqa: N818 - a verdict, not a fault
    """No value that could be told to the end matches."""


def narrowed(schema: Schema) -> Schema:
    """The narrowed schema; the one given where nothing would be left of it."""
    try:
        return _Narrowing(schema).of(schema)
    except (_NothingFits, RecursionError):
        return schema


class _Narrowing:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._within: list[str] = []
        self._lists = 0

    def of(self, schema: object, *, is_part: bool = False) -> dict[str, Any]:
        """`is_part`: other schemas hold for the same value, so this one alone does not say what it is."""
        if schema is False:
            raise _NothingFits
        given = cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}
        plain = {name: value for name, value in given.items() if name not in _NOTES}
        if "$ref" in plain:
            return self._referred(plain)
        if "const" in plain or "enum" in plain:
            return plain
        for name in ("anyOf", "oneOf"):
            if name in plain:
                plain[name] = list(self._fitting(plain[name], is_part=len(plain) > 1))
                return plain
        if "allOf" in plain:
            return {**plain, "allOf": [self.of(each, is_part=True) for each in plain["allOf"]]}
        kinds = _kinds(plain)
        if not kinds:
            return plain if is_part else {"anyOf": [self._of_kind(plain, kind) for kind in _SCALARS]}
        if len(kinds) == 1:
            return self._of_kind(plain, kinds[0], is_part=is_part)
        return {"anyOf": list(self._fitting([{**plain, "type": kind} for kind in kinds], is_part=is_part))}

    def _fitting(self, branches: list[object], *, is_part: bool) -> Iterator[dict[str, Any]]:
        found = 0
        for branch in branches:
            try:
                yield self.of(branch, is_part=is_part)
            except _NothingFits:
                continue
            found += 1
        if not found:
            raise _NothingFits

    def _referred(self, schema: dict[str, Any]) -> dict[str, Any]:
        name = schema["$ref"]
        if self._within.count(name) >= REPEATS:
            raise _NothingFits
        self._within.append(name)
        try:
            target = self.of(_at(self._root, name))
        finally:
            self._within.pop()
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {"allOf": [target, self.of(rest, is_part=True)]} if rest else target

    def _of_kind(self, schema: dict[str, Any], kind: str, *, is_part: bool = False) -> dict[str, Any]:
        schema = {**schema, "type": kind}
        match kind:
            case "string":
                if "pattern" not in schema and schema.get("format") not in _HELD_FORMATS:
                    schema.setdefault("maxLength", max(STRING_CHARS, schema.get("minLength", 0)))
            case "number" | "integer":
                return _number(schema)
            case "array":
                self._list(schema)
            case "object":
                self._object(schema, is_part=is_part)
            case _:
                pass
        return schema

    def _list(self, schema: dict[str, Any]) -> None:
        first = [self.of(each) for each in schema.get("prefixItems", ())]
        fewest = schema.get("minItems", 0)
        most = schema.get("maxItems", max(NESTED_ITEMS if self._lists else LIST_ITEMS, fewest, len(first)))
        self._lists += 1
        try:
            schema["items"] = self.of(schema.get("items", True))
        except _NothingFits:
            most = min(most, len(first))
            schema.pop("items", None)
        finally:
            self._lists -= 1
        if fewest > most:
            raise _NothingFits
        schema["maxItems"] = most
        if first:
            schema["prefixItems"] = first

    def _object(self, schema: dict[str, Any], *, is_part: bool) -> None:
        required: list[str] = schema.get("required", [])
        others = schema.get("additionalProperties", True)
        properties: dict[str, Any] = {}
        for name, value in schema.get("properties", {}).items():
            try:
                properties[name] = self.of(value)
            except _NothingFits:
                if name in required:
                    raise
        if not is_part:
            properties |= {name: self.of(others) for name in required if name not in properties}
        if "properties" in schema or properties:
            schema["properties"] = properties
            if not is_part:
                schema["additionalProperties"] = False
        elif others is not False:
            schema["additionalProperties"] = self.of(others)


def _kinds(schema: Schema) -> list[str]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return [kind]
    if isinstance(kind, list):
        return cast("list[str]", kind)
    if "properties" in schema or "required" in schema:
        return ["object"]
    return ["array"] if "items" in schema or "prefixItems" in schema else []


def _at(root: Schema, pointer: str) -> object:
    """What a JSON pointer of this document names."""
    if pointer != "#" and not pointer.startswith("#/"):
        raise _NothingFits
    value: Any = root
    try:
        for part in pointer.removeprefix("#").split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            value = cast("list[Any]", value)[int(name)] if isinstance(value, list) else value[name]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise _NothingFits from error
    return value


def _number(schema: dict[str, Any]) -> dict[str, Any]:
    """The grammar holds whole numbers to bounds and nothing else, so the rest is a choice of some numbers."""
    least = max((schema[key] for key in ("minimum", "exclusiveMinimum") if key in schema), default=None)
    most = min((schema[key] for key in ("maximum", "exclusiveMaximum") if key in schema), default=None)
    step = schema.get("multipleOf")
    if least is None and most is None and step is None:
        return schema
    is_wide = least is None or most is None or most - least >= NUMBERS
    if step is None and (is_wide or schema["type"] == "integer"):
        return _whole_numbers(schema, least, most)
    candidates = _multiples(least, most, step) if step is not None else _spread(least or 0, most or 0)
    numbers = [number for number in candidates if _matches(number, schema)]
    if not numbers:
        raise _NothingFits
    return {"enum": numbers}


def _whole_numbers(schema: Schema, least: float | None, most: float | None) -> dict[str, Any]:
    numbers: dict[str, Any] = {"type": "integer"}
    if least is not None:
        lowest = math.ceil(least)
        numbers["minimum"] = lowest if _matches(lowest, {**schema, "maximum": math.inf}) else lowest + 1
    if most is not None:
        highest = math.floor(most)
        numbers["maximum"] = highest if _matches(highest, {**schema, "minimum": -math.inf}) else highest - 1
    if numbers.get("minimum", -math.inf) > numbers.get("maximum", math.inf):
        raise _NothingFits
    return numbers


def _spread(least: float, most: float) -> Iterator[float]:
    for number in range(NUMBERS):
        yield float(f"{least + (most - least) * number / (NUMBERS - 1):.6g}")


def _multiples(least: float | None, most: float | None, step: float) -> Iterator[float]:
    exact = Fraction(str(step))
    first = math.ceil(Fraction(str(least)) / exact) if least is not None else None
    last = math.floor(Fraction(str(most)) / exact) if most is not None else None
    if first is None:
        first = 0 if last is None or last >= 0 else last - NUMBERS
    if last is None:
        last = first + NUMBERS
    for number in range(first, last + 1, max(1, (last - first) // NUMBERS)):
        multiple = number * exact
        yield int(multiple) if multiple.denominator == 1 else float(multiple)


def _matches(number: float, schema: Schema) -> bool:
    """Whether a number keeps to all bounds, reckoned as validators reckon."""
    step = schema.get("multipleOf")
    return (
        (schema["type"] == "number" or isinstance(number, int))
        and number >= schema.get("minimum", -math.inf)
        and number <= schema.get("maximum", math.inf)
        and not number <= schema.get("exclusiveMinimum", -math.inf)
        and not number >= schema.get("exclusiveMaximum", math.inf)
        and (step is None or (number / step).is_integer())
    )
