from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from dragoman.structured import OutputSchema, drop_nulls, strict_problems, to_strict, wrap


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int | None = None


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = []


class Home(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    note: str = Field("", max_length=30)
    other: Cat | None = None


class Node(BaseModel):
    children: list[Node]


def test_an_object_is_sent_as_it_is_but_for_its_dialect() -> None:
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"a": {}},
    }
    native = wrap(schema)
    assert native is not None
    assert native.schema == {"type": "object", "properties": {"a": {}}}
    assert native.unwrap({"answer": 1}) == {"answer": 1}
    assert "$schema" in schema


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "string"}},
        {"type": "integer"},
        {"enum": ["a"]},
        {"anyOf": [{"type": "object"}]},
        {},
    ],
)
def test_any_other_root_becomes_the_one_property_of_an_object(schema: dict[str, Any]) -> None:
    native = wrap(schema)
    assert native is not None
    assert native.schema == {
        "type": "object",
        "properties": {"answer": schema},
        "required": ["answer"],
        "additionalProperties": False,
    }
    assert native.unwrap({"answer": ["a"]}) == ["a"]
    assert native.unwrap(["a"]) == ["a"]


def test_references_still_hold_after_the_wrapping() -> None:
    native = wrap(
        {
            "type": "array",
            "items": {"anyOf": [{"$ref": "#"}, {"$ref": "#/$defs/n"}]},
            "$defs": {"n": {"type": "integer"}},
        }
    )
    assert native is not None
    sent = OutputSchema.of(native.schema)
    nested: list[Any] = [1, [2, []]]
    assert sent.accepts({"answer": nested})
    assert not sent.accepts({"answer": [["a"]]})
    recursive = wrap(OutputSchema.of(Node))
    assert recursive is not None
    assert OutputSchema.of(recursive.schema).accepts({"answer": {"children": [{"children": [*()]}]}})


def test_a_schema_that_names_places_is_not_moved() -> None:
    assert wrap({"type": "array", "items": {"$ref": "#item"}, "$defs": {"i": {"$anchor": "item"}}}) is None
    assert wrap({"$defs": {"i": {"$id": "https://a.b/i"}}, "items": {"$ref": "https://a.b/i"}}) is None
    moved = wrap(
        {"$id": "https://a.b/c", "type": "array", "items": {"$ref": "https://a.b/c#/$defs/i"}, "$defs": {"i": {}}}
    )
    assert moved is not None
    assert moved.schema["properties"]["answer"]["items"] == {"$ref": "#/$defs/i"}


CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def of(part: dict[str, Any]) -> dict[str, Any]:
    return CLOSED | {"properties": {"a": part}}


def levels(count: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(count):
        schema = of(schema)
    return schema


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (CLOSED, None),
        (of({"type": ["string", "null"], "pattern": "a", "description": "x"}), None),
        (of({"type": "string", "format": "date-time"}), None),
        (of({"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}), None),
        (of({"anyOf": [{"type": "string"}, {"$ref": "#"}]}), None),
        (levels(10), None),
        (levels(11), "nested more than 10 levels"),
        ({"type": "array", "items": {"type": "string"}}, "at $: the root must be of type object"),
        (True, "at $: it must be an object"),
        (CLOSED | {"anyOf": [{"type": "string"}]}, "at $: the root must not be an anyOf"),
        ({"type": "object", "properties": {}}, "at $: additionalProperties must be false"),
        (CLOSED | {"required": []}, "at $: 'a' must be required; let it be null instead"),
        (of({"type": "string", "minLength": 1}), "at $.properties.a: 'minLength' is not supported here"),
        (of({"type": "array", "items": {"type": "string"}, "uniqueItems": True}), "'uniqueItems' is not supported"),
        (of({"type": "array"}), "at $.properties.a: an array must have items"),
        (of({"type": "string", "format": "uri"}), "the format 'uri' is not supported"),
        (of({"allOf": [{"type": "string"}]}), "'allOf' is not supported"),
        (of({"oneOf": [{"type": "string"}]}), "'oneOf' is not supported"),
        (of({"type": "string", "not": {"const": "a"}}), "'not' is not supported"),
        (of({"type": "object", "additionalProperties": {"type": "string"}}), "additionalProperties must be false"),
        (of({}), "at $.properties.a: it must have a type"),
        (
            of({"$ref": "#/$defs/x", "description": "y"}) | {"$defs": {"x": {"type": "string"}}},
            "nothing may stand beside a $ref",
        ),
        (of({"type": "string", "enum": [str(n) for n in range(1001)]}), "it has 1,001 enum values; at most 1,000"),
        (of({"type": "string", "enum": ["x" * 100 + str(n) for n in range(251)]}), "an enum of more than 250 strings"),
        (of({"type": "string", "const": "x" * 120_001}), "characters of names and of enum and const values"),
        (
            {
                "type": "object",
                "properties": {f"p{n}": {"type": "null"} for n in range(5001)},
                "required": [f"p{n}" for n in range(5001)],
                "additionalProperties": False,
            },
            "it has 5,001 properties; at most 5,000",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_strict_mode_would_refuse_is_known_before_anything_is_asked(schema: Any, problem: str | None) -> None:  # noqa: ANN401 - JSON
    problems = strict_problems(schema)
    assert problems == [] if problem is None else any(problem in one for one in problems)


def test_what_may_be_left_out_is_required_and_may_be_null_and_such_nulls_are_taken_out() -> None:
    native = to_strict(OutputSchema.of(Home))
    assert native is not None
    assert strict_problems(native.schema) == []
    answer = {"pet": {"kind": "dog", "tricks": None}, "note": None, "other": None}
    assert OutputSchema.of(native.schema).accepts(answer)
    assert native.unwrap(answer) == {"pet": {"kind": "dog"}, "other": None}
    assert OutputSchema.of(Home).parse(native.unwrap(answer)) == Home(pet=Dog(kind="dog"), note="")
    assert native.schema["properties"]["note"] == {"type": ["string", "null"], "description": "at most 30 characters"}


@pytest.mark.parametrize(
    ("part", "moved"),
    [
        ({"enum": ["a", "b"]}, {"enum": ["a", "b"], "type": "string"}),
        ({"const": 1, "title": "x", "default": 1}, {"const": 1, "type": "integer"}),
        ({"allOf": [{"$ref": "#"}], "description": "d"}, {"description": "d", "anyOf": [{"$ref": "#"}]}),
        ({"$ref": "#", "description": "d"}, {"description": "d", "anyOf": [{"$ref": "#"}]}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (
            {"type": ["array", "null"], "items": {"type": "string"}},
            {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
        ),
        ({"type": "string", "format": "uri"}, {"type": "string", "description": "the format is uri"}),
        (
            {"type": "string", "minLength": 2, "description": "d"},
            {"type": "string", "description": "d; at least 2 characters"},
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_can_be_said_in_the_subset_is(part: dict[str, Any], moved: dict[str, Any]) -> None:
    native = to_strict(of(part))
    assert native is not None
    assert native.schema["properties"]["a"] == moved


@pytest.mark.parametrize(
    "part",
    [
        {},
        True,
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {}, "patternProperties": {"a": {}}},
        {"type": "array"},
        {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}},
        {"not": {"type": "string"}},
        {"type": "string", "if": {"const": "a"}, "then": {"const": "a"}},
        {"allOf": [{"type": "string"}, {"minLength": 1}]},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"oneOf": [{"type": "string", "maxLength": 1}, {"type": "string", "minLength": 3}]},
    ],
    ids=str,
)
def test_what_the_subset_cannot_say_is_asked_for_in_words(part: Any) -> None:  # noqa: ANN401 - JSON
    assert to_strict(of(part)) is None


def test_a_root_that_is_no_object_is_wrapped_for_strict_mode_too() -> None:
    native = to_strict(list[Home])
    assert native is not None
    answer = {"answer": [{"pet": {"kind": "cat", "lives": 9}, "note": None, "other": None}]}
    assert native.unwrap(answer) == [{"pet": {"kind": "cat", "lives": 9}, "other": None}]


def test_nulls_are_dropped_only_where_they_stand_for_nothing() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": ["string", "null"]}, "c": {"type": "string"}, "d": {}},
        "required": ["c"],
    }
    assert drop_nulls({"a": None, "b": None, "c": None, "d": None, "e": None}, schema) == {
        "b": None,
        "c": None,
        "d": None,
        "e": None,
    }


def test_a_schema_that_branches_without_end_takes_no_time() -> None:
    parts: dict[str, Any] = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "additionalProperties": False}
    schema |= {"$defs": parts | {"d60": {"type": "string"}}}
    assert to_strict(schema) is not None
    assert drop_nulls({"a": None}, schema) == {}
