"""JSON as the standard has it: no NaN, no name twice, no half characters, bounded depth."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn, cast

MAX_DEPTH = 128
"""Levels of a value. What is deeper could not be checked: the check itself goes as deep."""


class NotJSONError(ValueError):
    """The text is not JSON that can be used; the message says why and where."""

    def __init__(self, reason: str, position: int | None = None) -> None:
        super().__init__(reason)
        self.position = position


def parse_json(text: str) -> object:
    """The value that the whole of `text` is.

    Raises:
        NotJSONError: it is none, or breaks a rule of this module.
    """
    try:
        value = _DECODER.decode(text)
    except ValueError as error:
        raise _not_json(error) from None
    except RecursionError:
        raise _too_deep() from None
    return _checked(value, text)


def parse_json_at(text: str, start: int) -> tuple[object, int]:
    """The value that begins at `start`, and where it ends. Raises as `parse_json` does."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except ValueError as error:
        raise _not_json(error) from None
    except RecursionError:
        raise _too_deep() from None
    return _checked(value, text, start, end), end


def _checked(value: object, text: str, start: int = 0, end: int | None = None) -> object:
    if _is_too_deep(value):
        raise _too_deep()
    if text.find("\\u", start, end) >= 0:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise NotJSONError("there is half a character in it (an unpaired \\ud800 to \\udfff)") from None
    return value


def _is_too_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for part in level:
            if isinstance(part, dict):
                below += [x for x in cast("dict[str, object]", part).values() if isinstance(x, (dict, list))]
            elif isinstance(part, list):
                below += [x for x in cast("list[object]", part) if isinstance(x, (dict, list))]
        if not below:
            return False
        level = below
    return True


def _too_deep() -> NotJSONError:
    return NotJSONError(f"it is nested more than {MAX_DEPTH} levels deep")


def _not_json(error: ValueError) -> NotJSONError:
    if isinstance(error, NotJSONError):
        return error
    if isinstance(error, json.JSONDecodeError):
        reason = error.msg[:1].lower() + error.msg[1:]
        return NotJSONError(f"{reason}, at line {error.lineno}, column {error.colno}", error.pos)
    return NotJSONError("a number in it is too long")


def _refuse_constant(name: str) -> NoReturn:
    raise NotJSONError(f"{name} is no JSON value; use null or a number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise NotJSONError(f"the number {text[:30]} is too large")
    return number


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise NotJSONError(f"the property {json.dumps(twice[:60])} is there twice")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_without_doubles, parse_constant=_refuse_constant, parse_float=_finite)
