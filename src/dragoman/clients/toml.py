"""Changing one table of a TOML file and nothing else. A change that reads back as anything else is given up."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

_HEADER = re.compile(r"^[ \t]*\[(?P<name>[^\]\n]+)\][^\n]*$", re.MULTILINE)
_BY_HAND = "it is written in a way that cannot be changed safely"


class TomlError(ValueError):
    """The text is no TOML, or cannot be changed. ``line`` counts from 1; 0: it is not known."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


def read(text: str) -> dict[str, Any]:
    """What the text says.

    Raises:
        TomlError: it cannot be read.
    """
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise TomlError(int(line[1]) if line else 0, str(error)) from error


def put(text: str, path: Sequence[str], value: Mapping[str, Any]) -> str:
    """The text with this table, which is added, or whose values are changed to these.

    Raises:
        TomlError: it cannot be read, or cannot be changed safely.
    """
    above, name = path
    wanted = read(text)
    if not isinstance(wanted.setdefault(above, {}), dict):
        raise TomlError(0, f"{above} is not a table")
    tables: dict[str, Any] = wanted[above]
    before: dict[str, Any] = tables.get(name) or {}
    tables[name] = {**before, **value}
    end_of_line = "\r\n" if "\r\n" in text else "\n"
    lines = {key: f"{key} = {_spelled(each)}" for key, each in value.items()}
    if (span := _span(text, path)) is not None:
        table = text[span[0] : span[1]]
        for key, line in lines.items():
            if key in before and before[key] != value[key]:
                table = re.sub(
                    rf"^{re.escape(key)}[ \t]*=[^\r\n]*", lambda _, line=line: line, table, flags=re.MULTILINE
                )
            elif key not in before:
                header, rest = table.split("\n", 1)
                table = f"{header}\n{line}{end_of_line}{rest}"
        changed = text[: span[0]] + table + text[span[1] :]
    else:
        gap = "" if not text.strip() else end_of_line if text.endswith("\n") else 2 * end_of_line
        header = f"[{above}.{name}]"
        changed = text + gap + end_of_line.join((header, *lines.values())) + end_of_line
    return _checked(changed, wanted)


def remove(text: str, path: Sequence[str]) -> str:
    """The text without this table and those below it; unchanged when it is not there.

    Raises:
        TomlError: it cannot be read, or cannot be changed safely.
    """
    above, name = path
    wanted = read(text)
    if name not in wanted.get(above, {}):
        return text
    del wanted[above][name]
    if not wanted[above]:
        del wanted[above]
    span = _span(text, path)
    if span is None:
        raise TomlError(0, _BY_HAND)
    before, behind = text[: span[0]], text[span[1] :]
    # The empty line before it came with it.
    before = re.sub(r"(\n)\r?\n$", r"\1", before)
    return _checked(before + behind, wanted)


def _span(text: str, path: Sequence[str]) -> tuple[int, int] | None:
    """From the table's header to the next one that is not below it."""
    headers = [
        (found, [part.strip().strip("\"'") for part in found["name"].split(".")]) for found in _HEADER.finditer(text)
    ]
    for index, (found, name) in enumerate(headers):
        if name == list(path):
            following = (each.start() for each, other in headers[index + 1 :] if other[: len(path)] != list(path))
            end = next(following, len(text))
            # Empty lines before the next header are the next one's.
            kept = len(text[:end].rstrip())
            newline = text.find("\n", kept)
            return found.start(), end if newline < 0 else newline + 1
    return None


def _checked(text: str, wanted: Mapping[str, Any]) -> str:
    try:
        said = read(text)
    except TomlError as error:
        raise TomlError(0, _BY_HAND) from error
    said = {key: value for key, value in said.items() if value != {} or key in wanted}
    if said != wanted:
        raise TomlError(0, _BY_HAND)
    return text


def _spelled(value: object) -> str:
    """As TOML spells text, numbers, truths and lists of them, which JSON does alike."""
    return json.dumps(value, ensure_ascii=False)
