"""What stands on a line of JSON, whoever else wrote there."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.json_lines import SHOWN_CHARS, objects

A, B = {"type": "a", "text": "é\u2028{"}, {"type": "b", "list": [{"x": 1}]}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(max_size=10), VALUES, min_size=1, max_size=5)


def line(*values: object) -> bytes:
    return b"".join(json.dumps(value, ensure_ascii=False).encode() for value in values)


def read(frame: bytes) -> tuple[list[Any], str]:
    found = list(objects([frame]))
    return [value for value, _ in found if value], " | ".join(noise for _, noise in found if noise)


@pytest.mark.parametrize(
    ("frame", "expected", "noise"),
    [
        (line(A), [A], ""),
        (line(A, B), [A, B], ""),
        (line(A) + b"  " + line(B), [A, B], ""),
        (b"\xef\xbb\xbf" + line(A), [A], ""),
        (b"\x1b[2K\x1b[1;32m" + line(A) + b"\x1b[0m", [A], ""),
        (b"\x1b]0;title\x07" + line(A), [A], ""),
        (b"Loading {1 of 2}... " + line(A), [A], "not understood: Loading {1 of 2}..."),
        (line(A) + b" bye", [A], "not understood: bye"),
        (b'{"type": "broken", ' + line(A), [A], 'not understood: {"type": "broken",'),
        (b'{"type": "cut', [], 'not understood: {"type": "cut'),
        (b"(node:1) Warning", [], "not understood: (node:1) Warning"),
        (b"[1, 2]", [], "not understood: [1, 2]"),
        (b'"text"', [], 'not understood: "text"'),
        (b"\xff\xfe" + line(A), [A], "not understood: \ufffd\ufffd"),
        (b'{"text": "\xff"}', [{"text": "\ufffd"}], ""),
    ],
)
def test_objects_are_found_among_noise(frame: bytes, expected: list[object], noise: str) -> None:
    assert read(frame) == (expected, noise)


@given(st.binary(max_size=300))
def test_no_bytes_are_too_strange(frame: bytes) -> None:
    for value, noise in objects([frame]):
        assert isinstance(value, dict)
        assert len(noise) < SHOWN_CHARS + 30


@given(st.lists(OBJECTS, min_size=1, max_size=5), st.sampled_from([b"", b" ", b"\r"]))
def test_glued_objects_are_all_found(values: list[dict[str, Any]], between: bytes) -> None:
    assert [value for value, _ in objects([between.join(map(line, values))])] == values


def test_a_long_line_of_nothing_but_starts_has_no_object() -> None:
    frame = b'{"a":[' * 200_000
    found = list(objects([frame]))
    assert [value for value, _ in found] == [{}]
