"""A plain ``dragoman serve`` read without the option parser, which would cost a tenth of the server's start.

The options are the fields of `Common` and `Transport`, as they are for `dragoman.cli.app`. Whatever is not a plain
`serve` with complete options is left to the parser, which also explains mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from dragoman.cli.common import Common, Transport


def read(words: Sequence[str]) -> tuple[Common, Transport] | None:
    """The options of a plain `serve`; None when the words need the parser."""
    left = list(words)
    common = _take(left, Common)
    if common is None or not left or left.pop(0) != "serve":
        return None
    transport = _take(left, Transport)
    if transport is None or left:
        return None
    return Common(**common), Transport(**transport)


def _take(left: list[str], options: type[Common | Transport]) -> dict[str, Any] | None:
    """The options at the front of `left`, which loses them; None when one is unknown or incomplete."""
    defaults: dict[str, Any] = {field.name: field.default for field in fields(options)}
    taken: dict[str, Any] = {}
    while left and left[0].startswith("-"):
        flag, equals, value = left.pop(0).partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        default = defaults.get(name, ...)
        if default is ... or option(name) != flag:
            return None
        if isinstance(default, bool):
            if equals:
                return None
            taken[name] = True
            continue
        if not equals:
            if not left:
                return None
            value = left.pop(0)
        taken[name] = (*taken.get(name, ()), value) if isinstance(default, tuple) else value
    return taken


def option(field: str) -> str:
    """How a field is spelled on the command line."""
    return "--" + field.replace("_", "-")
