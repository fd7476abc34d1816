"""Folders for children: one for a call's private files, and one that is empty and stays so."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

PREFIX = "dragoman-"


class PrivateFolder:
    """A new 0700 folder; `close` removes it with everything in it."""

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = parent
        self._path: Path | None = None

    @property
    def path(self) -> Path:
        """The folder, made on first use."""
        if self._path is None:
            self._path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent))
        return self._path

    @property
    def made(self) -> Path | None:
        """The folder if anybody used it."""
        return self._path

    def write(self, name: str, content: bytes) -> Path:
        """A file in the folder, readable by its owner only."""
        file = self._place(name)
        # What stood there in a folder that is kept may be a link to a file of the user's.
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_bytes(content)
        return file

    def link(self, name: str, target: Path) -> Path:
        """A link in the folder to a file elsewhere, which is not removed with it."""
        link = self._place(name)
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        return link

    def folder(self, name: str) -> Path:
        """A folder in it, unless a file has that name; its path either way."""
        place = self._place(name)
        if not place.exists():
            place.mkdir(mode=0o700)
        return place

    def _place(self, name: str) -> Path:
        place = self.path / name
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return place

    def empty(self) -> Path:
        """An empty folder in it."""
        folder = self.path / "empty"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def close(self) -> None:
        """Remove it."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            self._path = None


class KeptFolder(PrivateFolder):
    """A folder of the same kind that is not removed. `place` says where it is, once something is to be put there."""

    def __init__(self, place: Callable[[], Path]) -> None:
        super().__init__()
        self._place_of_it = place
        self._kept: Path | None = None

    @property
    def path(self) -> Path:
        """The folder, made when missing. Its time tells when it was last used."""
        if self._kept is None:
            self._kept = self._place_of_it()
            self._kept.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.utime(self._kept)
        return self._kept


def empty_folder(path: Path) -> bool:
    """Whether the folder at `path`, made when missing, is there and empty.

    Nobody may write in it. Its name stays the same, since some CLIs remember every folder they were ever started in.
    """
    try:
        return _is_empty(path)
    except FileNotFoundError:
        try:
            path.mkdir(mode=0o500, exist_ok=True)
            return _is_empty(path)
        except OSError:
            return False
    except OSError:
        return False


def _is_empty(path: Path) -> bool:
    with os.scandir(path) as entries:
        return not any(entries)
