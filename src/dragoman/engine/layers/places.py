"""Places that every Dragoman on this machine shares: whoever dies, however, gives theirs back.

Nothing here waits. The places of a name are bytes of one file, and a place is held by a lock on its byte. The lock
belongs to the open file, so two engines in one process keep each other out as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

from dragoman.engine.alone import Alone
from dragoman.engine.locks import lock_byte, unlock_byte

FIRST = 1 << 30
"""Where in its file the first place is: far behind what is written there, since Windows lets nobody read a place."""
_TIME_BYTES = 20


class Place:
    """A place that is held until `release`, or the end of the process."""

    def __init__(self, descriptor: int | None = None, give_back: Callable[[], object] = lambda: None) -> None:
        self.descriptor = descriptor
        """Of its file; None: it is not shared with anyone."""
        self._give_back: Callable[[], object] | None = give_back

    def release(self) -> None:
        """Give it back. More than once is once."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class _File:
    """A file of places, open as long as one is held or may be asked for.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        self._held: set[int] = set()
        self._is_needed = True

    def is_there(self) -> bool:
        """Whether it still has a name, by which others find it."""
        return os.fstat(self.descriptor).st_nlink > 0

    def take(self, number: int) -> bool:
        """Whether the place was free; it is ours then."""
        # To the system what we lock twice is locked once.
        if number in self._held:
            return False
        try:
            lock_byte(self.descriptor, FIRST + number)
        except (BlockingIOError, PermissionError):
            return False
        self._held.add(number)
        return True

    def give_back(self, number: int) -> None:
        unlock_byte(self.descriptor, FIRST + number)
        self._held.remove(number)
        self._close_unused()

    def let_go(self) -> None:
        """Nobody asks for a place any more."""
        self._is_needed = False
        self._close_unused()

    def _close_unused(self) -> None:
        if not self._is_needed and not self._held:
            os.close(self.descriptor)


class Places:
    """The places of this name in `folder`, as many as each caller says there are."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / name
        self._file: _File | None = None

    def take(self, count: int = 1) -> Place | None:
        """One of the first `count` places; None: all are taken.

        Raises:
            OSError: the folder cannot be written, or its file system has no locks.
        """
        file = self._opened()
        for number in range(count):
            if file.take(number):
                return Place(file.descriptor, partial(file.give_back, number))
        return None

    def close(self) -> None:
        """Let go of what is not held."""
        if self._file is not None:
            self._file.let_go()
            self._file = None

    def _opened(self) -> _File:
        # It is never removed by us: removing one that another process just opened would make two files of one. Somebody
        # may remove the whole folder all the same; those who come then meet at a new one.
        if self._file is not None and not self._file.is_there():
            self.close()
        if self._file is None:
            self._file = _File(self._path)
        return self._file


class Starts:
    """Keeps starts apart: between two of them lies a gap, whichever processes they are of."""

    def __init__(self, folder: Path, name: str, clock: Callable[[], float]) -> None:
        self._places = Places(folder, f"{name}.start")
        self._clock = clock

    def close(self) -> None:
        """Let go of its file."""
        self._places.close()

    def claim(self, gap_s: float) -> float:
        """Claim the next start. 0: it is ours, now. More: ask again after so many seconds.

        Raises:
            OSError: as for `Places.take`.
        """
        place = self._places.take()
        if place is None:
            return gap_s / 10
        with place:
            assert place.descriptor is not None  # noqa: S101 - it was just taken
            now, last = self._clock(), _time_in(place.descriptor)
            # A time ahead of ours is of a clock that was set back since.
            if 0 <= now - last < gap_s:
                return gap_s - (now - last)
            os.lseek(place.descriptor, 0, os.SEEK_SET)
            os.write(place.descriptor, f"{now:{_TIME_BYTES}.6f}".encode())
        return 0.0


def _time_in(descriptor: int) -> float:
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        return float(os.read(descriptor, _TIME_BYTES) or 0)
    except ValueError:
        return 0.0


class Machine:
    """What this machine's Dragomans share, by account. Where nothing can be shared, each goes on by itself.

    `folder` gives the folder of the locks, once something is to be locked.
    """

    def __init__(
        self, folder: Callable[[], Path], clock: Callable[[], float] = time.time, alone: Alone | None = None
    ) -> None:
        self._find = folder
        self._without = alone or Alone()
        self._clock = clock
        self._folder: Path | None = None
        self._places: dict[str, Places] = {}
        self._starts: dict[str, Starts] = {}
        self._is_alone = False

    def take(self, account: str, count: int, *, of: str = "call") -> Place | None:
        """One of the account's `count` places; None: all are taken."""
        try:
            name = f"{account}.{of}"
            if name not in self._places:
                self._places[name] = Places(self._shared(), name)
            return self._places[name].take(count)
        except OSError as error:
            return self._alone(error)

    def claim_start(self, account: str, gap_s: float) -> float:
        """See `Starts.claim`."""
        try:
            if account not in self._starts:
                self._starts[account] = Starts(self._shared(), account, self._clock)
            return self._starts[account].claim(gap_s)
        except OSError as error:
            self._alone(error)
            return 0.0

    def close(self) -> None:
        """Let go of all that is not held by a call."""
        for shared in (*self._places.values(), *self._starts.values()):
            shared.close()

    def _shared(self) -> Path:
        if self._folder is None:
            folder = self._find()
            folder.mkdir(mode=0o700, exist_ok=True)
            self._folder = folder
        return self._folder

    def _alone(self, error: OSError) -> Place:
        if not self._is_alone:
            self._is_alone = True
            self._without.tell("limits are not shared with other Dragomans of this machine", error)
        return Place()
