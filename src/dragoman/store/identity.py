"""Telling processes apart for good: a pid is used again, a pid with its start time and the boot is not."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
SLACK_S = 0.1
"""How far two clocks may be apart, one of which ticks every hundredth of a second."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One process. What the system does not tell is None."""

    pid: int
    start_time: int | None
    """Clock ticks from the boot to its start."""
    boot_id: str | None
    pid_namespace: str | None
    """Where the pid is counted: containers that share a folder count their own."""

    @classmethod
    def own(cls) -> Identity:
        """This process."""
        pid = os.getpid()
        return cls(pid, start_time(pid), _boot_id(), _namespace())

    def is_of_this_boot(self) -> bool:
        """Whether pids it knew are counted as they are here and now."""
        return self.boot_id == _boot_id() and self.pid_namespace == _namespace()

    def is_gone(self) -> bool:
        """Whether the process has certainly ended. Whoever is believed to be gone loses all that it started."""
        boot_id = _boot_id()
        if self.boot_id is not None and boot_id is not None and self.boot_id != boot_id:
            return True
        if self.pid_namespace != _namespace():
            return False
        try:
            if self.start_time is not None:
                return _start_time(self.pid) != self.start_time
        except OSError:
            # It cannot be looked at now, such as when too many files are open.
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot; None: it has ended, or the system does not tell."""
    try:
        return _start_time(pid)
    except OSError:
        return None


def _start_time(pid: int) -> int | None:
    """`start_time`, or None if it has ended.

    Raises:
        OSError: the system does not tell.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - for every child, and a `Path` is dear
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold anything, also parentheses: fields are counted from the last one.
    state, *fields = stat[stat.rindex(b")") + 2 :].split()
    return None if state in (b"Z", b"X") else int(fields[18])


def start_time_of_one_since(pid: int, since: float) -> int | None:
    """`start_time` of a process that ran at `since`, seconds since 1970; None also when its pid is another's by now."""
    start = start_time(pid)
    if start is None:
        return None
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - start / os.sysconf("SC_CLK_TCK")
    return start if age + SLACK_S > time.time() - since else None


def _boot_id() -> str | None:
    try:
        return _read_boot_id()
    except OSError:
        return None


@cache
def _read_boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()


def _namespace() -> str | None:
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return None
