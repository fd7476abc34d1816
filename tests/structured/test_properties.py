"""What holds for every schema, value and text that can be made."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.structured import (
    JSONLines,
    OutputSchema,
    PartialValue,
    drop_nulls,
    extract,
    strict_problems,
    to_strict,
    wrap,
)
from dragoman.structured.balanced import OPENER, balanced_end, spans
from dragoman.structured.strict_json import MAX_DEPTH, NotJSONError, parse_json, parse_json_at

NAMES = st.sampled_from(["a", "b", "c d", "é", "answer", "$ref"])
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def _object(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    @st.composite
    def made(draw: st.DrawFn) -> dict[str, Any]:
        properties = draw(st.dictionaries(NAMES, inner, max_size=3))
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        schema["required"] = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
        if draw(st.booleans()):
            schema["additionalProperties"] = False
        return schema

    return made()


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            *({"type": kind} for kind in ("string", "integer", "number", "boolean", "null")),
            *({"type": "string", "maxLength": 2}, {"type": "integer", "minimum": 0}, {"enum": ["a", None, 1]}),
            *({"const": "a"}, {"type": ["string", "null"]}, {"type": "string", "pattern": "^a*$"}),
        ]
    ),
    lambda inner: st.one_of(
        _object(inner),
        inner.map(lambda items: {"type": "array", "items": items}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"oneOf": parts}),
    ),
    max_leaves=6,
)
BROKEN = st.text(alphabet="{}[]\":,\\\n a1'é", max_size=40)


@settings(max_examples=50, deadline=None)
@given(SCHEMAS, VALUES, st.sampled_from(["{}", "So: {} ok", "```json\n{}\n```", "{},", "x {} {}"]))
def test_what_is_found_is_always_valid(schema: dict[str, Any], value: object, around: str) -> None:
    wanted = OutputSchema.of(schema)
    text = around.replace("{}", json.dumps(value))
    for repair in (False, True):
        found = extract(text, wanted, repair=repair)
        if found.found:
            assert wanted.validate(found.value) == []
            assert wanted.accepts(found.value)
            assert wanted.parse(found.value) == found.value


@settings(max_examples=50, deadline=None)
@given(SCHEMAS, VALUES)
def test_the_whole_text_is_found_exactly_when_it_is_valid(schema: dict[str, Any], value: object) -> None:
    wanted = OutputSchema.of(schema)
    found = extract(json.dumps(value), wanted, strict=True)
    assert found.found == wanted.accepts(value) == (not wanted.validate(value))
    if found.found:
        assert found.value == value


@settings(max_examples=300, deadline=None)
@given(BROKEN)
def test_any_text_gives_a_verdict(text: str) -> None:
    for strict, repair in ((False, False), (True, False), (False, True)):
        found = extract(text, {"type": "object"}, strict=strict, repair=repair)
        assert found.found == isinstance(found.value, dict)


def slow_end(text: str, start: int) -> int | None:
    """`balanced_end`, character by character."""
    stack: list[str] = []
    in_string = False
    at = start
    while at < len(text):
        character = text[at]
        if in_string:
            if character == "\\" and at + 1 < len(text) and text[at + 1] != "\n":
                at += 1
            elif character in '"\n\\':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "{[":
            stack.append(character)
            if len(stack) > MAX_DEPTH:
                return None
        elif character in "}]" and (stack.pop() + character not in ("{}", "[]") or not stack):
            return at + 1
        at += 1
    return None


def slow_spans(text: str) -> list[tuple[int, int, bool]]:
    """`spans`, with every place tried: where each begins and ends, and whether it is JSON."""
    found: list[tuple[int, int, bool]] = []
    at = 0
    while at < len(text):
        if text[at] not in "{[" or not OPENER.match(text, at):
            at += 1
            continue
        end = slow_end(text, at)
        try:
            parse_json(text[at:end])
        except NotJSONError:
            found.append((at, len(text) if end is None else end, False))
        else:
            found.append((at, len(text) if end is None else end, True))
        if end is None:
            break
        at = end
    return found


@settings(max_examples=300, deadline=None)
@given(
    st.lists(BROKEN | VALUES.map(json.dumps) | st.sampled_from(["{", "[", "]", "}", '"', "[1, ", '{"a": ', "\\"])).map(
        "".join
    )
)
def test_the_scanner_agrees_with_a_slow_one(text: str) -> None:
    assert [(span.start, span.end, span.fault is None) for span in spans(text)] == slow_spans(text)


@settings(max_examples=200, deadline=None)
@given(VALUES.filter(lambda value: isinstance(value, (dict, list))), st.text(max_size=10))
def test_a_value_ends_where_its_brackets_are_closed(value: object, after: str) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert balanced_end(text + after, 0) == len(text)
    assert parse_json_at(text + after, 0) == (value, len(text))


@settings(max_examples=50, deadline=None)
@given(SCHEMAS, VALUES)
def test_wrapping_keeps_what_is_valid_and_nothing_else(schema: dict[str, Any], value: object) -> None:
    native = wrap(schema)
    assert native is not None
    assert native.schema["type"] == "object"
    sent = OutputSchema.of(native.schema)
    is_wrapped = native.schema != OutputSchema.of(schema).schema
    instance = {"answer": value} if is_wrapped else value
    assert sent.accepts(instance) == OutputSchema.of(schema).accepts(value)
    assert native.unwrap(instance) == value or not is_wrapped


@settings(max_examples=50, deadline=None)
@given(_object(SCHEMAS), VALUES)
def test_what_strict_mode_gives_is_valid_for_the_callers_schema(schema: dict[str, Any], value: object) -> None:
    native = to_strict(schema)
    if native is None:
        return
    assert strict_problems(native.schema) == []
    if OutputSchema.of(native.schema).accepts(value):
        problems = OutputSchema.of(schema).validate(native.unwrap(value))
        assert all("characters" in problem.expected for problem in problems)


@settings(max_examples=50, deadline=None)
@given(SCHEMAS, VALUES)
def test_a_valid_value_stays_as_it_is_when_nulls_are_dropped(schema: dict[str, Any], value: object) -> None:
    if OutputSchema.of(schema).accepts(value):
        assert drop_nulls(value, schema) == value


@settings(max_examples=50, deadline=None)
@given(
    VALUES.filter(lambda value: isinstance(value, dict) and bool(value)),
    st.integers(1, 7),
    st.sampled_from(["", "So: ", "```json\n"]),
)
def test_a_partial_value_ends_as_the_whole_one(value: dict[str, Any], size: int, before: str) -> None:
    text = before + json.dumps(value, ensure_ascii=False) + "\n"
    partial = PartialValue({"type": "object"})
    for at in range(0, len(text), size):
        partial.feed(text[at : at + size])
    partial.feed("```" if before.startswith("`") else "done.")
    partial.feed(" " * len(text))
    assert partial.value == value


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, max_size=5), st.integers(1, 9))
def test_lines_come_out_as_they_went_in_however_they_are_cut(values: list[object], size: int) -> None:
    text = "\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    reader = JSONLines(True)
    lines = [line for at in range(0, len(text), size) for line in reader.feed(text[at : at + size])]
    lines += reader.close()
    assert [(line.value, line.problem) for line in lines] == [(value, None) for value in values]
