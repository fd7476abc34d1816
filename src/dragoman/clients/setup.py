"""Writing Dragoman into a client's configuration, and taking it out again."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from dragoman.clients import jsonc, toml
from dragoman.clients.known import Client, Entry, Place

BACKUP = ".dragoman-backup"
"""What the copy of a file is called that has its content before our last change."""

# What the strictest of the clients takes.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class SetupError(Exception):
    """A client's configuration cannot be changed; it is left as it is. ``next_step`` says what to do."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


class NameRefusedError(SetupError):
    """No server can be called so."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was done, or would be."""

    client: Client
    file: Path
    name: str
    entry: Entry
    changed: bool
    text: str
    """The whole file."""
    backup: Path | None = None


def here() -> Place:
    """This machine, this person."""
    return Place(Path.home(), os.environ, sys.platform)


def own_command() -> tuple[str, ...]:
    """How a client starts this Dragoman, whatever folder and environment it starts it in."""
    if os.environ.get("UV_TOOL_BIN_DIR") is None and f"{os.sep}archive-v0{os.sep}" in sys.prefix:
        # Run by uvx: this environment is a cache that may be cleared.
        return ("uvx", "dragoman", "serve")
    script = Path(sys.executable).parent / ("dragoman.exe" if sys.platform == "win32" else "dragoman")
    if script.exists():
        return (str(script), "serve")
    # -P: a folder called dragoman where the client happens to be must not be taken for us.
    return (sys.executable, "-P", "-m", "dragoman", "serve")


def config_file(client: Client, place: Place, project: Path | None = None) -> Path:
    """The person's file of this client, or the project's.

    Raises:
        SetupError: the client has no configuration in a project.
    """
    if project is None:
        return client.file(place)
    if client.project_file is None:
        raise SetupError(f"{client.title} has no configuration for a project", "leave out --project")
    return project / client.project_file


def install(client: Client, file: Path, name: str, command: Sequence[str], *, write: bool = True) -> Change:
    """Have the client start this command under this name; what the person added to the entry stays.

    Raises:
        NameRefusedError: it cannot have this name.
        SetupError: the file cannot be read, understood or written.
    """
    if not _NAME.fullmatch(name):
        raise NameRefusedError(f"{name!r} cannot be a server's name", "use letters, digits, - and _, up to 64 of them")
    text = _read(file)
    path = (client.servers, name)
    known = _entry(client, file, text, path)
    entry: Entry = {**known, **client.entry(command)}
    for key, value in client.first.items():
        entry.setdefault(key, value)
    if entry == known:
        return Change(client, file, name, entry, changed=False, text=text)
    return _apply(client, file, name, entry, _edited(client, file, text, path, entry), write=write)


def uninstall(client: Client, file: Path, name: str, *, write: bool = True) -> Change:
    """Take the entry of this name out; the rest of the file stays as it is.

    Raises:
        SetupError: the file cannot be read, understood or written.
    """
    text = _read(file)
    path = (client.servers, name)
    known = _entry(client, file, text, path)
    if not known:
        return Change(client, file, name, {}, changed=False, text=text)
    return _apply(client, file, name, known, _edited(client, file, text, path, None), write=write)


def compile_bytecode() -> None:
    """Compile what a start of the server imports, where that was not done: the first start is as fast as any other."""
    import compileall
    from importlib.metadata import PackageNotFoundError, files, requires

    wanted = [
        "dragoman",
        *(requirement.split(";")[0] for requirement in requires("dragoman") or [] if "extra" not in requirement),
    ]
    folders = {Path(__file__).parent.parent}
    for requirement in wanted:
        name = requirement.split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip()
        with suppress(PackageNotFoundError):
            for file in files(name) or []:
                if file.name == "__init__.py" and len(file.parts) == 2:
                    folders.add(Path(str(file.locate())).parent)
    for folder in folders:
        compileall.compile_dir(folder, quiet=2, workers=1)


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise SetupError(f"{file} is not UTF-8 text: {error.reason}", "repair the file, or move it away") from error
    except OSError as error:
        raise SetupError(f"{file} cannot be read: {error.strerror}", "make it readable for you") from error


def _entry(client: Client, file: Path, text: str, path: Sequence[str]) -> dict[str, Any]:
    value: object
    try:
        value = jsonc.read(text) if client.format == "json" else toml.read(text)
    except (jsonc.JsoncError, toml.TomlError) as error:
        raise _broken(file, error) from error
    for key in path:
        value = _table(value).get(key)
    return dict(_table(value))


def _table(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _edited(client: Client, file: Path, text: str, path: Sequence[str], entry: Entry | None) -> str:
    try:
        match client.format, entry:
            case "json", None:
                return jsonc.remove(text, path)
            case "json", _:
                return jsonc.put(text, path, entry)
            case _, None:
                return toml.remove(text, path)
            case _:
                assert entry is not None  # noqa: S101 - the case above
                return toml.put(text, path, entry)
    except (jsonc.JsoncError, toml.TomlError) as error:
        raise _broken(file, error) from error


def _broken(file: Path, error: jsonc.JsoncError | toml.TomlError) -> SetupError:
    where = f"{file}, line {error.line}" if error.line else str(file)
    return SetupError(f"{where}: {error.reason}", "correct the file and try again; it was not changed")


def _apply(client: Client, file: Path, name: str, entry: Entry, text: str, *, write: bool) -> Change:
    if not write:
        return Change(client, file, name, entry, changed=True, text=text)
    try:
        # A link stays a link: what it leads to is replaced.
        target = file.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        backup = None
        if target.exists():
            backup = target.with_name(target.name + BACKUP)
            shutil.copy2(target, backup)
        _replace(target, text)
    except OSError as error:
        raise SetupError(f"{file} cannot be written: {error.strerror}", "make it writable for you") from error
    return Change(client, file, name, entry, changed=True, text=text, backup=backup)


def _replace(target: Path, text: str) -> None:
    """Nobody ever sees half a file."""
    descriptor, temporary = tempfile.mkstemp(prefix=target.name, dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        else:
            Path(temporary).chmod(0o600)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
