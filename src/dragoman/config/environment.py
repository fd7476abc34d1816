"""The environment as a layer: ``DRAGOMAN_PROVIDERS__CLAUDE__MODEL`` is ``model`` in ``[providers.claude]``."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from dragoman.config.documents import Document, read_regular, shown
from dragoman.config.keys import Key, merge, takes_structure
from dragoman.config.problems import ConfigurationError

PREFIX = "DRAGOMAN_"
RESERVED = frozenset({"DRAGOMAN_HOME", "DRAGOMAN_DEPTH", "DRAGOMAN_LINEAGE", "DRAGOMAN_CONFIG"})
"""Variables of ours that are no configuration keys."""


def environment_document(environ: Mapping[str, str], base: Path) -> Document | None:
    """What the ``DRAGOMAN_*`` variables say; None when there are none. An empty value is as good as none.

    Raises:
        ConfigurationError: a list or table is not JSON.
    """
    variables = {name: value for name, value in environ.items() if _is_ours(name, value)}
    if not variables:
        return None
    data, keys = _nested(variables, {name: name for name in variables})
    return Document(name="environment", data=data, base=base, places={key: name for name, key in keys.items()})


def dotenv_document(folder: Path, environ: Mapping[str, str]) -> tuple[Document | None, list[str]]:
    """What the ``DRAGOMAN_*`` lines of the folder's ``.env`` say where the environment does not, and warnings.

    A ``.env`` is mostly for others: it is refused with a warning, never with an error, unless a line of ours is wrong.

    Raises:
        ConfigurationError: a list or table is not JSON.
    """
    path = folder / ".env"
    if not path.exists():
        return None, []
    try:
        content = read_regular(path, follow=True)
    except ConfigurationError as error:
        return None, [f"{problem}; it is not used" for problem in error.problems]
    if PREFIX.encode() not in content:
        return None, []
    name = shown(path)
    if path.is_symlink():
        return None, [f"{name}: is a symbolic link; its {PREFIX}* lines are not used: put the file itself there"]

    variables, places, warnings = _parse_dotenv(content.decode("utf-8-sig", errors="replace"), name)
    variables = {variable: value for variable, value in variables.items() if not environ.get(variable)}
    if not variables:
        return None, warnings
    data, keys = _nested(variables, places)
    document = Document(
        name=name,
        data=data,
        base=folder,
        places={key: places[variable] for variable, key in keys.items()},
        path=path,
        content=content,
        trusted=False,
    )
    return document, warnings


def _parse_dotenv(text: str, name: str) -> tuple[dict[str, str], dict[str, str], list[str]]:
    # Only here: most folders have no such file, and start-up is counted in milliseconds.
    from dotenv.parser import parse_stream

    variables: dict[str, str] = {}
    places: dict[str, str] = {}
    warnings: list[str] = []
    for binding in parse_stream(io.StringIO(text)):
        # A binding's text begins with the blank lines before it.
        raw = binding.original.string
        place = f"{name}:{binding.original.line + len(raw[: len(raw) - len(raw.lstrip())].splitlines())}"
        if binding.error and PREFIX in raw:
            warnings.append(f"{place}: cannot be read as NAME=value; it is not used")
        elif binding.key in RESERVED:
            warnings.append(f"{place}: {binding.key!r} is not read from a .env file; set it in the environment")
        elif binding.key is not None and binding.value is not None and _is_ours(binding.key, binding.value):
            variables[binding.key], places[binding.key] = binding.value, f"{place} ({binding.key})"
    return variables, places, warnings


def _is_ours(name: str, value: str) -> bool:
    return name.startswith(PREFIX) and name not in RESERVED and value != ""


def _nested(variables: Mapping[str, str], places: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Key]]:
    """The variables as nested tables, the less deep first, and the key each one stands for."""
    data: dict[str, Any] = {}
    keys = {name: _key(name) for name in sorted(variables, key=lambda name: (name.count("__"), name))}
    problems: list[str] = []
    for name, key in keys.items():
        value: Any = variables[name]
        if value[0] in "[{" and takes_structure(key):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as error:
                problems.append(f"{places[name]}: is not valid JSON: {error}")
                continue
        for part in reversed(key):
            value = {part: value}
        merge(data, cast("dict[str, Any]", value))
    if problems:
        raise ConfigurationError(problems)
    return data, keys


def _key(name: str) -> Key:
    """Lower case, but for the names of a child's own variables."""
    parts = name.removeprefix(PREFIX).split("__")
    lower = [part.lower() for part in parts]
    if lower[0] == "providers" and lower[2:3] == ["env"]:
        return (*lower[:3], *(["__".join(parts[3:])] if parts[3:] else []))
    return tuple(lower)
