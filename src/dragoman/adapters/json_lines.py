"""Reading lines of JSON from a stranger: whatever stands there, what comes back has the type that was asked for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
"""What moves a terminal's cursor or colours its text. In JSON a bare escape character cannot stand."""
_START = re.compile(r'\{\s*(?:"|\})')
_DECODER = json.JSONDecoder()
STARTS = 64
"""How many places of a garbled line are tried. A program that prints noise prints little of it."""
SHOWN_CHARS = 200


def objects(frames: Sequence[bytes]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The objects on these lines, in order, each with the noise before it on its line; noise alone has an empty object.

    A line is one object, unless something else wrote there too: colours, a byte order mark, words before the object, a
    second object behind it without a newline.
    """
    for frame in frames:
        try:
            # Not `json.loads`, which spends a good part of a short line on looking for UTF-16, UTF-32 and white space.
            line = frame.strip().decode()
            value, end = _DECODER.raw_decode(line)
        except (ValueError, RecursionError):
            yield from _garbled(frame)
            continue
        if end < len(line):
            yield from _garbled(frame)
        elif isinstance(value, dict):
            yield cast("Mapping[str, Any]", value), ""
        else:
            yield {}, _shown(line)


def _garbled(frame: bytes) -> Iterator[tuple[Mapping[str, Any], str]]:
    line = _TERMINAL.sub("", frame.decode("utf-8", "replace").replace("\ufeff", ""))
    position = tried = 0
    noise = ""
    while tried < STARTS and (start := _START.search(line, position)):
        tried += 1
        noise += line[position : start.start()]
        try:
            value, position = _DECODER.raw_decode(line, start.start())
        except (ValueError, RecursionError):
            noise += line[start.start() : start.end()]
            position = start.end()
        else:
            yield mapping(value), _shown(noise)
            noise = ""
    if words := _shown(noise + line[position:]):
        yield {}, words


def _shown(noise: str) -> str:
    words = " ".join(noise.split())
    if len(words) > SHOWN_CHARS:
        words = f"{words[:SHOWN_CHARS]}…"
    return f"not understood: {words}" if words else ""


def strange(kind: object, known: frozenset[str]) -> str:
    """What to say of an event whose type is not known; empty for a known one, and for none."""
    return (
        ""
        if kind is None or (isinstance(kind, str) and kind in known)
        else f"an event of an unknown type: {str(kind)[:SHOWN_CHARS]}"
    )


def parse(frame: bytes) -> Mapping[str, Any]:
    """The object on a line; empty when there is none."""
    try:
        value = json.loads(frame)
    except (ValueError, RecursionError):
        return {}
    return mapping(value)


def mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is an object, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def text(value: object) -> str:
    """`value` if it is text, else an empty one."""
    return value if isinstance(value, str) else ""


def whole(value: object) -> int | None:
    """`value` if it is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: object) -> float | None:
    """`value` if it is a number that ends, and no larger than a `float` can be, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def items(value: object) -> list[Any]:
    """`value` if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []
