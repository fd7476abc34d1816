"""The short form of a schema: ``name, age int, tags list[str], score float?: from 0 to 1``."""

from __future__ import annotations

import re
from typing import Any

_TYPES = {
    "str": "string",
    "string": "string",
    "int": "integer",
    "integer": "integer",
    "float": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
}
_NAME = re.compile(r"[^\W\d][\w-]*")
_LIST = re.compile(r"list\[(\w*)\]|(\w+)\[\]")
_EXAMPLE = "write it like 'name, age int, tags list[str], score float?: from 0 to 1'"


def schema_of(text: str) -> dict[str, Any]:
    """The JSON Schema of an object with the fields that `text` names.

    Fields stand between commas, or one on each line; then a description may have commas in it. A field is a name, a
    type (``str`` when there is none, ``int``, ``float``, ``bool``, ``list[int]``), ``?`` when it may be left out, and a
    description after a colon. It is the form that the `llm` command has, and more.

    Raises:
        LLMError: ``bad_request``.
    """
    properties: dict[str, Any] = {}
    required: list[str] = []
    for field in filter(None, (part.strip() for part in text.split("\n" if "\n" in text.strip() else ","))):
        head, _, description = (part.strip() for part in field.partition(":"))
        words = head.split(None, 1)
        name = words[0].removesuffix("?") if words else ""
        if not _NAME.fullmatch(name):
            raise _unusable(f"the field {field!r} does not begin with a name")
        if name in properties:
            raise _unusable(f"the field {name!r} is there twice")
        kind = words[1].replace(" ", "") if len(words) > 1 else "str"
        is_optional = words[0].endswith("?") or kind.endswith("?")
        schema = _typed(name, kind.removesuffix("?") or "str", is_optional)
        properties[name] = schema | ({"description": description} if description else {})
        if not is_optional:
            required.append(name)
    if not properties:
        raise _unusable("it names no field")
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _typed(name: str, kind: str, is_optional: bool) -> dict[str, Any]:
    items = _LIST.fullmatch(kind)
    if items or kind == "list":
        inner = (items[1] or items[2] or "str") if items else "str"
        schema: dict[str, Any] = {"type": "array", "items": {"type": _known(name, inner)}}
    else:
        schema = {"type": _known(name, kind)}
    # Models write null for what they do not know, and are told to.
    return schema | {"type": [schema["type"], "null"]} if is_optional else schema


def _known(name: str, kind: str) -> str:
    if kind not in _TYPES:
        raise _unusable(
            f"the field {name!r} has the type {kind!r}; known are str, int, float, bool and list[…] of them"
        )
    return _TYPES[kind]


def _unusable(message: str) -> Exception:
    from dragoman.structured.schema import unusable

    return unusable(f"{message}; {_EXAMPLE}")
