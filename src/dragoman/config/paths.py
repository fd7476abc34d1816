"""Where things are: the user's configuration, a project's, and our own state."""

from __future__ import annotations

import errno
import os
from pathlib import Path

SUFFIXES = (".toml", ".yaml", ".yml", ".json")
"""Of the formats that are read, best first."""

_APP = "dragoman"
_HOMELESS = "nobody has that home, so write the whole path"


def absolute(path: Path, base: Path | None = None) -> Path:
    """`path` with ``~`` expanded, relative to `base` (default: the current folder), links left as they are.

    Raises:
        ValueError: nobody has the home that it begins with.
    """
    try:
        expanded = path.expanduser()
    except RuntimeError:
        raise ValueError(_HOMELESS) from None
    return Path(os.path.normpath((base or Path.cwd()) / expanded))


def state_folder() -> Path:
    """Where conversations, statistics and weights are kept: ``DRAGOMAN_HOME``, else the user data folder.

    It is made when missing, for the user alone.

    Raises:
        OSError: it cannot be made.
    """
    home = os.environ.get("DRAGOMAN_HOME")
    if home:
        try:
            folder = absolute(Path(home))
        except ValueError as error:
            raise FileNotFoundError(errno.ENOENT, f"{error} in DRAGOMAN_HOME", home) from None
    else:
        import platformdirs

        folder = platformdirs.user_data_path(_APP, appauthor=False)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def user_config_files() -> list[Path]:
    """The user's configuration files that exist, best first; only the first is read."""
    import platformdirs

    return _present(platformdirs.user_config_path(_APP, appauthor=False), "config")


def user_config_file() -> Path:
    """The user's configuration file: the one that is read, or where to write one."""
    import platformdirs

    present = user_config_files()
    return present[0] if present else platformdirs.user_config_path(_APP, appauthor=False) / "config.toml"


def project_files(folder: Path) -> list[Path]:
    """The project's configuration files in the nearest folder that has any, best first; only the first is read."""
    for candidate in _project_folders(folder):
        present = _present(candidate, _APP)
        if present:
            return present
    return []


def is_project(folder: Path) -> bool:
    """Whether a folder can be a project: neither the home nor the root is one."""
    return folder not in (Path.home(), Path(folder.anchor))


def _project_folders(folder: Path) -> list[Path]:
    """From `folder` up to the git root, or to below the home. Elsewhere strangers may write above: `folder` alone."""
    folders: list[Path] = []
    for candidate in (folder, *folder.parents):
        if not is_project(candidate):
            return folders if candidate == Path.home() else folders[:1]
        folders.append(candidate)
        if (candidate / ".git").exists():
            return folders
    return folders[:1]


def _present(folder: Path, stem: str) -> list[Path]:
    # lexists: a dangling link is there, and is to be named rather than passed over.
    return [path for suffix in SUFFIXES if os.path.lexists(path := folder / f"{stem}{suffix}")]
