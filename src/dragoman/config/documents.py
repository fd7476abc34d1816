"""Reading a configuration file: what it says, and on which line it says it."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from dragoman.config.keys import Key
from dragoman.config.lines import json_lines, toml_lines
from dragoman.config.problems import ConfigurationError

MAX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Document:
    """What one source says, not yet checked."""

    name: str
    data: Mapping[str, Any]
    base: Path
    """Relative paths in it are relative to this folder."""
    places: Mapping[Key, str] = field(default_factory=dict[Key, str])
    """Where a key stands, such as ``dragoman.toml:3`` or the name of a variable."""
    via: str = ""
    """How it came in, when a person named it: ``--config``."""
    path: Path | None = None
    content: bytes = b""
    trusted: bool = True

    def where(self, key: Key) -> str:
        """The place of a key, else of the nearest table around it, else the source itself."""
        for length in range(len(key), 0, -1):
            place = self.places.get(key[:length])
            if place is not None:
                return place
        return self.name


def read_document(path: Path, *, via: str = "", project: bool = False) -> Document:
    """Read and parse a TOML, YAML or JSON file.

    A project file must be a regular file and no link: what a person trusts is what they see.

    Raises:
        ConfigurationError: it cannot be read, or is not valid TOML, YAML or JSON.
    """
    name = shown(path)
    content = read_regular(path, follow=not project)
    text = _decoded(content, name)
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise ConfigurationError(
            [f"{name}: a name that ends in .toml, .yaml, .yml or .json tells what it is; rename it"]
        )
    try:
        data, lines = parse(text, name)
    except RecursionError:
        raise ConfigurationError([f"{name}: is nested too deeply; nothing in a configuration needs that"]) from None
    if not isinstance(data, dict):
        raise ConfigurationError([f"{name}: must hold a table, but holds {type(data).__name__}"])
    return Document(
        name=name,
        data=cast("dict[str, Any]", data),
        base=path.absolute().parent,
        places={key: f"{name}:{line}" for key, line in lines.items()},
        via=via,
        path=path.absolute(),
        content=content,
        trusted=not project,
    )


def read_regular(path: Path, *, follow: bool) -> bytes:
    """The content of a regular file of at most `MAX_BYTES`.

    Raises:
        ConfigurationError: it is something else, larger, a link while `follow` is false, or cannot be read.
    """
    name = shown(path)
    if not follow and path.is_symlink():
        raise ConfigurationError(
            [f"{name}: is a symbolic link, which a project file must not be; put the file itself there"]
        )
    # O_NONBLOCK: opening a named pipe would wait for its writer. O_NOFOLLOW: it may have become a link since.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    try:
        with open(path, "rb", opener=lambda file, _: os.open(file, flags)) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ConfigurationError([f"{name}: is not a regular file; give a file"])
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError([f"{name}: cannot be read: {error.strerror or error}"]) from error
    if len(content) > MAX_BYTES:
        raise ConfigurationError(
            [f"{name}: is larger than 1 MiB, which no configuration is; check that it is the right file"]
        )
    return content


def shown(path: Path) -> str:
    """A path as it is named to a person: short when it lies in the current folder."""
    here = path.absolute()
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else str(here)


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([f"{name}:{line}: is not UTF-8 text; save it as UTF-8"]) from None


def _toml(text: str, name: str) -> tuple[object, Mapping[Key, int]]:
    try:
        return tomllib.loads(text), toml_lines(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([_toml_problem(str(error), text, name)]) from None


def _toml_problem(message: str, text: str, name: str) -> str:
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
    if match:
        return f"{name}:{match[2]}:{match[3]}: is not valid TOML: {match[1]}"
    last = text.rstrip("\n").count("\n") + 1
    column = len(text.rstrip("\n")) - text.rstrip("\n").rfind("\n")
    return f"{name}:{last}:{column}: is not valid TOML: {message.removesuffix(' (at end of document)')}, at the end"


def _json(text: str, name: str) -> tuple[object, Mapping[Key, int]]:
    try:
        return json.loads(text), json_lines(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError([f"{name}:{error.lineno}:{error.colno}: is not valid JSON: {error.msg}"]) from None


def _yaml(text: str, name: str) -> tuple[object, Mapping[Key, int]]:
    try:
        from dragoman.config import yaml_text
    except ImportError:
        hint = 'pip install "dragoman[yaml]"'
        raise ConfigurationError([f"{name}: YAML needs one more package; run: {hint}, or write TOML"]) from None
    return yaml_text.parse(text, name)


_PARSERS: Mapping[str, Callable[[str, str], tuple[object, Mapping[Key, int]]]] = {
    ".toml": _toml,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".json": _json,
}
