"""What a launch needs on disk, and what the user's files decide about it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dragoman.adapters.base import Launch, PrivatePath, UserSetting
from dragoman.config import state_folder
from dragoman.engine.jobs.detached import PRIVATE
from dragoman.processes import KeptFolder, PrivateFolder

SETTINGS_BYTES = 256 * 1024
DAY_S = 24 * 3600.0
KEPT = "kept"
KEPT_S = 30 * DAY_S
"""How long a kept folder may lie unused; most CLIs keep a session as long. The conversation is told again then."""


def private_folder(
    launch: Launch, provider: str, outlives_in: Path | None = None, state: Callable[[], Path] = state_folder
) -> PrivateFolder:
    """The folder for a launch: its own, the one that its session keeps, or a part of one that may outlive us.

    `state` gives the state folder, once it is needed.
    """
    name = launch.keeps
    if name is not None:
        return KeptFolder(lambda: Path(state(), KEPT, provider, name))
    return PrivateFolder() if outlives_in is None else KeptFolder(lambda: outlives_in / PRIVATE)


def kept_folders() -> Path:
    """Where the folders are that outlive their calls: by provider, then by the name that a launch gives.

    Raises:
        OSError: there is no place for them.
    """
    return state_folder() / KEPT


def forget_unused(now: float, keep_days: float | None = None) -> None:
    """Remove the kept folders and files that nobody has used for so many days, or for long.

    `now`: seconds since 1970.
    """
    kept_s = KEPT_S if keep_days is None else min(KEPT_S, keep_days * DAY_S)
    with suppress(OSError):
        for kept in kept_folders().glob("*/*"):
            if kept.stat().st_mtime < now - kept_s:
                _remove(kept)


def forget_kept(sessions: Iterable[tuple[str, str]]) -> None:
    """Remove the kept folders and files of sessions, each named by its provider and its id."""
    for provider, session in sessions:
        name = session.partition("/")[0]
        if name not in ("", ".", "..") and Path(name).name == name:
            with suppress(OSError):
                for kept in (kept_folders() / provider).iterdir():
                    if kept.name == name or kept.name.startswith(f"{name}."):
                        _remove(kept)


def _remove(kept: Path) -> None:
    if kept.is_dir():
        shutil.rmtree(kept, ignore_errors=True)
    else:
        kept.unlink(missing_ok=True)


def lay_out(launch: Launch, folder: PrivateFolder, variables: Mapping[str, str]) -> Mapping[str, str]:
    """Fill the private folder as the launch says; the launch's own variables, spelled out.

    Raises:
        OSError: something could not be written: without it the child could do more than it may.
    """
    for name, content in launch.files.items():
        if isinstance(content, bytes):
            folder.write(name, content)
        elif (found := next(_existing(content.paths, content.below, variables), None)) is not None:
            folder.link(name, found)
        elif content.otherwise is not None:
            folder.write(name, content.otherwise)
    return {
        name: str(folder.folder(value.name)) if isinstance(value, PrivatePath) else value
        for name, value in launch.env.items()
    }


def read_settings(wanted: Mapping[str, UserSetting], variables: Mapping[str, str]) -> Mapping[str, str]:
    """What the user has chosen, of what is wanted. A file that is missing or cannot be read tells nothing."""
    chosen: dict[str, str] = {}
    for name, setting in wanted.items():
        for file in _existing((setting.path,), setting.below, variables):
            try:
                with file.open("rb") as opened:
                    text = opened.read(SETTINGS_BYTES).decode("utf-8", "replace")
            except OSError:
                continue
            if found := re.search(setting.pattern, text):
                chosen[name] = found[1]
    return chosen


def _existing(paths: Sequence[str], below: Sequence[str], variables: Mapping[str, str]) -> Iterator[Path]:
    home = next((variables[name] for name in below if variables.get(name)), None)
    if home is not None:
        yield from (file for path in paths if (file := Path(home, path)).is_file())
