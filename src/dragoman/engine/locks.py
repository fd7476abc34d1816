"""Locks by name that every Dragoman on this machine shares: whoever dies, however, gives theirs back.

All of them are single bytes of one file, each at the place that its name is hashed to, so that any number of names
costs no more than one descriptor.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Self

import anyio

from dragoman.engine.alone import Alone
from dragoman.latch import Latch

if sys.platform == "win32":
    import msvcrt

    def lock_byte(descriptor: int, place: int) -> None:
        os.lseek(descriptor, place % 2**31, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def unlock_byte(descriptor: int, place: int) -> None:
        os.lseek(descriptor, place % 2**31, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl
    import struct

    # A lock of the open file and not of the process, so that two engines in one process keep each other out as well.
    _OF_THE_FILE: int | None = getattr(fcntl, "F_OFD_SETLK", None)

    def lock_byte(descriptor: int, place: int) -> None:
        """Lock a byte of an open file, which need not be there, for as long as it is open.

        Raises:
            BlockingIOError: it is locked; on some systems `PermissionError`.
            OSError: the file system has no locks.
        """
        _set(descriptor, place, fcntl.F_WRLCK)

    def unlock_byte(descriptor: int, place: int) -> None:
        """Give it back."""
        _set(descriptor, place, fcntl.F_UNLCK)

    def _set(descriptor: int, place: int, kind: int) -> None:
        if _OF_THE_FILE is not None:
            fcntl.fcntl(descriptor, _OF_THE_FILE, struct.pack("hhqqi", kind, os.SEEK_SET, place, 1, 0))
        else:
            flags = fcntl.LOCK_UN if kind == fcntl.F_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB
            fcntl.lockf(descriptor, flags, 1, place)


ASK_AGAIN_S = (0.005, 0.1)
"""How soon, and at last how seldom, a lock that another process has is asked for: it tells nobody when it is free."""


class Held:
    """A lock that is held until `release`, or the end of the process."""

    def __init__(self, free: Callable[[], None]) -> None:
        self._free: Callable[[], None] | None = free

    def release(self) -> None:
        """Give it back. More than once is once."""
        free, self._free = self._free, None
        if free is not None:
            free()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Locks:
    """See the module. `file` gives the file's path, once something is to be locked.

    Where nothing can be shared, the locks hold within this object.
    """

    def __init__(self, file: Callable[[], Path], alone: Alone | None = None) -> None:
        self._file = file
        self._alone = alone or Alone()
        self._descriptor: int | None = None
        self._is_alone = False
        self._held: dict[str, Latch] = {}

    async def take(self, name: str, patience_s: float) -> Held | None:
        """Wait for the lock; None: it did not become free in time."""
        if (held := self.take_now(name)) is not None:
            return held
        wait_s, longest_s = ASK_AGAIN_S
        with anyio.move_on_after(patience_s):
            while (held := self.take_now(name)) is None:
                if (freed := self._held.get(name)) is not None:
                    await freed.wait()
                else:
                    await anyio.sleep(wait_s)
                    wait_s = min(2 * wait_s, longest_s)
            return held
        return None

    def take_now(self, name: str) -> Held | None:
        """The lock; None: somebody has it."""
        if name in self._held:
            return None
        place = int.from_bytes(blake2b(name.encode(errors="surrogatepass"), digest_size=7).digest())
        if not self._lock(place):
            return None
        self._held[name] = Latch()
        return Held(lambda: self._free(name, place))

    def close(self) -> None:
        """Give all of them back."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _lock(self, place: int) -> bool:
        if self._is_alone:
            return True
        try:
            if self._descriptor is None:
                flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
                self._descriptor = os.open(self._file(), flags, 0o600)
            lock_byte(self._descriptor, place)
        except (BlockingIOError, PermissionError) as error:
            # Windows, and some systems for a lock that is held, say the latter; a file that is not ours says it, too.
            if self._descriptor is None:
                return self._goes_alone(f"{str(error.filename)!r} cannot be opened")
            return False
        except OSError as error:
            return self._goes_alone(error)
        return True

    def _goes_alone(self, reason: object) -> bool:
        self._is_alone = True
        self._alone.tell("conversations are not locked against other Dragomans of this machine", reason)
        return True

    def _free(self, name: str, place: int) -> None:
        if self._descriptor is not None:
            unlock_byte(self._descriptor, place)
        self._held.pop(name).set()
