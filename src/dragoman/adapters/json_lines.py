"""Reading lines of JSON from a stranger: whatever stands there, what comes back has the type that was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast


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


def items(value: object) -> list[Any]:
    """`value` if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []
