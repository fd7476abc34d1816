"""Narrowed schemas: what matches them matches the schema that was given, and every value in them has an end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dragoman.local.narrow import LIST_ITEMS, NESTED_ITEMS, NUMBERS, STRING_CHARS, narrowed

ANY = narrowed({})
TREE = {
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "under": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
            "required": ["name"],
        }
    },
    "$ref": "#/$defs/tree",
}


def properties(**given: Any) -> dict[str, Any]:  # noqa: ANN401 - schemas
    return {"type": "object", "properties": given}


@pytest.mark.parametrize(
    ("schema", "narrow"),
    [
        ({"type": "string"}, {"type": "string", "maxLength": STRING_CHARS}),
        ({"type": "string", "minLength": 500}, {"type": "string", "minLength": 500, "maxLength": 500}),
        ({"type": "string", "maxLength": 5000}, {"type": "string", "maxLength": 5000}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "pattern": "^a{3}$"}, {"type": "string", "pattern": "^a{3}$"}),
        ({"type": "integer", "title": "n"}, {"type": "integer"}),
        ({"type": "integer", "exclusiveMinimum": 3}, {"type": "integer", "minimum": 4}),
        ({"type": "integer", "minimum": 0.5, "maximum": 2.5}, {"type": "integer", "minimum": 1, "maximum": 2}),
        ({"type": "number", "maximum": 2.5}, {"type": "integer", "maximum": 2}),
        ({"type": "number", "minimum": 0, "maximum": 1000}, {"type": "integer", "minimum": 0, "maximum": 1000}),
        ({"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 30}, {"enum": [7, 14, 21, 28]}),
        ({"enum": ["a", 1]}, {"enum": ["a", 1]}),
        ({"type": "array", "items": {"type": "null"}}, {"type": "array", "items": {"type": "null"}, "maxItems": 8}),
        ({"type": "array", "items": False}, {"type": "array", "maxItems": 0}),
        ({"items": True, "minItems": 20}, {"type": "array", "items": ANY, "minItems": 20, "maxItems": 20}),
        (properties(a=True), {**properties(a=ANY), "additionalProperties": False}),
        (properties(a=False), {**properties(), "additionalProperties": False}),
        ({"required": ["a"]}, {**properties(a=ANY), "required": ["a"], "additionalProperties": False}),
        ({"type": ["integer", "null"]}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ({"anyOf": [False, {"type": "null"}]}, {"anyOf": [{"type": "null"}]}),
        ({"$defs": {"a/b": {"type": "null"}}, "$ref": "#/$defs/a~1b"}, {"type": "null"}),
    ],
)
def test_a_schema_is_narrowed(schema: dict[str, Any], narrow: dict[str, Any]) -> None:
    before = json.dumps(schema)
    assert narrowed(schema) == narrow
    assert json.dumps(schema) == before


def test_a_range_of_fractions_is_a_choice_of_numbers_in_it() -> None:
    schema = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    numbers = narrowed(schema)["enum"]
    assert len(numbers) == NUMBERS - 1
    assert {0.01, 0.5, 1.0} <= set(numbers)
    assert all(matches(schema, number) for number in numbers)


def test_a_definition_that_contains_itself_comes_to_an_end() -> None:
    narrow = narrowed(TREE)
    assert "$ref" not in json.dumps(narrow)
    inner = narrow["properties"]["under"]["items"]
    assert inner["properties"]["under"] == {"type": "array", "maxItems": 0}
    assert narrow["properties"]["under"]["maxItems"] == LIST_ITEMS


def test_a_list_in_a_list_is_shorter_unless_the_schema_says_how_long() -> None:
    inner = {"type": "array", "items": {"type": "null"}}
    assert narrowed({"type": "array", "items": inner})["items"]["maxItems"] == NESTED_ITEMS
    assert narrowed({"type": "array", "items": {**inner, "minItems": 5}})["items"]["maxItems"] == 5
    both = narrowed(properties(a=inner, b=inner))["properties"]
    assert [each["maxItems"] for each in both.values()] == [LIST_ITEMS, LIST_ITEMS]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/nowhere"},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "number", "multipleOf": 5, "minimum": 1, "maximum": 2},
        {"type": "array", "items": False, "minItems": 1},
    ],
)
def test_where_nothing_would_be_left_the_schema_stays(schema: dict[str, Any]) -> None:
    assert narrowed(schema) is schema


def matches(schema: Any, value: Any) -> bool:  # noqa: ANN401 - JSON
    validator: Any = Draft202012Validator(schema)
    return validator.is_valid(value)


def number_schema(kind: str, least: float | None, most: float | None, step: float | None) -> dict[str, Any]:
    bounds = {"minimum": least, "exclusiveMaximum": most, "multipleOf": step}
    return {"type": kind, **{name: bound for name, bound in bounds.items() if bound is not None}}


def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def object_of(a: object, b: object) -> dict[str, Any]:
        return {**properties(a=a, b=b), "required": ["b", "c"]}

    lists = inner.map(lambda each: {"type": "array", "items": each})
    choices = st.tuples(inner, inner).map(lambda both: {"anyOf": [*both]})
    return lists | choices | st.builds(object_of, inner, inner)


bounds = st.none() | st.integers(-20, 20) | st.sampled_from([-0.5, 0.1, 2.5])
steps = st.sampled_from([None, 0.1, 0.01, 3, 7])
numbers = st.builds(number_schema, st.sampled_from(["integer", "number"]), bounds, bounds, steps)
leaves: list[Any] = [{"type": "string"}, {"type": "boolean"}, {"type": ["integer", "null"]}, {"const": 1}, {}]
schemas: st.SearchStrategy[Any] = st.recursive(st.sampled_from(leaves) | numbers, larger, max_leaves=6)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.1, 2.5]) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(numbers)
def test_every_number_that_is_left_matches_the_schema(schema: dict[str, Any]) -> None:
    narrow = narrowed(schema)
    if "enum" in narrow:
        assert 0 < len(narrow["enum"]) <= 2 * NUMBERS
        assert all(matches(schema, number) for number in narrow["enum"])
    elif narrow is not schema:
        assert all(matches(schema, narrow[name]) for name in ("minimum", "maximum") if name in narrow)


@given(schemas, values)
def test_what_matches_the_narrowed_schema_matches_the_schema(
    schema: Any,  # noqa: ANN401 - JSON
    value: Any,  # noqa: ANN401 - JSON
) -> None:
    if matches(narrowed(schema), value):
        assert matches(schema, value)
