"""Processes, and which are below which. Standard library only: see `dragoman.processes.guardian`."""

from __future__ import annotations

import os
import signal

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
    try:
        everyone = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    return [each for each in everyone if parent(each) == pid]


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


def parent(pid: int) -> int:
    """The parent of a process; 0: it is gone, or has none that we can see."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def is_below(pid: int, ancestor: int) -> bool:
    """Whether the process with this pid is below `ancestor` now."""
    while pid > 1:
        pid = parent(pid)
        if pid == ancestor:
            return True
    return False


def signal_below(ancestor: int, *numbers: int) -> None:
    """Send signals to every process below `ancestor`, and to nobody else.

    Whoever collects a process frees its pid, and below our own children that is not us: between being listed and being
    signalled a pid may have become a stranger's.
    """
    # All are listed before the first one dies: what is below a dead one is found there no more.
    for pid in [*descendants(ancestor)]:
        try:
            # Opened before it is looked at: from then on the descriptor can mean no other process.
            watched = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        except (OSError, AttributeError):
            watched = None  # an old kernel, or one that forbids it
        try:
            # Twice, since one between them that ends while it is looked at hides what was below it.
            if is_below(pid, ancestor) or is_below(pid, ancestor):
                for number in numbers:
                    if watched is None:
                        kill(pid, number)
                    else:
                        signal.pidfd_send_signal(watched, number)
        except (ProcessLookupError, PermissionError):
            pass
        finally:
            if watched is not None:
                os.close(watched)


def kill(pid: int, number: int) -> None:
    """Signal a process that may be gone. Anything but SIGCONT only for children that we have not collected: nobody else
    has those pids.
    """
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass
