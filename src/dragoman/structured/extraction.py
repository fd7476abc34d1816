"""The JSON value in what a model wrote, found in a fixed ladder of steps, and only where there is no doubt."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from dragoman.schemas.text import writable
from dragoman.structured.balanced import spans
from dragoman.structured.problems import Problem, listed, shortened
from dragoman.structured.schema import OutputSchema, SchemaSource
from dragoman.structured.strict_json import NotJSONError, parse_json

Step = Literal["whole", "fenced", "balanced", "repaired"]

MAX_CANDIDATES = 1000
"""Values that are looked at in one text."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was found. Either ``error`` is None and ``value`` is valid, or ``error`` says why there is none."""

    value: Any = None
    step: Step | None = None
    """Where the value was: the ``whole`` text, a ``fenced`` block, a ``balanced`` part, or only after it was
    ``repaired``."""
    candidates: tuple[Any, ...] = ()
    """The distinct values that were considered at the last step that had any, the first ten of them."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with the one candidate, when there was just one."""
    error: str | None = None

    @property
    def found(self) -> bool:
        """Whether there is a valid value; it may be null."""
        return self.error is None


def extract(
    text: str, schema: SchemaSource | OutputSchema | None = None, *, strict: bool = False, repair: bool = False
) -> Extraction:
    """The one value in `text` that is valid against `schema`; None: any JSON will do.

    The steps are the whole text, its fenced blocks, the JSON values that stand in it, and, only with `repair`, what
    a mending of the text yields. At each step exactly one distinct valid value wins, several are a failure, and none
    leads to the next. With `strict` the whole text must be the value.

    Raises:
        LLMError: ``bad_request``: the schema cannot be used; ``not_found``: `repair` is asked for and not installed.
    """
    wanted = OutputSchema.of(True if schema is None else schema)
    text = writable(text).removeprefix("\ufeff").strip()
    if not text:
        return Extraction(error="the answer is empty")
    whole = _rung("whole", _parsed([text]), wanted)
    if strict or whole.candidates:
        return whole.outcome([whole])
    rungs = [whole]
    for step, find in _LADDER:
        if step == "repaired" and not repair:
            break
        rungs.append(_rung(step, find(text), wanted))
        if rungs[-1].valid or rungs[-1].is_cut:
            break
    return rungs[-1].outcome(rungs)


class JSONExtractor:
    """`extract` in its short form."""

    @staticmethod
    def extract_json(text: str, schema: SchemaSource, strict: bool = False) -> tuple[Any, str | None]:
        """``(value, None)``, or ``(None, what is wrong)``. See `extract`."""
        found = extract(text, schema, strict=strict)
        return (found.value, None) if found.error is None else (None, found.error)

    @staticmethod
    def get_schema_json(schema: SchemaSource) -> str:
        """The JSON Schema as indented text, for a prompt of one's own."""
        return json.dumps(OutputSchema.of(schema).schema, indent=2, ensure_ascii=False)


Found = tuple[Any, str | None]
"""A value, or why there is none."""


@dataclass(slots=True)
class _Rung:
    """What one step of the ladder saw: distinct values, and the faults of what is no value."""

    step: Step
    valid: list[Any] = field(default_factory=list[Any])
    candidates: list[Any] = field(default_factory=list[Any])
    faults: list[str] = field(default_factory=list[str])
    is_cut: bool = False
    wanted: OutputSchema = field(default_factory=lambda: OutputSchema.of(True))

    def outcome(self, rungs: list[_Rung]) -> Extraction:
        """The result, when this is the last of `rungs`."""
        if self.is_cut:
            error = f"there are more than {MAX_CANDIDATES:,} JSON values in the answer; it must have just one"
            return Extraction(candidates=tuple(self.candidates[:10]), error=error)
        if len(self.valid) == 1:
            return Extraction(self.valid[0], self.step, tuple(self.candidates[:10]))
        if self.valid:
            shapes = listed([_preview(value) for value in self.valid], "and", 5)
            error = f"the answer has {len(self.valid)} different values that match the schema; give just one: {shapes}"
            return Extraction(candidates=tuple(self.valid[:10]), error=error)
        seen = next((rung for rung in reversed(rungs) if rung.candidates), None)
        if seen is None:
            faults = dict.fromkeys(fault for rung in reversed(rungs) for fault in rung.faults if fault)
            reason = next(iter(faults), "")
            return Extraction(error=f"no JSON value was found in the answer{': ' + reason if reason else ''}")
        return _mismatch(seen.candidates, self.wanted)


def _mismatch(candidates: list[Any], wanted: OutputSchema) -> Extraction:
    shown_ones = tuple(candidates[:10])
    if len(candidates) == 1:
        problems = tuple(wanted.validate(candidates[0]))
        said = "; ".join(map(str, problems))
        return Extraction(candidates=shown_ones, problems=problems, error=f"the JSON does not match the schema: {said}")
    each = [f"{_preview(value)} ({wanted.validate(value)[0]})" for value in candidates[:3]]
    more = f" and {len(candidates) - 3} more" if len(candidates) > 3 else ""
    return Extraction(
        candidates=shown_ones,
        error=f"none of the {len(candidates)} JSON values in the answer matches the schema: {'; '.join(each)}{more}",
    )


def _rung(step: Step, found: Iterable[Found], wanted: OutputSchema) -> _Rung:
    rung = _Rung(step, wanted=wanted)
    seen: set[str] = set()
    for number, (value, fault) in enumerate(found):
        if number == MAX_CANDIDATES:
            rung.is_cut = True
            break
        if fault is not None:
            rung.faults.append(fault)
            continue
        if rung.candidates:
            seen = seen or {_canonical(rung.candidates[0])}
            text = _canonical(value)
            if text in seen:
                continue
            seen.add(text)
        rung.candidates.append(value)
        if wanted.accepts(value):
            rung.valid.append(value)
    return rung


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _parsed(parts: Iterable[str]) -> Iterator[Found]:
    for part in parts:
        try:
            yield parse_json(part), None
        except NotJSONError as error:
            # At the very first character it is no JSON at all, and the words about it would tell nothing.
            yield None, str(error) if error.position != 0 else ""


def _fenced(text: str) -> Iterator[Found]:
    return _parsed(fenced_blocks(text))


def _balanced(text: str) -> Iterator[Found]:
    for span in spans(text):
        yield span.value, span.fault


def _repaired(text: str) -> Iterator[Found]:
    from dragoman.structured.repairing import mended

    for part in [*islice(fenced_blocks(text), 10)] or [text]:
        try:
            yield mended(part), None
        except NotJSONError as error:
            yield None, str(error)


_LADDER: tuple[tuple[Step, Callable[[str], Iterator[Found]]], ...] = (
    ("fenced", _fenced),
    ("balanced", _balanced),
    ("repaired", _repaired),
)


def fenced_blocks(text: str) -> Iterator[str]:
    """The insides of Markdown's fenced blocks; one that is not closed ends with the text."""
    opening: re.Match[str] | None = None
    for line in _fences(text):
        if opening is None:
            if "`" not in line["info"]:
                opening = line
        elif line["fence"].startswith(opening["fence"]) and not line["info"].strip():
            yield text[opening.end() : line.start()].strip()
            opening = None
    if opening is not None:
        yield text[opening.end() :].strip()


_FENCE = re.compile(r"(?P<fence>`{3,}+|~{3,}+)(?P<info>[^\n]*+)")


def _fences(text: str) -> Iterator[re.Match[str]]:
    """Three or more backticks or tildes with nothing before them on their line."""
    # str.find is ten times as fast as a search for the expression.
    at = 0
    nearest = {"```": -1, "~~~": -1}
    while True:
        for fence in nearest:
            if nearest[fence] < at:
                place = text.find(fence, at)
                nearest[fence] = len(text) if place < 0 else place
        start = min(nearest.values())
        if start == len(text):
            return
        before = text[max(text.rfind("\n", at, start) + 1, at) : start]
        match = _FENCE.match(text, start)
        if match is not None and (not before or before.isspace()):
            yield match
        at = text.find("\n", start)
        if at < 0:
            return


def _preview(value: object) -> str:
    # Piece by piece: of a large value no more is written than is shown.
    pieces = json.JSONEncoder(ensure_ascii=False).iterencode(value)
    return shortened("".join(islice(pieces, 40)), 80)
