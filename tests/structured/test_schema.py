from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from dragoman.schemas import ErrorCode, LLMError
from dragoman.structured import OutputSchema, Problem
from dragoman.structured import schema as schemas
from dragoman.structured.linear import PatternError, searcher


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Owner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=2)
    pet: Cat | Dog
    born: date | None = None

    @field_validator("name")
    @classmethod
    def _no_title(cls, value: str) -> str:
        if value.startswith("Dr"):
            raise ValueError("leave the title out.")
        return value


def said(schema: object, value: object) -> list[str]:
    return [str(problem) for problem in OutputSchema.of(schema).validate(value)]


def refusal(schema: object) -> str:
    with pytest.raises(LLMError) as caught:
        OutputSchema.of(schema)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    assert caught.value.info.next_step
    return caught.value.message


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


UNUSABLE: list[tuple[Any, str | None]] = [
    ({"type": "strng"}, 'at $.type: expected one of "array", "boolean"'),
    ({"properties": {"a": {"type": "int"}}}, "at $.properties.a.type"),
    ({"properties": {"a": {"required": "a"}}}, "at $.properties.a.required: expected an array"),
    ({"minLength": -1}, "at $.minLength: expected a number of at least 0, got -1"),
    ({"$ref": "https://example.org/schema"}, "'https://example.org/schema' would have to be fetched"),
    ({"items": {"$ref": "other.json#/a"}}, "at $.items[\"$ref\"]: 'other.json#/a' would have to be fetched"),
    ({"$ref": "file:///etc/passwd"}, "would have to be fetched"),
    ({"$ref": "#/$defs/nobody"}, "'#/$defs/nobody' refers to nothing in this schema"),
    ({"$ref": "#nobody"}, "refers to nothing in this schema"),
    ({"$ref": "#/properties", "properties": {}, "title": "x"}, None),
    ({"$ref": "#/title", "title": "x"}, "is a string, not a schema"),
    ({"$ref": "#"}, "refers to itself for the same value"),
    ({"anyOf": [{"type": "string"}, {"$ref": "#"}]}, "refers to itself for the same value"),
    (
        {
            "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}},
            "items": {"$ref": "#/$defs/a"},
        },
        "refers to itself",
    ),
    ({"$schema": "http://example.org/mine"}, "is not a dialect that is known here"),
    ({"$schema": 7}, "is not a dialect that is known here"),
    ({"pattern": "("}, "the pattern '(' cannot be used: unclosed group"),
    ({"pattern": "(?=a)b"}, "looks ahead or behind"),
    ({"pattern": r"(a)\1"}, "refers back to a group"),
    ({"pattern": "a{1000}{1000}"}, "repeats too much"),
    ({"pattern": "a" * 3000}, "it has 3,000 characters"),
    ({"patternProperties": {"[": {}}}, "the pattern '[' cannot be used"),
    (
        {"patternProperties": {r"\p{Letter}": {}}, "unevaluatedProperties": False},
        "cannot stand beside unevaluatedProperties",
    ),
    (nested(70), "nested more than 64 levels deep"),
    ({"enum": ["x" * 300_000]}, "it is too large"),
    ({"enum": [[]] * 200_000}, "it is too large"),
    ({"const": float("nan")}, "it is not JSON"),
    ({"const": {1, 2}}, "set is not a JSON value"),
    ({"const": {1: 2}}, "the name 1 is not a string"),
    ({"const": "\ud800"}, "half a character"),
    ('{"type": "object"', "it is not JSON"),
    ('{"type": "object", "type": "array"}', 'the property "type" is there twice'),
    ("[1]", "it is an array; a schema is an object"),
    ("", "it names no field"),
    (3, "neither a JSON Schema nor a type"),
    ([1], "neither a JSON Schema nor a type"),
    (object, None),
]


@pytest.mark.parametrize(
    ("schema", "reason"),
    UNUSABLE,
    ids=lambda value: str(value)[:40],
)
def test_a_schema_that_cannot_be_used_is_refused_with_its_place_and_fault(schema: object, reason: str | None) -> None:
    if reason is None:
        OutputSchema.of(schema)
    else:
        assert reason in refusal(schema)


def test_a_mapping_that_contains_itself_is_refused() -> None:
    schema: dict[str, Any] = {}
    schema["not"] = schema
    assert "nested more than 64 levels" in refusal(schema)


def test_references_within_the_schema_and_to_the_metaschema_are_followed() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}}, "additionalProperties": False}
    assert said(tree, {"left": {"left": {}}}) == []
    assert said(tree, {"left": {"left": 3}}) == ["$.left.left: expected an object, got 3"]
    assert said({"$ref": "https://json-schema.org/draft/2020-12/schema"}, {"type": "nothing"}) != []


def test_a_dialect_that_tools_still_write_keeps_its_meaning() -> None:
    # An array of schemas under items means positions there, and is wrong in 2020-12.
    old = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}, {"type": "integer"}]}
    assert said(old, ["a", 1]) == []
    assert said(old, ["a", "b"]) == ['$[1]: expected an integer, got "b"']
    assert "at $.items" in refusal({"items": [{"type": "string"}]})


@pytest.mark.parametrize(
    ("schema", "value", "problems"),
    [
        ({"type": ["string", "null"]}, 1, ["$: expected a string or null, got 1"]),
        ({"enum": ["a", 1, None]}, "b", ['$: expected one of "a", 1 or null, got "b"']),
        ({"const": {"a": 1}}, 2, ['$: expected {"a": 1}, got 2']),
        ({"minimum": 3}, 2, ["$: expected a number of at least 3, got 2"]),
        ({"exclusiveMaximum": 3}, 3, ["$: expected a number below 3, got 3"]),
        ({"multipleOf": 5}, 3, ["$: expected a multiple of 5, got 3"]),
        ({"minLength": 3}, "ab", ['$: expected at least 3 characters, got "ab" (2 characters)']),
        (
            {"maxLength": 3},
            "x" * 500,
            [
                "$: expected at most 3 characters, got "
                + json.dumps("x" * 79 + "…", ensure_ascii=False)
                + " (500 characters)"
            ],
        ),
        ({"pattern": "^a+$"}, "b", ['$: expected a string that matches ^a+$, got "b"']),
        ({"minItems": 1}, [], ["$: expected at least 1 item, got 0"]),
        (
            {"uniqueItems": True},
            [1, 2, 1.0],
            ["$: expected items that differ; [0] and [2] are the same, got an array of 3 items"],
        ),
        ({"contains": {"type": "string"}}, [1], ["$: expected an array with a string in it, got an array of 1 item"]),
        ({"not": {"type": "string"}}, "a", ['$: expected anything but a string, got "a"']),
        ({"minProperties": 1}, {}, ["$: expected at least 1 property, got 0"]),
        ({"properties": {"a b": {"type": "null"}}}, {"a b": 1}, ['$["a b"]: expected null, got 1']),
        ({"additionalProperties": False}, {"a": 1}, ["$.a: expected no property of this name, got 1"]),
        (False, 1, ["$: expected nothing: no value may stand here, got 1"]),
        (
            {"oneOf": [{"type": "number"}, {"minimum": 3}]},
            5,
            ["$: expected a value that matches exactly one of the alternatives; this one matches several, got 5"],
        ),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1, ["$: expected a string or null, got 1"]),
        (
            {"anyOf": [{"type": "string", "maxLength": 1}, {"type": "null"}]},
            "ab",
            ['$: expected at most 1 character, got "ab" (2 characters)'],
        ),
        (
            {"anyOf": [{"$ref": "#/$defs/P"}, {"type": "null"}], "$defs": {"P": {"title": "Person", "type": "object"}}},
            1,
            ["$: expected an object (Person) or null, got 1"],
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_problem_says_where_what_should_stand_and_what_does(
    schema: object, value: object, problems: list[str]
) -> None:
    assert said(schema, value) == problems


def test_the_faults_nearest_to_the_root_come_first_and_there_are_not_too_many() -> None:
    schema = {"type": "object", "required": ["z"], "properties": {"a": {"type": "array", "items": {"type": "string"}}}}
    problems = said(schema, {"a": list(range(5000))})
    assert problems[0] == "$.z: expected a value (required), got nothing"
    assert problems[1] == "$.a[0]: expected a string, got 0"
    assert len(problems) == schemas.MAX_PROBLEMS


def test_of_alternatives_the_one_that_was_meant_is_told() -> None:
    assert said(Owner, {"name": "Bo", "pet": {"kind": "dog", "tricks": ["sit", 3]}}) == [
        "$.pet.tricks[1]: expected a string, got 3"
    ]
    assert said(Owner, {"name": "Bo", "pet": {"kind": "cow"}}) == [
        '$.pet.kind: expected one of "cat" or "dog", got "cow"'
    ]
    assert said(Owner, {"name": "Bo", "pet": 1}) == ["$.pet: expected an object (Cat) or an object (Dog), got 1"]


def test_a_class_is_checked_by_its_schema_first_and_then_by_itself() -> None:
    good = {"name": "Bo", "pet": {"kind": "cat", "lives": 9}, "born": "2001-02-03"}
    assert said(Owner, good) == []
    assert said(Owner, good | {"pet": {"kind": "cat", "lives": "9"}}) == ['$.pet.lives: expected an integer, got "9"']
    assert said(Owner, good | {"name": "Dr Bo"}) == [
        '$.name: expected a value that passes the check of its type (leave the title out), got "Dr Bo"'
    ]
    assert "date" in said(Owner, good | {"born": "yesterday"})[0]


def test_parse_gives_an_instance_of_the_class() -> None:
    owner = OutputSchema.of(Owner).parse({"name": "Bo", "pet": {"kind": "cat", "lives": 9}, "born": "2001-02-03"})
    assert owner == Owner(name="Bo", pet=Cat(kind="cat", lives=9), born=date(2001, 2, 3))
    assert OutputSchema.of(list[Cat]).parse([{"kind": "cat", "lives": 1}]) == [Cat(kind="cat", lives=1)]
    assert OutputSchema.of({"type": "integer"}).parse(3) == 3


def test_parse_refuses_what_is_not_valid() -> None:
    with pytest.raises(LLMError, match=r"\$\.pet: expected") as caught:
        OutputSchema.of(Owner).parse({"name": "Bo"})
    assert caught.value.code is ErrorCode.SCHEMA_MISMATCH


def test_a_schema_is_compiled_once() -> None:
    source = {"type": "object", "title": "compiled once"}
    assert OutputSchema.of(source) is OutputSchema.of(dict(source)) is OutputSchema.of(json.dumps(source))
    assert OutputSchema.of(Owner) is OutputSchema.of(Owner)
    assert OutputSchema.of(OutputSchema.of(source)) is OutputSchema.of(source)


def test_a_value_that_is_too_deep_for_the_check_is_invalid_and_no_crash() -> None:
    schema = OutputSchema.of({"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"type": "null"}]})
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    assert not schema.accepts(value)
    assert schema.validate(value) == [Problem("$", "a value that is nested less deeply", "an array of 1 item")]


def test_patterns_take_linear_time() -> None:
    # With backtracking this takes longer than the age of the universe.
    text = "a" * 5000 + "!"
    assert said({"pattern": "^(a+)+$"}, text)[0].startswith("$: expected a string that matches")
    assert said({"patternProperties": {"^(a|a)*$": {}}, "additionalProperties": False}, {text: 1}) != []
    assert searcher("b")("abc")
    with pytest.raises(PatternError):
        searcher("(?<!a)b")


def test_items_that_differ_are_told_apart_in_linear_time() -> None:
    many = [{"n": n, "of": [n]} for n in range(20_000)]
    unique = OutputSchema.of({"uniqueItems": True})
    assert unique.accepts(many)
    assert not unique.accepts([*many, {"of": [3], "n": 3.0}])
    assert unique.accepts([1, True, "1", [1], None, 0, False])


@pytest.mark.parametrize(
    ("text", "properties", "required"),
    [
        ("name", {"name": {"type": "string"}}, ["name"]),
        ("name, age int", {"name": {"type": "string"}, "age": {"type": "integer"}}, ["name", "age"]),
        ("tags list[str]", {"tags": {"type": "array", "items": {"type": "string"}}}, ["tags"]),
        ("n int[]", {"n": {"type": "array", "items": {"type": "integer"}}}, ["n"]),
        ("all list", {"all": {"type": "array", "items": {"type": "string"}}}, ["all"]),
        ("score float?", {"score": {"type": ["number", "null"]}}, []),
        ("score? float", {"score": {"type": ["number", "null"]}}, []),
        ("nick?", {"nick": {"type": ["string", "null"]}}, []),
        ("ok bool: is it", {"ok": {"type": "boolean", "description": "is it"}}, ["ok"]),
        (
            "name: the full one\nage int: in years, whole",
            {
                "name": {"type": "string", "description": "the full one"},
                "age": {"type": "integer", "description": "in years, whole"},
            },
            ["name", "age"],
        ),
        (
            "größe int, first-name",
            {"größe": {"type": "integer"}, "first-name": {"type": "string"}},
            ["größe", "first-name"],
        ),
        (" a ,, b ,", {"a": {"type": "string"}, "b": {"type": "string"}}, ["a", "b"]),
    ],
)
def test_the_short_form_stands_for_an_object(text: str, properties: dict[str, Any], required: list[str]) -> None:
    assert OutputSchema.of(text).schema == {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name strng", "the field 'name' has the type 'strng'"),
        ("name list[dict]", "has the type 'dict'"),
        ("name, name int", "the field 'name' is there twice"),
        (": only a description", "does not begin with a name"),
        ("3d int", "does not begin with a name"),
        (",,", "it names no field"),
    ],
)
def test_a_short_form_that_cannot_be_read_is_refused_with_an_example(text: str, reason: str) -> None:
    message = refusal(text)
    assert reason in message
    assert "'name, age int" in message


def test_a_class_that_cannot_be_described_is_refused() -> None:
    assert "Pydantic makes no JSON Schema of" in refusal(list["Nobody"])  # noqa: F821 # pyright: ignore[reportUndefinedVariable] - the mistake under test
    assert "neither a JSON Schema nor a type" in refusal(type(refusal))


def test_importing_the_room_loads_no_schema_library() -> None:
    code = (
        "import sys, dragoman.structured as s\n"
        "assert s.OutputSchema and s.validators_from and s.extract and s.PartialValue and s.to_strict\n"
        "assert s.validators_from(['not-empty', 'regex:^a', 'json'])\n"
        "print([name for name in ('jsonschema', 'referencing', 'json_repair', 'anyio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300, env={})
    assert done.stdout.strip() == "[]"
