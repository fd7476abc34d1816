"""What a caller gave a tool, held against the schema that the tool publishes.

The schema is the one source: simple types, no alternatives and nothing nested, so that every client shows them alike.
What is in an object or a list is for the tool to judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from dragoman.schemas import ErrorCode, error_of

Schema = Mapping[str, Any]

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "object": dict,
    "array": list,
}
_NUMBERS = ("number", "integer")
_SHOWN = 60


def check(tool: str, arguments: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The arguments that say something: null is what some clients send for an argument that is left out.

    Raises:
        LLMError: one is unknown, missing or wrong (code ``bad_request``); the next step lists the known ones.
    """
    properties: Mapping[str, Schema] = schema["properties"]
    known = f"the arguments of {tool} are: {', '.join(properties)}"
    for name in arguments:
        if name not in properties:
            nearest = get_close_matches(name, properties, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise wrong(f"{tool} has no argument {_shown(name)}{hint}", known)
    given = {name: value for name, value in arguments.items() if value is not None}
    for name in schema.get("required", ()):
        if name not in given:
            raise wrong(f"{tool} needs the argument {name!r}", known)
    for name, value in given.items():
        if properties[name]["type"] == "integer" and isinstance(value, float) and value.is_integer():
            # Some clients know no other numbers.
            given[name] = int(value)
        elif lacking := _lacking(value, properties[name]):
            raise wrong(f"{name!r} is {_shown(value)}, but it must be {lacking}", f"correct {name!r} and call again")
    return given


def needed(given: Mapping[str, Any], name: str, otherwise: str) -> Any:  # noqa: ANN401 - as in the schema
    """An argument without which the action that was chosen cannot be done.

    Raises:
        LLMError: it is not given (code ``bad_request``).
    """
    if name not in given:
        raise wrong(f"this action needs the argument {name!r}", f"give a {name}, or {otherwise}")
    return given[name]


def wrong(message: str, next_step: str) -> Exception:
    """The failure of a call whose arguments cannot be used; nothing was started."""
    return error_of(ErrorCode.BAD_REQUEST, message, next_step=next_step)


def _lacking(value: object, schema: Schema) -> str | None:
    """What the value would have to be; None when it fits."""
    kind: str = schema["type"]
    if kind == "object" and isinstance(value, str):
        # Not all clients can send an object. What the text says is for the tool to judge.
        return None
    # For Python a boolean is a number; for JSON it is none.
    if not isinstance(value, _TYPES[kind]) or (kind in _NUMBERS and isinstance(value, bool)):
        return f"{'an' if kind[0] in 'aio' else 'a'} {kind}"
    if "enum" in schema and value not in schema["enum"]:
        return f"one of: {', '.join(schema['enum'])}"
    if isinstance(value, (int, float)):
        try:
            if not math.isfinite(value):
                return "a finite number"
        except OverflowError:
            # A whole number of hundreds of digits. Clocks and counts are no longer than a `float` anyway.
            return "a smaller number"
        if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
            return f"more than {schema['exclusiveMinimum']}"
        if "minimum" in schema and value < schema["minimum"]:
            return f"at least {schema['minimum']}"
        if "maximum" in schema and value > schema["maximum"]:
            return f"at most {schema['maximum']}"
    return None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
