"""All layers on top of each other: defaults, user file, project file, named files, ``.env``, environment, call."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dragoman.config.documents import Document, read_document, shown
from dragoman.config.environment import dotenv_document, environment_document
from dragoman.config.keys import Key, dotted, flatten, merge
from dragoman.config.paths import absolute, is_project, project_files, user_config_files
from dragoman.config.problems import ConfigurationError, ConfigurationWarning, problems_of
from dragoman.config.settings import Configuration
from dragoman.config.trust import is_trusted, needs_trust


@dataclass(frozen=True)
class Setting:
    """One value and where it came from: ``default``, ``FILE:LINE``, ``--config FILE:LINE``, a variable, ``call``."""

    key: str
    value: Any
    source: str
    secret: bool = False
    """Whether the value may be a secret, and is better not shown."""


@dataclass(frozen=True)
class Loaded:
    """A configuration, and how it came to be."""

    configuration: Configuration
    files: tuple[Path, ...]
    """The files that were read, lowest first."""
    warnings: tuple[str, ...]
    """What was not taken, and why."""
    sources: Mapping[Key, str]

    def settings(self) -> Iterator[Setting]:
        """Every value in force. Providers appear as far as a layer names them."""
        for key, value in flatten(self.configuration.model_dump(by_alias=True)):
            secret = key[0] == "providers" and key[2:3] == ("env",) and len(key) > 3
            yield Setting(dotted(key), value, self.sources.get(key, "default"), secret)


def load_configuration(
    files: Sequence[Path] = (),
    *,
    folder: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Configuration:
    """The configuration that all layers make together. What is not taken is told as a `ConfigurationWarning`.

    Args:
        files: Further files, as named with ``--config``; later ones win.
        folder: Where to look for the project file and ``.env``; default: the current folder.
        environ: The environment; default: that of this process.
        overrides: The uppermost layer, nested as in a file.

    Raises:
        ConfigurationError: with all problems of all layers.
    """
    loaded = load_layers(files, folder=folder, environ=environ, overrides=overrides)
    for warning in loaded.warnings:
        warnings.warn(warning, ConfigurationWarning, stacklevel=2)
    return loaded.configuration


def load_layers(
    files: Sequence[Path] = (),
    *,
    folder: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Loaded:
    """As `load_configuration`, with the source of every value and the warnings.

    Raises:
        ConfigurationError: with all problems of all layers.
    """
    environment = os.environ if environ is None else environ
    layers = _Layers(environment)
    layers.read(files, absolute(folder) if folder else Path.cwd(), overrides)
    return layers.loaded()


@dataclass
class _Layers:
    """The layers so far, lowest first, and what was found wrong with them."""

    environ: Mapping[str, str]
    merged: dict[str, Any] = field(default_factory=dict[str, Any])
    sources: dict[Key, str] = field(default_factory=dict[Key, str])
    files: list[Path] = field(default_factory=list[Path])
    problems: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])

    def read(self, files: Sequence[Path], folder: Path, overrides: Mapping[str, Any] | None) -> None:
        self._check_home()
        self._first_of(user_config_files(), project=False)
        if is_project(folder):
            self._first_of(project_files(folder), project=True)
        for path in self.environ.get("DRAGOMAN_CONFIG", "").split(os.pathsep):
            if path:
                self._add(partial(_named, Path(path), via="DRAGOMAN_CONFIG "))
        for path in files:
            self._add(partial(_named, path, via="--config "))
        if is_project(folder):
            self._add(lambda: self._dotenv(folder))
        self._add(lambda: environment_document(self.environ, folder))
        if overrides:
            self._add(lambda: Document(name="call", data=overrides, base=folder))

    def loaded(self) -> Loaded:
        if self.problems:
            raise ConfigurationError(self.problems)
        try:
            configuration = Configuration.model_validate(self.merged)
        except ValidationError as error:
            raise ConfigurationError(problems_of(error, self.merged, self._source)) from None
        return Loaded(configuration, tuple(self.files), tuple(self.warnings), self.sources)

    def _check_home(self) -> None:
        """No setting, but whoever needs it later could not say so well."""
        home = self.environ.get("DRAGOMAN_HOME", "")
        try:
            absolute(Path(home))
        except ValueError as error:
            self.problems.append(f"DRAGOMAN_HOME: is {home!r}; {error}")

    def _first_of(self, paths: Sequence[Path], *, project: bool) -> None:
        for path in paths[1:]:
            self.warnings.append(f"{shown(path)}: is not read, because {paths[0].name!r} stands beside it")
        if paths:
            self._add(lambda: read_document(paths[0], project=project))

    def _dotenv(self, folder: Path) -> Document | None:
        document, found = dotenv_document(folder, self.environ)
        self.warnings += found
        return document

    def _add(self, read: Callable[[], Document | None]) -> None:
        try:
            document = read()
        except ConfigurationError as error:
            self.problems += error.problems
            return
        if document is None:
            return
        if document.path:
            self.files.append(document.path)
        try:
            layer = Configuration.model_validate(document.data, context={"base": document.base, "partial": True})
        except ValidationError as error:
            self.problems += problems_of(error, document.data, document.where)
            return
        data = layer.model_dump(exclude_unset=True, by_alias=True)
        self._lay(data if document.trusted else self._allowed(data, document), document)

    def _lay(self, data: Mapping[str, Any], document: Document) -> None:
        merge(self.merged, data)
        self.sources |= {key: f"{document.via}{document.where(key)}" for key, _ in flatten(data)}

    def _allowed(self, data: Mapping[str, Any], document: Document) -> Mapping[str, Any]:
        """What an untrusted project file may say; the rest becomes warnings. All of it, when it is trusted."""
        lower = Configuration.model_validate(self.merged, context={"partial": True})
        refused = {key for key, value in flatten(data) if needs_trust(key, value, lower)}
        if not refused or document.path is None or is_trusted(document.path, document.content):
            return data
        command = f"dragoman trust {shlex.quote(shown(document.path))}"
        told = {_setting(key): document.where(_setting(key)) for key in sorted(refused, key=str)}
        self.warnings += [
            f"{place}: {dotted(key)!r} is ignored, because this project file is not trusted; "
            f'read the file, then run "{command}"'
            for key, place in told.items()
        ]
        allowed: dict[str, Any] = {}
        for key, value in flatten(data):
            if key not in refused:
                nested: Any = value
                for part in reversed(key):
                    nested = {part: nested}
                merge(allowed, nested)
        return allowed

    def _source(self, key: Key) -> str:
        return next((source for at, source in self.sources.items() if at[: len(key)] == key), "configuration")


def _named(path: Path, via: str) -> Document:
    try:
        file = absolute(path)
    except ValueError as error:
        raise ConfigurationError([f"{via}{path}: cannot be read: {error}"]) from None
    return read_document(file, via=via)


def _setting(key: Key) -> Key:
    """The setting a value belongs to: a warning names ``env`` once, not each of its variables."""
    return key[:3] if key[0] == "providers" else key[:2]
