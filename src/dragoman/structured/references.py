"""Follows every reference of a schema, so that none is found missing while an answer is judged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import Schema, specification_with

from dragoman.structured.linear import PatternError, searcher
from dragoman.structured.problems import kind_of, path_of, shortened

if TYPE_CHECKING:
    from referencing._core import Resolver

LATEST = "https://json-schema.org/draft/2020-12/schema"
_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
"""Keywords whose schemas judge the same value, so that a loop of them, and of references, has no end."""


class UnusableSchemaError(ValueError):
    """The schema cannot be used; the message names the place and the fault."""


class References:
    """The references of `schema`, which is plain JSON, and its regular expressions."""

    def __init__(self, schema: dict[str, Any], dialect: str) -> None:
        self._paths = {id(part): path for path, part in _parts(schema)}
        self._specification = specification_with(dialect)
        root = self._specification.create_resource(cast("Schema", schema))
        self._pending: list[tuple[Resolver[Schema], Resource[Schema]]] = [
            (_metaschemas().resolver_with_root(root), root)
        ]
        self._seen: set[int] = set()
        self._edges: dict[int, list[int]] = {}
        self._has_unevaluated = False
        self._named_patterns: list[tuple[str, str]] = []

    def check(self) -> None:
        """Raises `UnusableSchemaError`."""
        while self._pending:
            resolver, resource = self._pending.pop()
            here = cast("dict[str, Any]", resource.contents)
            # What has no path is in a metaschema, which is known to be sound.
            if not isinstance(resource.contents, dict) or id(here) in self._seen or id(here) not in self._paths:
                continue
            self._seen.add(id(here))
            self._patterns(here)
            self._in_place(here)
            for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
                if isinstance(here.get(keyword), str):
                    self._follow(here, keyword, resolver)
            for sub in resource.subresources():
                self._pending.append((resolver.in_subresource(sub), sub))
        if self._has_unevaluated:
            for place, pattern in self._named_patterns:
                _usable_beside_unevaluated(place, pattern)
        self._no_endless_loop()

    def _follow(self, here: dict[str, Any], keyword: str, resolver: Resolver[Schema]) -> None:
        reference = here[keyword]
        place = f'{self._path(here)}["{keyword}"]'
        try:
            found = resolver.lookup(reference)
        except (Unresolvable, ValueError, AttributeError, TypeError):
            what = "refers to nothing in this schema" if reference.startswith("#") else "would have to be fetched"
            raise UnusableSchemaError(
                f"at {place}: {shortened(reference)!r} {what}; put what is meant under $defs and "
                "refer to it with '#/$defs/NAME'"
            ) from None
        target = cast("object", found.contents)
        if not isinstance(target, (dict, bool)):
            raise UnusableSchemaError(f"at {place}: {shortened(reference)!r} is {kind_of(target)}, not a schema")
        self._edges.setdefault(id(here), []).append(id(cast("object", target)))
        self._pending.append((found.resolver, self._specification.create_resource(cast("Schema", target))))

    def _in_place(self, here: dict[str, Any]) -> None:
        edges = self._edges.setdefault(id(here), [])
        for keyword in _IN_PLACE:
            below = here.get(keyword)
            if isinstance(below, list):
                edges += [id(part) for part in cast("list[object]", below)]
            elif keyword == "dependentSchemas" and isinstance(below, dict):
                edges += [id(part) for part in cast("dict[str, object]", below).values()]
            elif isinstance(below, dict):
                edges.append(id(cast("object", below)))

    def _patterns(self, here: dict[str, Any]) -> None:
        self._has_unevaluated |= "unevaluatedProperties" in here
        patterns = [here["pattern"]] if isinstance(here.get("pattern"), str) else []
        named = here.get("patternProperties")
        if isinstance(named, dict):
            names = list(cast("dict[str, object]", named))
            patterns += names
            self._named_patterns += [(self._path(here), name) for name in names]
        for pattern in patterns:
            try:
                searcher(pattern)
            except PatternError as error:
                text = f"at {self._path(here)}: the pattern {shortened(pattern)!r} cannot be used: {error}"
                raise UnusableSchemaError(text) from None

    def _no_endless_loop(self) -> None:
        done: set[int] = set()
        for start in self._edges:
            trail: list[tuple[int, Iterator[int]]] = [(start, iter(self._edges[start]))] if start not in done else []
            on_trail = {start}
            while trail:
                node, following = trail[-1]
                after = next(following, None)
                if after is None:
                    trail.pop()
                    on_trail.discard(node)
                    done.add(node)
                elif after in on_trail:
                    raise UnusableSchemaError(
                        f"at {self._paths.get(after, '$')}: it refers to itself for the same value, which has no end; "
                        "refer to it from a property or an item"
                    )
                elif after not in done and after in self._edges:
                    trail.append((after, iter(self._edges[after])))
                    on_trail.add(after)

    def _path(self, here: dict[str, Any]) -> str:
        return self._paths.get(id(here), "$")


def _parts(schema: object) -> Iterator[tuple[str, object]]:
    pending: list[tuple[tuple[str | int, ...], object]] = [((), schema)]
    while pending:
        path, part = pending.pop()
        yield path_of(path), part
        if isinstance(part, dict):
            pending += [((*path, key), below) for key, below in cast("dict[str, object]", part).items()]
        elif isinstance(part, list):
            pending += [((*path, index), below) for index, below in enumerate(cast("list[object]", part))]


def _usable_beside_unevaluated(place: str, pattern: str) -> None:
    # jsonschema itself looks for the names that were judged, with Python's expressions.
    try:
        re.compile(pattern)
    except re.error as error:
        text = f"at {place}: the pattern {shortened(pattern)!r} cannot stand beside unevaluatedProperties: {error}"
        raise UnusableSchemaError(text) from None


@cache
def _metaschemas() -> Registry[Schema]:
    from jsonschema_specifications import REGISTRY  # pyright: ignore[reportMissingTypeStubs] - it has none

    return Registry[Schema]().combine(REGISTRY)


def root_of_keywords(metaschema: Mapping[str, Any]) -> object:
    """What ``#/…`` refers to where a metaschema says what keywords take: since 2019 that is a document of its own."""
    name = str(metaschema.get("$id", "")).replace("/schema", "/meta/validation")
    vocabulary = _metaschemas().get(name)
    return metaschema if vocabulary is None else vocabulary.contents
