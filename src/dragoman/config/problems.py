"""What is wrong with a configuration, in words that name the place and the way out."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dragoman.config.keys import Key, dotted, names_in, nearest


class ConfigurationError(Exception):
    """The configuration cannot be used. ``problems`` has every fault that was found, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.problems,)


class ConfigurationWarning(UserWarning):
    """A part of the configuration was not taken."""


def problems_of(error: ValidationError, data: Mapping[str, Any], where: Callable[[Key], str]) -> list[str]:
    """A sentence for each fault, ``FILE:LINE: what is wrong``, by line. `data` is what was validated."""
    problems: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        problem = _problem(detail, data, where)
        fault, _, demand = problem.rpartition("; ")
        known = problems.setdefault(fault or problem, problem)
        if demand not in known:
            # What may be one thing or another is refused once for each.
            problems[fault] = f"{known}, or {demand}"
    return sorted(problems.values(), key=_line)


def _line(problem: str) -> int:
    match = re.match(r".*?:(\d+): ", problem)
    return int(match[1]) if match else 0


def _problem(detail: ErrorDetails, data: Mapping[str, Any], where: Callable[[Key], str]) -> str:
    key, is_name = _existing(detail["loc"], data)
    place, name, table = where(key), key[-1] if key else "", key[:-1]
    if detail["type"] == "extra_forbidden":
        return f"{place}: unknown key {name!r}{_in(table)}; {_meant(str(name), table)}"
    if not key:
        return f"{place}: the file must hold a table, not {_shown(detail['input'])}"
    if is_name:
        return f"{place}: {name!r}{_in(table)} is not a name that can be used here; {_demand(detail)}"
    if isinstance(name, int):
        return f"{place}: item {name + 1} of {dotted(table)!r} is {_shown_at(key, detail)}; {_demand(detail)}"
    return f"{place}: {name!r}{_in(table)} is {_shown_at(key, detail)}; {_demand(detail)}"


def _existing(loc: tuple[int | str, ...], data: Mapping[str, Any]) -> tuple[Key, bool]:
    """The part of an error's place that stands in the data, and whether the fault is in the name itself."""
    key: list[str | int] = []
    current: Any = data
    for part in loc:
        if part == "[key]" and not (isinstance(current, Mapping) and part in current):
            return tuple(key), True
        if isinstance(current, Mapping) and part in current:
            current = cast("Mapping[str, Any]", current)[cast("str", part)]
        elif isinstance(current, (list, tuple)) and isinstance(part, int):
            current = cast("Sequence[Any]", current)[part]
        else:
            break
        key.append(part)
    return tuple(key), False


def _in(table: Key) -> str:
    return f" in [{dotted(table)}]" if table else " at the top level"


def _meant(name: str, table: Key) -> str:
    guess = nearest(name, table)
    return f"did you mean {guess!r}?" if guess else f"known keys are {', '.join(sorted(names_in(table)))}"


def _shown_at(key: Key, detail: ErrorDetails) -> str:
    # What stands in an `env` table is often a secret.
    return "not right (its value is not shown)" if "env" in key else _shown(detail["input"])


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxdict = 2


def _shown(value: object) -> str:
    return _SHORT.repr(value)


_DEMANDS = {
    "model_type": "it must be a table",
    "dict_type": "it must be a table",
    "tuple_type": 'it must be a list, such as ["a", "b"]',
    "bool_parsing": "it must be true or false",
    "bool_type": "it must be true or false",
    "path_type": "it must be a path, in quotes",
    "int_parsing": "it must be a whole number",
    "int_type": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "float_parsing": "it must be a number",
    "float_type": "it must be a number",
}


def _demand(detail: ErrorDetails) -> str:
    known = _DEMANDS.get(detail["type"])
    if known:
        return known
    if detail["type"] == "string_pattern_mismatch":
        return f"it must match {detail.get('ctx', {}).get('pattern', '')}"
    message = detail["msg"].removeprefix("Value error, ")
    return message.replace("Input should", "it must").replace("String should", "it must").replace(" valid ", " ")
