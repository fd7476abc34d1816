"""Changing one member of a JSON file and nothing else: comments, order, indentation and line ends stay as they are.

Editors allow comments and trailing commas in their settings, which a parser would drop; so the text is edited in place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

_TRIVIA = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_SCALAR = re.compile(r"[^\s,\]\}/\"]+")
_INDENT = re.compile(r"^([ \t]+)\S", re.MULTILINE)


class JsoncError(ValueError):
    """The text is no JSON, not even with comments. ``line`` counts from 1."""

    def __init__(self, text: str, position: int, reason: str) -> None:
        super().__init__(reason)
        self.line = text.count("\n", 0, position) + 1
        self.reason = reason


@dataclass(slots=True)
class _Value:
    start: int
    end: int
    members: list[_Member] | None = None
    """None: it is no object."""


@dataclass(slots=True)
class _Member:
    key: str
    start: int
    value: _Value
    comma: int | None = None
    """Where the comma behind it is."""


def read(text: str) -> object:
    """What the text says.

    Raises:
        JsoncError: it cannot be read.
    """
    return json.loads("".join(_Scan(text).plain)) if text.strip("\ufeff \t\r\n") else {}


def put(text: str, path: Sequence[str], value: object) -> str:
    """The text with this member, which is added, with the objects above it, or replaced.

    Raises:
        JsoncError: it cannot be read, or something above the member is no object.
    """
    if not text.strip("\ufeff \t\r\n"):
        text = text.rstrip() + "{}\n"
    holder, missing = _descend(text, path)
    unit = found[1] if (found := _INDENT.search(text)) else "  "
    end_of_line = "\r\n" if "\r\n" in text else "\n"
    assert holder.members is not None  # noqa: S101 - `_descend` gives objects only
    known = next((member for member in holder.members if member.key == missing[0]), None)
    for key in reversed(missing[1:]):
        value = {key: value}
    base = _indentation(text, holder.start)
    if holder.members and "\n" not in text[holder.start : holder.members[0].start]:
        # All on one line: so is what is added.
        before, after, rendered = " ", "", json.dumps(value, ensure_ascii=False)
    else:
        inner = _indentation(text, holder.members[0].start) if holder.members else base + unit
        before, after = end_of_line + inner, "" if holder.members else end_of_line + base
        rendered = json.dumps(value, ensure_ascii=False, indent=unit).replace("\n", before)
    if known is not None:
        return text[: known.value.start] + rendered + text[known.value.end :]
    member = f"{json.dumps(missing[0], ensure_ascii=False)}: {rendered}"
    behind = len(text[: holder.end - 1].rstrip())
    if not holder.members:
        return text[:behind] + before + member + after + text[holder.end - 1 :]
    last = holder.members[-1]
    if last.comma is not None:
        return f"{text[:behind]}{before}{member},{text[behind:]}"
    return f"{text[: last.value.end]},{text[last.value.end : behind]}{before}{member}{text[behind:]}"


def remove(text: str, path: Sequence[str]) -> str:
    """The text without this member; unchanged when it is not there.

    Raises:
        JsoncError: it cannot be read.
    """
    if not text.strip("\ufeff \t\r\n"):
        return text
    holder, missing = _descend(text, path)
    members = holder.members or []
    index = next((index for index, member in enumerate(members) if member.key == missing[0]), None)
    if len(missing) > 1 or index is None:
        return text
    member = members[index]
    start = len(text[: member.start].rstrip())
    if member.comma is not None:
        return text[:start] + text[member.comma + 1 :]
    if index == 0:
        inside = text[holder.start + 1 : start] + text[member.value.end : holder.end - 1]
        return text[: holder.start + 1] + ("" if not inside.strip() else inside) + text[holder.end - 1 :]
    comma = members[index - 1].comma
    assert comma is not None  # noqa: S101 - there is one between any two members
    return text[:comma] + text[comma + 1 : start] + text[member.value.end :]


def _descend(text: str, path: Sequence[str]) -> tuple[_Value, Sequence[str]]:
    """The deepest object on the path that exists, and what of the path is below it."""
    value = _Scan(text).root
    for depth, key in enumerate(path):
        if value.members is None:
            place = ".".join(path[:depth]) or "the file"
            raise JsoncError(text, value.start, f"{place} is not an object")
        known = next((member for member in value.members if member.key == key), None)
        if known is None or depth == len(path) - 1:
            return value, path[depth:]
        value = known.value
    raise ValueError("an empty path")


def _indentation(text: str, position: int) -> str:
    line = text[text.rfind("\n", 0, position) + 1 : position]
    return line[: len(line) - len(line.lstrip(" \t"))]


class _Scan:
    """The places of everything in the text, and the same in plain JSON."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 1 if text.startswith("\ufeff") else 0
        self.plain: list[str] = []
        self.root = self._value()
        self._skip()
        if self.position != len(text):
            raise self._error("there is something behind the end")

    def _value(self) -> _Value:
        self._skip()
        start = self.position
        opening = self.text[start : start + 1]
        if opening == "{":
            members = self._members()
            return _Value(start, self.position, members)
        if opening == "[":
            self._take("[")
            while not self._at("]"):
                self._value()
                self._comma("]")
            self._take("]")
        elif opening == '"':
            self._string()
        elif scalar := _SCALAR.match(self.text, start):
            try:
                json.loads(scalar[0])
            except ValueError:
                raise self._error(f"{scalar[0]!r} is no value") from None
            self._take(scalar[0])
        else:
            raise self._error("a value is missing")
        return _Value(start, self.position)

    def _members(self) -> list[_Member]:
        members: list[_Member] = []
        self._take("{")
        while not self._at("}"):
            start = self.position
            key = self._string()
            if not self._at(":"):
                raise self._error("a colon is missing")
            self._take(":")
            value = self._value()
            members.append(_Member(key, start, value, self._comma("}")))
        self._take("}")
        return members

    def _comma(self, closing: str) -> int | None:
        """Pass a comma; where it is. One before the closing bracket is not JSON, so it is not kept."""
        if self._at(closing):
            return None
        if not self._at(","):
            raise self._error("a comma or a closing bracket is missing")
        comma = self.position
        self.position += 1
        if not self._at(closing):
            self.plain.append(",")
        return comma

    def _string(self) -> str:
        self._skip()
        found = _STRING.match(self.text, self.position)
        if not found:
            raise self._error("a string is missing or does not end")
        self._take(found[0])
        try:
            return str(json.loads(found[0]))
        except ValueError as error:
            raise self._error(str(error)) from None

    def _at(self, character: str) -> bool:
        self._skip()
        if self.position == len(self.text):
            raise self._error("it ends too early")
        return self.text[self.position] == character

    def _take(self, piece: str) -> None:
        self.position += len(piece)
        self.plain.append(piece)

    def _skip(self) -> None:
        found = _TRIVIA.match(self.text, self.position)
        assert found is not None  # noqa: S101 - it matches nothing, too
        self.position = found.end()

    def _error(self, reason: str) -> JsoncError:
        return JsoncError(self.text, self.position, reason)
