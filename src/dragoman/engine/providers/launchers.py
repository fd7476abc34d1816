"""From the launcher that npm put on PATH to the real program behind it.

A launcher starts Node, which starts the program: more time, more memory, and one process more to stop. Here only files
are read and nothing is started. On any doubt, such as a shim of a version manager, the launcher is what is started.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from dragoman.adapters.base import NpmPackage

MANIFEST_BYTES = 256 * 1024
EXECUTABLES = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""How native programs begin: ELF, PE, Mach-O of 64 and 32 bits and for several processors."""
_OS = {"linux": "linux", "darwin": "darwin", "win32": "win32"}
_CPU = {"x86_64": "x64", "amd64": "x64", "arm64": "arm64", "aarch64": "arm64"}

Identity = tuple[int, ...]


@dataclass(frozen=True)
class Real:
    """The program behind a launcher, and what the launcher would set for it."""

    path: Path
    env: Mapping[str, str]


@dataclass(frozen=True)
class Hollow:
    """A launcher whose program was not installed with it."""

    reason: str
    next_step: str


_known: dict[tuple[Path, NpmPackage], tuple[Identity, Real | None, Identity | None]] = {}


def real_program(launcher: Path, package: NpmPackage) -> Real | Hollow | None:
    """What is behind a launcher; None: nothing, or nobody can tell. Remembered until one of the files changes."""
    identity = _identity(launcher)
    if identity is None:
        return None
    known = _known.get((launcher, package))
    if known is not None and known[0] == identity and (known[1] is None or known[2] == _identity(known[1].path)):
        return known[1]
    try:
        found = _look(launcher, package)
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, Hollow):
        _known[launcher, package] = (identity, found, _identity(found.path) if found else None)
    return found


def _look(launcher: Path, package: NpmPackage) -> Real | Hollow | None:
    script = launcher.resolve(strict=True)
    if _is_native(script):
        return None
    root = next((folder for folder in script.parents if (folder / "package.json").is_file()), None)
    if root is None or not any(folder.name == "node_modules" for folder in root.parents):
        return None
    manifest = _manifest(root)
    if manifest.get("name") != package.name or script not in _programs(root, manifest):
        return None
    optional = _table(manifest, "optionalDependencies")
    wanted = package.native.format(os=_OS.get(sys.platform, "?"), cpu=_CPU.get(platform.machine().lower(), "?"))
    # A platform can have variants, such as one for musl; the package manager installs the one that fits.
    names = [name for name in optional if name == wanted or name.startswith(f"{wanted}-")]
    if not names:
        return None
    folders = [folder for name in names if (folder := _installed(root, name)) is not None]
    if not folders and not any(_installed(root, name) for name in optional):
        return Hollow(
            f"{launcher} is only npm's launcher: its native package {names[0]!r} is not installed",
            f"run `npm install -g --include=optional {package.name}`",
        )
    if len(folders) != 1 or not _belongs(_manifest(folders[0]), manifest):
        return None
    programs = list(folders[0].resolve().glob(package.program))
    if len(programs) != 1 or not os.access(programs[0], os.X_OK) or not _is_native(programs[0]):
        return None
    return Real(programs[0], {name: value.format(package=root) for name, value in package.env})


def _installed(root: Path, name: str) -> Path | None:
    """Where Node finds a package from `root`: in the nearest ``node_modules`` that has it."""
    places = (folder / "node_modules" / name for folder in (root, *root.parents) if folder.name != "node_modules")
    return next((place for place in places if (place / "package.json").is_file()), None)


def _belongs(native: Mapping[str, Any], launcher: Mapping[str, Any]) -> bool:
    """Whether both are of one version; some name the platform in it: ``1.2.3-linux-x64``."""
    version, own = native.get("version"), launcher.get("version")
    return isinstance(version, str) and isinstance(own, str) and (version == own or version.startswith(f"{own}-"))


def _programs(root: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    named = manifest.get("bin")
    paths = (named,) if isinstance(named, str) else _table(manifest, "bin").values()
    return ((root / path).resolve() for path in paths if isinstance(path, str))


def _manifest(folder: Path) -> Mapping[str, Any]:
    with (folder / "package.json").open("rb") as file:
        data = json.loads(file.read(MANIFEST_BYTES))
    if not isinstance(data, dict):
        raise ValueError("package.json holds no object")  # noqa: TRY004 - like every other fault of its content
    return cast("Mapping[str, Any]", data)


def _table(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = manifest.get(name)
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _is_native(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4).startswith(EXECUTABLES)


def _identity(path: Path) -> Identity | None:
    """What changes when a file is replaced or written."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
