"""Structured answers while they are being written: objects as they grow, and lines of JSON one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pydantic_core import from_json

from dragoman.structured.balanced import OPENER
from dragoman.structured.problems import shortened
from dragoman.structured.schema import OutputSchema, SchemaSource
from dragoman.structured.strict_json import NotJSONError, parse_json, parse_json_at
from dragoman.structured.validators import PASSED, AsyncValidationStrategy, Verdict, failed

MAX_CHARACTERS = 5_000_000
"""Of an answer whose growth is followed; past it nothing more is shown."""
MAX_LINE = 1_000_000
"""Characters of one line of JSON."""
SHOWN_LINES = 3
"""How many bad lines the model is told of."""

_SHARE = 16
_LOOK_BACK = 256


class PartialValue:
    """The object or array in an answer, as far as it has come. What it gives is not valid yet, and may still change.

    The text is parsed again when it has grown by a sixteenth, so that all parses together take linear time.
    """

    def __init__(self, schema: SchemaSource | OutputSchema | None = None) -> None:
        root = True if schema is None else OutputSchema.of(schema).schema
        kind = None if isinstance(root, bool) else root.get("type")
        self._brackets = {"object": "{", "array": "["}.get(kind if isinstance(kind, str) else "", "{[")
        self._pieces: list[str] = []
        self._size = 0
        self._parsed_at = 0
        self._has_begun = False
        self._is_over = False
        self.value: Any = None
        """What there is so far; None: nothing yet."""

    def feed(self, piece: str) -> bool:
        """Takes the next piece of the answer; True when `value` has changed."""
        if self._is_over or not piece:
            return False
        self._pieces.append(piece)
        self._size += len(piece)
        if not self._has_begun and not self._begin():
            return False
        if self._size > MAX_CHARACTERS:
            self._is_over = True
            self._pieces.clear()
            return False
        return self._size - self._parsed_at > self._parsed_at // _SHARE and self._parse()

    def _begin(self) -> bool:
        """Drops what stands before the first bracket that begins like JSON."""
        text = "".join(self._pieces)
        for match in OPENER.finditer(text):
            if text[match.start()] in self._brackets:
                self._has_begun = True
                self._pieces = [text[match.start() :]]
                self._size = len(self._pieces[0])
                return True
        # A bracket may stand at the very end, with what follows it still to come.
        self._pieces = [text[-_LOOK_BACK:]]
        self._size = len(self._pieces[0])
        return False

    def _parse(self) -> bool:
        text = "".join(self._pieces)
        self._pieces, self._parsed_at = [text], len(text)
        try:
            value = from_json(text, allow_partial="trailing-strings", allow_inf_nan=False, cache_strings="none")
        except ValueError:
            # Either text follows the value, or it is broken: what comes later changes neither.
            self._is_over = True
            self._pieces.clear()
            try:
                value, _ = parse_json_at(text, 0)
            except NotJSONError:
                return False
        has_changed = value != self.value
        self.value = value
        return has_changed


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an answer that was to be JSON, one value on each line."""

    number: int
    """From 1."""
    value: Any = None
    """The valid value: an instance, where the schema was made from a class."""
    problem: str | None = None
    """What is wrong with the line; then there is no value."""


class JSONLines:
    """Values that come one on each line, each judged as soon as its line is complete."""

    def __init__(self, schema: SchemaSource | OutputSchema) -> None:
        self._schema = OutputSchema.of(schema)
        self._pending: list[str] = []
        self._pending_size = 0
        self._number = 0

    def feed(self, piece: str) -> Iterator[Line]:
        """The lines that `piece` completes. A blank line, or one that is only a code fence, is passed over."""
        # Not splitlines: JSON allows U+2028 and the like within a string.
        *complete, rest = piece.split("\n")
        for end in complete:
            self._keep(end)
            yield from self._line()
        self._keep(rest)

    def close(self) -> Iterator[Line]:
        """The last line, when it did not end."""
        yield from self._line()

    def _keep(self, part: str) -> None:
        self._pending_size += len(part)
        if self._pending_size <= MAX_LINE:
            self._pending.append(part)

    def _line(self) -> Iterator[Line]:
        text, size = "".join(self._pending).strip(), self._pending_size
        self._pending, self._pending_size = [], 0
        self._number += 1
        if size > MAX_LINE:
            yield Line(self._number, problem=f"the line has {size:,} characters; at most {MAX_LINE:,} are taken")
        elif text and not _FENCE.fullmatch(text):
            yield self._judged(text.removeprefix("\ufeff"))

    def _judged(self, text: str) -> Line:
        try:
            value = parse_json(text)
        except NotJSONError as error:
            return Line(self._number, problem=f"it is not JSON: {error}: {shortened(text)}")
        problems = self._schema.validate(value)
        if problems:
            return Line(self._number, problem="it does not match the schema: " + "; ".join(map(str, problems)))
        return Line(self._number, self._schema.parse(value))


class JsonLinesValidator(AsyncValidationStrategy):
    """At least one line of the answer is a valid value."""

    name = "json-lines"

    def __init__(self, schema: SchemaSource | OutputSchema) -> None:
        self._schema = OutputSchema.of(schema)

    async def validate(self, text: str) -> Verdict:
        """See the class."""
        lines = JSONLines(self._schema)
        problems: list[str] = []
        for line in chain(lines.feed(text), lines.close()):
            if line.problem is None:
                return PASSED
            problems.append(f"line {line.number}: {line.problem}")
        told = "; ".join(problems[:SHOWN_LINES]) or "it is empty"
        return failed(f"no line of the answer is a valid value: {told}")


_FENCE = re.compile(r"`{3,}\w*|~{3,}\w*")
