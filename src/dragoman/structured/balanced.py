"""The JSON values that stand in a text, found in one pass whose time is linear in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dragoman.structured.strict_json import MAX_DEPTH, NotJSONError, parse_json_at

UNCLOSED = "a bracket is never closed; the answer may have been cut off"


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text that begins like JSON and ends where its brackets are closed."""

    start: int
    end: int
    value: Any = None
    fault: str | None = None
    """Why it is no JSON value."""


_WORDS = "true|false|null|None|True|False|NaN|undefined|-?Infinity"
# Two expressions, each with its bracket first: so the engine looks for them as fast as str.find does.
_OBJECT = re.compile(r"""\{\s*+(?:["'\u2018\u2019\u201c\u201d}]|[A-Za-z_$][\w$-]*+\s*+:|//|/\*|\.\.\.)""")
_ARRAY = re.compile(rf"""\[\s*+(?:[\]\[{{"'\u2018\u2019\u201c\u201d]|-?\d|//|/\*|(?:{_WORDS})\b)""")
OPENER = re.compile(f"{_OBJECT.pattern}|{_ARRAY.pattern}")
"""A bracket and what can follow it in JSON, or in what was meant to be JSON. Any other bracket is prose."""

_TOKEN = re.compile(r'"(?:[^"\\\n]++|\\.)*+"?|[{}\[\]]')
"""A string, which ends with its line at the latest, or a bracket."""

_OPENED_BY = {"}": "{", "]": "["}


def spans(text: str) -> Iterator[Span]:
    """The outermost parts of `text` that begin like JSON, from left to right.

    What stands within a part is no answer of its own, whatever is wrong with the part: when brackets are never
    closed, or go deeper than `MAX_DEPTH`, nothing that follows them is looked at.
    """
    at = 0
    nearest = {_OBJECT: -1, _ARRAY: -1}
    while True:
        for kind in nearest:
            if nearest[kind] < at:
                match = kind.search(text, at)
                nearest[kind] = match.start() if match else len(text)
        start = min(nearest.values())
        if start == len(text):
            return
        try:
            value, at = parse_json_at(text, start)
        except NotJSONError as error:
            end = balanced_end(text, start)
            if end is None:
                # An error without a position is a broken rule, which tells more.
                yield Span(start, len(text), fault=str(error) if error.position is None else UNCLOSED)
                return
            yield Span(start, end, fault=str(error))
            at = end
        else:
            yield Span(start, at, value)


def balanced_end(text: str, start: int) -> int | None:
    """Where the bracket at `start` is closed, or met by one that does not fit; None: nowhere, or far too deep."""
    open_brackets: list[str] = []
    for match in _TOKEN.finditer(text, start):
        mark = match[0]
        if mark in "{[":
            open_brackets.append(mark)
            if len(open_brackets) > MAX_DEPTH:
                return None
        elif mark in "}]" and (open_brackets.pop() != _OPENED_BY[mark] or not open_brackets):
            return match.end()
    return None
