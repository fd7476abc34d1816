"""Children that live on when their server is gone, as any later server finds them.

All there is to know is in the child's folder: its stdin, stdout and stderr; ``shepherd``, which its shepherd keeps
locked as long as it lives and which says who that is; and ``exit``, once nothing is left of the child. Whoever finds
neither lock nor exit knows that the child was lost: its shepherd was killed, or the machine went down.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import anyio
import anyio.to_thread

from dragoman.latch import Latch
from dragoman.processes import tree, wire
from dragoman.processes.child import DEAF_S, Detached, Ended, StoppedBy
from dragoman.processes.streams import GrowingFile
from dragoman.processes.sweep import Leftover, sweep

INTRODUCES_ITSELF_S = 5.0
"""How long a shepherd may take from its lock to its name. In between it starts the child."""
LOOK_AGAIN_S = 0.02
"""How often a lock is looked at where the system has no way to wait for the end of somebody else's child."""


@dataclass(frozen=True)
class Shepherd:
    """What a shepherd wrote about itself."""

    pid: int
    start_time: int | None
    """Clock ticks from the boot; None: the system does not tell."""
    child_pid: int
    child_start_time: int | None
    child_started_at: float
    until: float
    grace_s: float
    boot_id: str | None

    @classmethod
    def read(cls, folder: Path) -> Shepherd | None:
        """What stands in a child's folder; None: nothing yet."""
        try:
            line, newline, _ = (folder / wire.CLAIM).read_text("ascii").partition("\n")
        except OSError:
            return None
        if not newline:
            return None
        pid, start, child, child_start, child_at, until, grace, boot = line.split(" ")
        return cls(
            int(pid),
            _known(start),
            int(child),
            _known(child_start),
            float(child_at),
            float(until),
            float(grace),
            None if boot == "None" else boot,
        )

    def watch(self) -> int | None:
        """A descriptor that becomes readable when it ends; None: it has ended, or the system has no such thing."""
        if sys.platform != "linux":
            return None
        try:
            # Opened before it is looked at: from then on the descriptor can mean no other process.
            watched = os.pidfd_open(self.pid)
        except OSError:
            return None
        if self.boot_id == tree.boot_id() and self.start_time == tree.start_time(self.pid):
            return watched
        os.close(watched)
        return None

    def signal(self, number: signal.Signals) -> None:
        """Signal it. Its folder is locked, so it lives."""
        if (watched := self.watch()) is not None:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(watched, number)
            os.close(watched)
        elif sys.platform != "linux":
            tree.kill(self.pid, number)

    def signal_child(self, number: signal.Signals) -> None:
        """Signal its child's group, as long as the child itself is there. Its folder is locked."""
        start_time = tree.start_time(self.child_pid)
        if sys.platform != "linux" or (start_time is not None and start_time == self.child_start_time):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child_pid, number)

    def leftovers(self, mark: str) -> list[Leftover]:
        """It and its child for `sweep`, if their pids can still mean them."""
        if self.boot_id != tree.boot_id():
            return []
        known = ((self.pid, self.start_time), (self.child_pid, self.child_start_time))
        return [Leftover(pid, start, mark) for pid, start in known]


def read_end(folder: Path) -> Ended | None:
    """How the child of this folder ended; None: it did not, or was lost."""
    try:
        code, at, by = (folder / wire.EXIT).read_text("ascii").split()
        return Ended(int(code), float(at), cast("StoppedBy", by))
    except (OSError, ValueError):  # it is cut where the power failed
        return None


def is_shepherded(folder: Path) -> bool:
    """Whether the shepherd of this folder's child lives."""
    try:
        claim = os.open(folder / wire.CLAIM, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(claim, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(claim)


async def adopt(folder: Path) -> AdoptedChild | None:
    """The detached child of this folder, whichever server started it, with its output from the beginning.

    Several may adopt it at once. None: it was lost; `remains` has what it wrote.
    """
    with anyio.move_on_after(INTRODUCES_ITSELF_S):
        while is_shepherded(folder):
            if (shepherd := Shepherd.read(folder)) is not None:
                return AdoptedChild(folder, shepherd)
            await anyio.sleep(LOOK_AGAIN_S)
    if read_end(folder) is None:
        return None
    return AdoptedChild(folder, Shepherd.read(folder))


def remains(folder: Path) -> AdoptedChild | None:
    """What is left of a child that was lost, as one that was killed; None: it was never started."""
    if not (folder / "stdout").exists():
        return None
    return AdoptedChild(folder, Shepherd.read(folder))


async def stop_detached(folder: Path, mark: str = "") -> bool:
    """Have the detached child of this folder stopped and wait for that; whether nothing of it is left.

    Its shepherd gets the grace. If that is not enough, or it was lost, what is left is killed: see `sweep`, also for
    the `mark`.
    """
    child = await adopt(folder) or remains(folder)
    if child is None:
        return True
    child.close()
    return await child.gone(mark)


class AdoptedChild:
    """A `Child` that another server started. Its shepherd watches over it; we only know where that is."""

    def __init__(self, folder: Path, shepherd: Shepherd | None) -> None:
        self.pid = shepherd.child_pid if shepherd else 0
        """0: it is not known any more."""
        self.started_at = shepherd.child_started_at if shepherd else (folder / "stdin").stat().st_mtime
        self.exited = Latch()
        self.lost = False
        self._folder = folder
        self._shepherd = shepherd
        stdout = os.open(folder / "stdout", os.O_RDONLY)
        self.caught_up = Latch()
        """Set when all that it had said to stdout by the time it was adopted was read, and more is asked for."""
        self._unheard = os.fstat(stdout).st_size
        self._stdout = GrowingFile(stdout)
        self._stderr = GrowingFile(os.open(folder / "stderr", os.O_RDONLY))
        self._exit: int | None = None
        self._is_closed = False

    @property
    def shepherd_pid(self) -> int | None:
        """The pid of its shepherd, if that lives."""
        return self._shepherd.pid if self._shepherd and is_shepherded(self._folder) else None

    @property
    def exit_code(self) -> int | None:
        """See `Child.exit_code`."""
        return self._exit

    async def write(self, data: bytes) -> bool:
        """See `Child.write`. It had all of its input when it was started."""
        return not data

    def write_at_once(self, data: bytes) -> bool:
        """See `Child.write_at_once`: it has no input any more."""
        return not data

    def close_stdin(self) -> None:
        """See `Child.close_stdin`."""

    async def read_stdout(self) -> bytes:
        """See `Child.read_stdout`. From the beginning."""
        if self._unheard <= 0:
            self.caught_up.set()
        chunk = await self._stdout.read(self.exited)
        self._unheard -= len(chunk)
        return chunk

    async def read_stderr(self) -> bytes:
        """See `Child.read_stderr`. From the beginning."""
        return await self._stderr.read(self.exited)

    async def wait(self) -> int:
        """See `Child.wait`. It returns when nothing of the tree is left."""
        await self._shepherd_ends()
        if self._exit is None:
            end = read_end(self._folder)
            self.lost = end is None
            self.stopped_by = end.stopped_by if end else None
            self._exit = -signal.SIGKILL if end is None else end.exit_code
            self.exited.set()
        return self._exit

    async def detach(self, detached: Detached) -> bool:  # noqa: ARG002 - it has a folder
        """See `Child.detach`. It is detached."""
        return True

    def signal(self, number: signal.Signals) -> None:
        """See `Child.signal`."""
        if self._shepherd is not None and is_shepherded(self._folder):
            self._shepherd.signal_child(number)

    def kill(self) -> None:
        """See `Child.kill`."""
        self._tell_shepherd(wire.KILL_TREE_SIGNAL)

    def close(self) -> None:
        """See `Child.close`. It is stopped for everyone who adopted it."""
        if not self._is_closed:
            self._tell_shepherd(wire.STOP_SIGNAL)
            self.leave()

    def leave(self) -> None:
        """See `Child.leave`."""
        self._is_closed = True
        self._stdout.close()
        self._stderr.close()
        self.exited.set()

    async def gone(self, mark: str = "") -> bool:
        """See `Child.gone`; `mark` as for `sweep`."""
        with anyio.move_on_after((self._shepherd.grace_s if self._shepherd else 0) + DEAF_S):
            await self._shepherd_ends()
        if read_end(self._folder) is None:
            # It does not answer, or was killed: what it had is ours to end.
            if self._shepherd is not None and sys.platform != "linux":
                self._shepherd.signal_child(signal.SIGKILL)
                self._tell_shepherd(signal.SIGKILL)
            left = self._shepherd.leftovers(mark) if self._shepherd else [Leftover(0, None, mark)]
            await anyio.to_thread.run_sync(sweep, left, 0)
            with anyio.move_on_after(DEAF_S):
                await self._shepherd_ends()
        return not is_shepherded(self._folder)

    async def _shepherd_ends(self) -> None:
        watched = self._shepherd.watch() if self._shepherd else None
        if watched is not None:
            try:
                await anyio.wait_readable(watched)
            finally:
                os.close(watched)
        while is_shepherded(self._folder):  # noqa: ASYNC110 - nothing tells
            await anyio.sleep(LOOK_AGAIN_S)

    def _tell_shepherd(self, number: signal.Signals) -> None:
        if self._shepherd is not None and is_shepherded(self._folder):
            self._shepherd.signal(number)


def _known(word: str) -> int | None:
    return None if word == "None" else int(word)
