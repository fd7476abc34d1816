"""A JSON Schema, checked and made ready to judge values. Slow to import: nothing loads it before there is a schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, cast

from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing.jsonschema import EMPTY_REGISTRY

from dragoman.structured.describing import problems_from
from dragoman.structured.keywords import Checker, bounded
from dragoman.structured.problems import Problem, shown
from dragoman.structured.references import LATEST, References, UnusableSchemaError, root_of_keywords

MAX_ERRORS = 200
"""Errors that are looked at before the best of them are chosen."""


class Compiled:
    """See `compile_schema`."""

    def __init__(self, validator: Checker, root: object) -> None:
        self._validator = validator
        self._root = root

    def accepts(self, value: object) -> bool:
        """Whether `value` is valid."""
        try:
            return next(self._errors(value), None) is None
        except RecursionError:
            return False

    def problems(self, value: object, most: int) -> list[Problem]:
        """The faults of `value`, those first that explain the others; at most `most` of them."""
        try:
            return problems_from(islice(self._errors(value), MAX_ERRORS), most, self._root)
        except RecursionError:
            return [Problem("$", "a value that is nested less deeply", shown(value))]

    def _errors(self, value: object) -> Iterator[ValidationError]:
        return self._validator.iter_errors(value)


def compile_schema(schema: Mapping[str, Any] | bool) -> Compiled:
    """The schema made ready, in the dialect that its ``$schema`` names or else 2020-12. It must be plain JSON.

    Raises:
        UnusableSchemaError: it is no JSON Schema, or refers to something that is not in it.
    """
    dialect = LATEST if isinstance(schema, bool) else schema.get("$schema", LATEST)
    nothing = cast("type[Validator]", None)
    known = validator_for({"$schema": dialect}, default=nothing) if isinstance(dialect, str) else nothing
    if known is nothing:
        raise UnusableSchemaError(
            f'at $["$schema"]: {shown(dialect)} is not a dialect that is known here; leave it out, or write {LATEST!r}'
        )
    for problem in problems_from(known(known.META_SCHEMA).iter_errors(schema), 1, root_of_keywords(known.META_SCHEMA)):
        raise UnusableSchemaError(f"at {problem.path}: expected {problem.expected}, got {problem.got}")
    if isinstance(schema, dict):
        References(schema, cast("str", dialect)).check()
    # Without the name of its dialect: jsonschema would go back to its own classes where the root is referred to.
    body = schema if isinstance(schema, bool) else {key: part for key, part in schema.items() if key != "$schema"}
    return Compiled(bounded(known)(body, registry=EMPTY_REGISTRY), body)
