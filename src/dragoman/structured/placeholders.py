"""Guards against values that match a schema and say nothing: "n/a", "string", an empty required field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from dragoman.structured.pointers import resolved
from dragoman.structured.problems import Problem, path_of, shown
from dragoman.structured.schema import MAX_PROBLEMS, OutputSchema

# fmt: off
_WORDS = frozenset((
    "n/a", "na", "none", "null", "nil", "string", "str", "text", "value", "placeholder", "tbd", "todo", "tba", "fixme",
    "unknown", "undefined", "unspecified", "error", "-", "--", "---", ".", "..", "...", "…", "?", "??", "???", "xxx",
    "foo", "bar", "lorem", "lorem ipsum", "not available", "not applicable", "not specified", "not provided",
    "to be determined", "to be done", "your text here", "your answer here", "insert text here", "example text",
    "sample text",
))
# fmt: on
_BLANK_TO_FILL = re.compile(
    r"<[\w /-]{1,60}>|\[(?:insert|your|enter|todo|tbd)\b[^\]\n]{0,60}\]|\{\{[^{}\n]{0,60}\}\}", re.IGNORECASE
)

_Path = tuple[str | int, ...]


def is_placeholder(text: str) -> bool:
    """Whether `text` only stands where something should."""
    short = text.strip().lower()
    return len(short) <= 80 and (
        short in _WORDS or short.rstrip(".!") in _WORDS or bool(_BLANK_TO_FILL.fullmatch(short))
    )


def placeholder_problems(value: object, schema: OutputSchema | None = None) -> list[Problem]:
    """The strings in `value` that say nothing, and those that `schema` requires and that are empty.

    What the schema names as an allowed value, in an ``enum`` or a ``const``, is none.
    """
    root = schema.schema if schema is not None else True
    allowed = frozenset(_named(root))
    problems: list[Problem] = []
    pending: list[tuple[_Path, object, list[Any], bool]] = [((), value, [root], True)]
    while pending and len(problems) < MAX_PROBLEMS:
        path, part, schemas, is_required = pending.pop()
        known = [each for one in schemas for each in _alternatives(one, root)]
        if isinstance(part, str):
            if part not in allowed and (fault := _fault(part, is_required and schema is not None)):
                problems.append(Problem(path_of(path), fault, shown(part)))
        elif isinstance(part, dict):
            required = {name for one in known for name in one.get("required", ())}
            members = cast("dict[str, object]", part).items()
            pending += [
                (
                    (*path, name),
                    below,
                    [one["properties"][name] for one in known if name in one.get("properties", {})],
                    name in required,
                )
                for name, below in reversed(members)
            ]
        elif isinstance(part, list):
            items = [one["items"] for one in known if "items" in one]
            entries = [*enumerate(cast("list[object]", part))]
            pending += [((*path, index), below, items, False) for index, below in reversed(entries)]
    return problems


def _fault(text: str, is_required: bool) -> str | None:
    if not text.strip():
        return "a string that is not empty" if is_required else None
    return "a real value, not a placeholder" if is_placeholder(text) else None


def _alternatives(schema: object, root: Mapping[str, Any] | bool) -> Iterator[Mapping[str, Any]]:
    """The schemas that may describe one value: references followed, alternatives side by side."""
    pending, seen = [schema], set[int]()
    while pending:
        one = pending.pop()
        if not isinstance(one, Mapping) or id(cast("object", one)) in seen:
            continue
        seen.add(id(cast("object", one)))
        here = cast("Mapping[str, Any]", one)
        yield here
        if isinstance(here.get("$ref"), str):
            pending.append(resolved(here["$ref"], root))
        for keyword in ("allOf", "anyOf", "oneOf"):
            pending += cast("Sequence[object]", here.get(keyword, ()))


def _named(root: object) -> Iterator[str]:
    pending = [root]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            members = cast("Mapping[str, object]", part)
            values = members.get("enum")
            named = [*cast("list[object]", values)] if isinstance(values, list) else []
            yield from (one for one in [*named, members.get("const")] if isinstance(one, str))
            pending += members.values()
        elif isinstance(part, list):
            pending += cast("list[object]", part)
