"""Processes, and which are below which. Standard library only: see `dragoman.processes.guardian`."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing typing would cost memory in every shepherd
if TYPE_CHECKING:
    from collections.abc import Iterator


def descendants(pid: int) -> Iterator[int]:
    """Every process below `pid`, as far as the system tells."""
    waiting = [pid]
    while waiting:
        below = children(waiting.pop())
        yield from below
        waiting += below


def children(pid: int) -> list[int]:
    """The children of a process, zombies included; empty where the system has no ``/proc``."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except FileNotFoundError:
        # The process just ended, or this kernel has no such files.
        return found or children_by_scan(pid)
    except OSError:
        pass
    return found


def children_by_scan(pid: int) -> list[int]:
    """The children of a process, by asking every process for its parent."""
    found: list[int] = []
    try:
        everyone = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for each in everyone:
        try:
            with open(f"/proc/{each}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        if parent == pid:
            found.append(each)
    return found


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot; None: it has ended, or the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything, also parentheses: fields are counted from the last one.
            state, *fields = file.read().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in (b"Z", b"X") else int(fields[18])


def boot_id() -> str | None:
    """What tells this boot of the system from others; None: the system does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read().decode().strip()
    except OSError:
        return None


def kill(pid: int, number: int) -> None:
    """Signal a process that may be gone. Only for our own children and theirs, whose pids nobody else can have yet."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass
