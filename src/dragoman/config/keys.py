"""The keys of the configuration as data: what may stand where, and which was probably meant."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import BaseModel

from dragoman.config.settings import Configuration

Key = tuple[str | int, ...]
"""The way to a value: table names, then the key; a number is a place in a list."""


def names_in(table: Key) -> tuple[str, ...]:
    """The keys that a table may have; empty where any may stand, or where no table is."""
    model = _model(annotation_at(table))
    return tuple(_fields(model)) if model else ()


def nearest(name: str, table: Key) -> str | None:
    """The key of the table that was probably meant."""
    folded = name.lower().replace("-", "_")
    return next(iter(difflib.get_close_matches(folded, names_in(table), n=1, cutoff=0.6)), None)


def takes_structure(key: Key) -> bool:
    """Whether a list or a table belongs here, rather than one plain value."""
    annotation = annotation_at(key)
    return _model(annotation) is not None or get_origin(annotation) in (tuple, dict)


def leaf_keys() -> Iterator[str]:
    """Every key that can be set, dotted, with ``NAME`` where the user names the table."""
    return _leaves(Configuration, "")


def annotation_at(key: Key) -> object:
    """The type of what stands at a key; None when nothing may stand there."""
    current: object = Configuration
    for part in key:
        model = _model(current)
        if model is not None:
            current = _bare(_fields(model).get(str(part)))
        elif get_origin(current) is dict:
            current = _bare(get_args(current)[1])
        else:
            return None
    return current


def flatten(data: Mapping[str, Any], prefix: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Every value with its key; an empty table is a value too."""
    for name, value in data.items():
        key = (*prefix, name)
        if isinstance(value, Mapping) and value:
            yield from flatten(cast("Mapping[str, Any]", value), key)
        else:
            yield key, value


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Lay `over` on `base`: tables key by key, everything else as a whole."""
    for name, value in over.items():
        below = base.get(name)
        if isinstance(value, Mapping):
            table = cast("dict[str, Any]", below) if isinstance(below, dict) else {}
            base[name] = table
            merge(table, cast("Mapping[str, Any]", value))
        else:
            base[name] = value


def dotted(key: Key) -> str:
    """A key as it is written in TOML."""
    return ".".join(str(part) for part in key)


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, annotation in _fields(model).items():
        inner = _bare(annotation)
        named = get_origin(inner) is dict
        table = _model(_bare(get_args(inner)[1]) if named else inner)
        if table is None:
            yield f"{prefix}{name}"
        else:
            yield from _leaves(table, f"{prefix}{name}.NAME." if named else f"{prefix}{name}.")


def _fields(model: type[BaseModel]) -> dict[str, object]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _bare(annotation: object) -> object:
    """A type without what was annotated on it, and without its ``| None``."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _bare(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return _bare(next(arg for arg in get_args(annotation) if arg is not type(None)))
    return annotation
