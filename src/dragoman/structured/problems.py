"""What is wrong with a value, said so that a model or a person can put it right."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from dragoman.schemas.text import writable

MAX_SHOWN = 80
"""Characters of a value that are quoted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: where it is (``$.items[0].name``), what should stand there and what does."""

    path: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, got {self.got}"


def path_of(parts: Iterable[str | int]) -> str:
    """A place in a value: ``$`` is the whole, then ``.name`` and ``[index]``."""
    text = "$"
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier():
            text += f".{part}"
        else:
            text += f"[{json.dumps(shortened(part), ensure_ascii=False)}]"
    return text


def shown(value: object) -> str:
    """A value in few words: containers by their size, everything else as JSON, shortened."""
    if isinstance(value, dict):
        names = [str(name) for name in cast("dict[object, object]", value)]
        if not names:
            return "an empty object"
        return f"an object with {listed(names, 'and')}"
    if isinstance(value, (list, tuple)):
        size = len(cast("Sequence[object]", value))
        return "an empty array" if not size else f"an array of {size} item{'s' * (size != 1)}"
    if isinstance(value, str):
        short = shortened(value)
        length = f" ({len(value)} characters)" if len(short) < len(value) else ""
        return json.dumps(short, ensure_ascii=False) + length
    try:
        return shortened(json.dumps(value))
    except (TypeError, ValueError):
        return shortened(repr(value))


def shortened(text: str, limit: int = MAX_SHOWN) -> str:
    """`text`, cut at `limit` characters and marked when it was."""
    return writable(text if len(text) <= limit else text[: limit - 1] + "…")


def listed(items: Sequence[str], word: str, most: int = 8) -> str:
    """``a, b and c``; those past `most` are counted."""
    short = [shortened(item, 60) for item in items[:most]]
    if len(items) > most:
        short.append(f"{len(items) - most} more")
    return short[0] if len(short) == 1 else f"{', '.join(short[:-1])} {word} {short[-1]}"


def kind_of(value: object) -> str:
    """The name of a JSON value's type, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, (list, tuple)) else "an object"
