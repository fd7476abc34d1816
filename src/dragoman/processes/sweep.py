"""Stopping what an earlier server left behind, known by what it wrote down: never by name.

A pid alone says nothing, since it is given again. A process is ours if it runs under the recorded pid and started at
the recorded time, or is in the session that such a process leads, or below it; or if its environment says that it was
started below it. Linux; elsewhere nothing is found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dragoman.processes.child import GRACE_S
from dragoman.processes.private import PREFIX, remove_private
from dragoman.processes.tree import descendants, kill, parent

LINEAGE = "DRAGOMAN_LINEAGE"
"""The variable in which each process has the marks of what it is below, outermost first, with commas between them."""
LOOK_AGAIN_S = 0.02
"""How often it is looked whether what was killed is gone."""
DIES_S = 1.0
"""How long at most to wait for the end of what was killed: longer only where the kernel cannot end it."""
OVERDUE_S = 30.0
"""How long after its time a detached process may still have a shepherd: more than any grace."""


@dataclass(frozen=True)
class Leftover:
    """A process whose server is gone."""

    pid: int
    start_time: int | None
    """Clock ticks from the boot to its start; None: unknown, and the process is not known by its pid."""
    mark: str
    """What every process below it has in `LINEAGE`, unless somebody cleared that, or the part of it before a dot, which
    marks other processes, too; empty: unknown."""
    folder: Path | None = None
    """The private folder it was given."""
    detached: Path | None = None
    """The folder of a detached process: as long as its shepherd lives and its time is not over, it is left alone."""


def sweep(leftovers: Iterable[Leftover], grace_s: float = GRACE_S) -> int:
    """Stop what is left of them and remove their folders; how many processes there were.

    SIGTERM first; what is still there after the grace is killed. Blocks for the grace and a second at most.
    """
    if not sys.platform.startswith("linux"):
        return 0
    leftovers = [each for leftover in leftovers for each in _without_owner(leftover)]
    if not leftovers:
        return 0
    _wake_shepherds(leftovers)
    found = _find(leftovers)
    stopped = len(found)
    for process in found:
        process.send(signal.SIGTERM)
        process.send(signal.SIGCONT)
    # Looked for again, since it may have forked meanwhile.
    killed = {*_still_there(found, grace_s), *_find(leftovers)}
    for process in killed:
        process.send(signal.SIGKILL)
    # Until it is gone it may still write into a folder, and a shepherd holds its claim.
    _still_there(killed, DIES_S)
    for leftover in leftovers:
        if leftover.folder is not None and leftover.folder.name.startswith(PREFIX):
            remove_private(leftover.folder)
    return stopped


def _still_there(processes: Iterable[_Process], within_s: float) -> list[_Process]:
    """Wait until they are gone; those that are not within that time."""
    give_up = time.monotonic() + within_s
    left = [process for process in processes if process.is_there()]
    while left and time.monotonic() < give_up:
        time.sleep(LOOK_AGAIN_S)  # in a thread; of so many, no end is told
        left = [process for process in left if process.is_there()]
    return left


def _without_owner(leftover: Leftover) -> list[Leftover]:
    """What there is to stop of it, which may be its shepherd, too."""
    from dragoman.processes.detached import Shepherd, is_shepherded  # cannot be imported on Windows

    if leftover.detached is None:
        return [leftover]
    shepherd = Shepherd.read(leftover.detached)
    if is_shepherded(leftover.detached) and (shepherd is None or time.time() < shepherd.until + OVERDUE_S):
        return []
    return [leftover, *(shepherd.leftovers(leftover.mark) if shepherd else ())]


@dataclass(frozen=True)
class _Process:
    pid: int
    start_time: int
    session: int

    def is_there(self) -> bool:
        return _look(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        try:
            # Opened before it is looked at: from then on the descriptor can mean no other process.
            watched = os.pidfd_open(self.pid)
        except OSError:
            return
        try:
            if self.is_there():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(watched, number)
        finally:
            os.close(watched)


def _wake_shepherds(leftovers: Iterable[Leftover]) -> None:
    """Have shepherds go on that somebody stopped: they see that their server is gone, and stop all that is below them,
    also what nobody else can find. To whoever else is a parent, such as the system, it means nothing.
    """
    for leftover in leftovers:
        process = _look(leftover.pid, dead_too=True) if leftover.start_time else None
        if process is not None and process.start_time == leftover.start_time and (owner := parent(leftover.pid)):
            kill(owner, signal.SIGCONT)


def _find(leftovers: Iterable[Leftover]) -> list[_Process]:
    everyone = {process.pid: process for process in _everyone()}
    recorded = {(leftover.pid, leftover.start_time) for leftover in leftovers}
    # Whatever we start leads a session.
    leaders = {pid for pid, each in everyone.items() if (pid, each.start_time) in recorded and each.session == pid}
    below: set[int] = set()
    for leader in leaders:
        theirs = set(descendants(leader))
        if everyone[leader].is_there():
            below |= theirs
    marks = {leftover.mark.encode() for leftover in leftovers if leftover.mark}
    return [
        process
        for process in everyone.values()
        if process.session in leaders or process.pid in below or not marks.isdisjoint(_marks(process.pid))
    ]


def _everyone() -> Iterator[_Process]:
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - names, not paths
    except OSError:
        return
    own = {os.getpid(), os.getppid()}
    for name in names:
        if name.isdigit() and int(name) not in own and (process := _look(int(name))):
            yield process


def _look(pid: int, *, dead_too: bool = False) -> _Process | None:
    """A process that is there; `dead_too`: or that its parent has not collected."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name in parentheses may hold anything, also parentheses: fields are counted from the last one.
    state, *fields = stat[stat.rindex(b")") + 2 :].split()
    if state in (b"Z", b"X") and not dead_too:
        return None
    return _Process(pid, int(fields[18]), int(fields[2]))


def _marks(pid: int) -> Iterator[bytes]:
    """What a process was started below. Anything else that an environment says may be about others."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return
    for variable in environ.split(b"\0"):
        name, _, marks = variable.partition(b"=")
        if name == LINEAGE.encode():
            for mark in marks.split(b","):
                yield mark
                yield mark.partition(b".")[0]
