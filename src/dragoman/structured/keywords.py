"""Those keywords of JSON Schema whose check in jsonschema can take more than linear time, done otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Protocol, cast

from jsonschema import validators
from jsonschema.exceptions import ValidationError

from dragoman.structured.linear import searcher
from dragoman.structured.problems import listed


class Checker(Protocol):
    """What is used of jsonschema's validators."""

    def iter_errors(self, instance: object) -> Iterator[ValidationError]: ...
    def is_type(self, instance: object, type: str) -> bool: ...  # noqa: A002 - its name
    def descend(
        self, instance: object, schema: object, path: str | None = None, schema_path: str | None = None
    ) -> Iterator[ValidationError]: ...


_Object = dict[str, Any]
Check = Callable[[Checker, Any, Any, _Object], Iterator[ValidationError]]


@cache
def bounded(known: object) -> Callable[..., Checker]:
    """A validator class of jsonschema's, with those keywords replaced that can take more than linear time."""
    checks: dict[str, Check] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    return cast("Any", validators).extend(known, checks)


def _pattern(validator: Checker, pattern: str, value: str, _: _Object) -> Iterator[ValidationError]:
    if validator.is_type(value, "string") and not searcher(pattern)(value):
        yield ValidationError(f"does not match {pattern!r}")


def _pattern_properties(validator: Checker, patterns: _Object, value: _Object, _: _Object) -> Iterator[ValidationError]:
    if not validator.is_type(value, "object"):
        return
    for pattern, below in patterns.items():
        finds = searcher(pattern)
        for name, part in value.items():
            if finds(name):
                yield from validator.descend(part, below, path=name, schema_path=pattern)


def _additional_properties(
    validator: Checker, additional: object, value: _Object, schema: _Object
) -> Iterator[ValidationError]:
    if not validator.is_type(value, "object"):
        return
    known = schema.get("properties", {})
    patterns = [searcher(pattern) for pattern in schema.get("patternProperties", {})]
    extra = [name for name in value if name not in known and not any(finds(name) for finds in patterns)]
    if validator.is_type(additional, "object"):
        for name in extra:
            yield from validator.descend(value[name], additional, path=name)
    elif additional is False:
        for name in extra:
            yield ValidationError(
                "no property of this name" + (f" (there may be {listed([*known], 'and')})" if known else ""),
                path=[name],
                instance=value[name],
            )


def _unique_items(validator: Checker, unique: bool, value: list[object], _: _Object) -> Iterator[ValidationError]:
    if not unique or not validator.is_type(value, "array"):
        return
    seen: dict[object, int] = {}
    for index, item in enumerate(value):
        first = seen.setdefault(_key(item), index)
        if first != index:
            yield ValidationError(f"items that differ; [{first}] and [{index}] are the same")
            return


def _key(value: object) -> object:
    """Equal for what JSON Schema takes for equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, bool):
        return (bool, value)
    if isinstance(value, dict):
        return frozenset((name, _key(part)) for name, part in cast("dict[str, object]", value).items())
    if isinstance(value, list):
        return tuple([_key(part) for part in cast("list[object]", value)])
    return value
