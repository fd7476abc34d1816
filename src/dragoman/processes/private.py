"""Folders for children: one for a call's private files, and one that is empty and stays so."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PREFIX = "dragoman-"
CLAIM = ".claim"
"""The file in a private folder that is locked by whoever is to remove it."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class PrivateFolder:
    """A new 0700 folder; `close` removes it with everything in it."""

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = parent
        self._path: Path | None = None
        self.claim: int | None = None
        """The claim to the folder, for a shepherd to have, too: as long as anybody has it open, the folder is in use.
        None: nobody used it yet, or the system has no such locks."""

    @property
    def path(self) -> Path:
        """The folder, made on first use."""
        while self._path is None:
            made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent))
            # Another process may just take it for abandoned.
            with suppress(BlockingIOError, FileNotFoundError):
                self.claim = _claim_new(made)
                self._path = made
        return self._path

    @property
    def made(self) -> Path | None:
        """The folder if anybody used it."""
        return self._path

    def write(self, name: str, content: bytes) -> Path:
        """A file in the folder, readable by its owner only.

        Raises:
            OSError: it cannot be written; nothing of it stays.
        """
        file = self._place(name)
        try:
            descriptor = os.open(file, _NEW, 0o600)
        except FileExistsError:
            # In a folder that is kept it may be a link to a file of the user's.
            file.unlink()
            descriptor = os.open(file, _NEW, 0o600)
        try:
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            finally:
                os.close(descriptor)  # before it is removed: Windows keeps a file that somebody has open
        except OSError:
            file.unlink()
            raise
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
        if "/" in name:
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
            remove_private(self._path)
            self._path = None
        self.leave()

    def leave(self) -> None:
        """Let go of it: it is removed by whoever else has a claim, or as an abandoned one."""
        if self.claim is not None:
            os.close(self.claim)
            self.claim = None


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
            kept = self._place_of_it()
            try:
                os.mkdir(kept, 0o700)  # noqa: PTH102 - `Path.mkdir` is dearer, and most are new
            except FileExistsError:
                os.utime(kept)
            except FileNotFoundError:
                kept.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._kept = kept
        return self._kept


def remove_abandoned() -> None:
    """Remove private folders that nobody has a claim to: who made them was killed when nobody else knew of them yet."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            try:
                claim = os.open(folder / CLAIM, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            except FileNotFoundError:
                if _is_just_made(folder):
                    folder.rmdir()  # if it is empty; whoever is about to claim it makes another one
                continue
            try:
                if _lock(claim) and os.fstat(claim).st_uid == os.geteuid():
                    remove_private(folder)
            finally:
                os.close(claim)


def remove_private(folder: Path) -> None:
    """Remove a private folder. Its claim goes last, by which whoever comes next knows it if this process is killed."""
    with suppress(OSError):
        for below in folder.iterdir():
            if below.name != CLAIM:
                shutil.rmtree(below, ignore_errors=True)
                below.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _is_just_made(folder: Path) -> bool:
    """Whether it looks as `tempfile.mkdtemp` leaves it."""
    made = folder.lstat()
    return re.fullmatch(rf"{PREFIX}\w{{8}}", folder.name) is not None and (
        (stat.S_ISDIR(made.st_mode), stat.S_IMODE(made.st_mode), made.st_uid) == (True, 0o700, os.geteuid())
    )


def _claim_new(folder: Path) -> int | None:
    """Claim a folder that was just made. Raises BlockingIOError or FileNotFoundError if somebody removes it."""
    try:
        claim = os.open(folder / CLAIM, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileNotFoundError:
        raise
    except OSError:
        return None  # the disk is full, which whoever writes there says better
    try:
        if _lock(claim) and (folder / CLAIM).stat():
            return claim
    except OSError:
        os.close(claim)
        raise
    os.close(claim)
    return None


def _lock(claim: int) -> bool:
    """Whether there are such locks. Raises BlockingIOError if somebody has this one."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError):
            raise
        return False
    return True


def empty_folder(path: Path) -> bool:
    """Whether the folder at `path`, made when missing, is there and empty.

    Nobody may write in it. Its name stays the same, since some CLIs remember every folder they were ever started in.
    """
    try:
        return not os.listdir(path)  # noqa: PTH208 - for every call, and a `Path` is dear
    except FileNotFoundError:
        try:
            path.mkdir(mode=0o500, exist_ok=True)
            return not os.listdir(path)  # noqa: PTH208 - for every call, and a `Path` is dear
        except OSError:
            return False
    except OSError:
        return False
