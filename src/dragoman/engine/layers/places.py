"""Places that every Dragoman on this machine shares, kept as locks on files: whoever dies, however, gives theirs back.

Nothing here waits. A lock belongs to an open file, so two engines in one process keep each other out as well.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

from dragoman.engine.alone import Alone

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


KEPT = 4
"""How many files of places that nobody holds stay open: after many calls at once others need descriptors, too."""
_TIME_BYTES = 20


class Place:
    """A place that is held until `release`, or the end of the process."""

    def __init__(self, descriptor: int | None = None, give_back: Callable[[int], None] = os.close) -> None:
        self.descriptor = descriptor
        """None: it is not shared with anyone."""
        self._give_back = give_back

    def release(self) -> None:
        """Give it back. More than once is once."""
        descriptor, self.descriptor = self.descriptor, None
        if descriptor is not None:
            self._give_back(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Places:
    """The places of this name in `folder`, as many as each caller says there are."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._ours: set[int] = set()
        """Those that were taken through this object: nobody need be asked about them."""
        self._free: dict[int, int] = {}
        """Descriptors of those that were given back: a place is taken for every call."""
        self._is_closed = False

    def take(self, count: int = 1) -> Place | None:
        """One of the first `count` places; None: all are taken.

        Raises:
            OSError: the folder cannot be written, or its file system has no locks.
        """
        for number in range(count):
            if number not in self._ours and (place := self._take(number)) is not None:
                self._ours.add(number)
                return place
        return None

    def close(self) -> None:
        """Let go of what is not held."""
        self._is_closed = True
        while self._free:
            os.close(self._free.popitem()[1])

    def _take(self, number: int) -> Place | None:
        descriptor = self._opened(number)
        try:
            _try_lock(descriptor)
        except (BlockingIOError, PermissionError):  # Windows says the latter
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return Place(descriptor, partial(self._give_back, number))

    def _opened(self, number: int) -> int:
        # The files stay: removing one that another process just opened would make two locks of one. Somebody may remove
        # the whole folder all the same; those who come then meet at new files.
        if (descriptor := self._free.pop(number, None)) is not None:
            if os.fstat(descriptor).st_nlink:
                return descriptor
            os.close(descriptor)
        return os.open(self._folder / f"{self._name}.{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _give_back(self, number: int, descriptor: int) -> None:
        self._ours.discard(number)
        if self._is_closed:
            os.close(descriptor)
            return
        _unlock(descriptor)
        self._free[number] = descriptor
        if len(self._free) > KEPT:
            # The first ones are asked for first.
            os.close(self._free.pop(max(self._free)))


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
