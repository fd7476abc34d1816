"""What the engine sees of one child process: its three streams, its exit, and the ways to end it."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from dragoman.latch import Latch

GRACE_S = 1.5
"""How long a process tree has between SIGTERM and SIGKILL when its owner is gone."""
DEAF_S = 1.0
"""How long after its grace a tree may still be there before we kill it without its shepherd."""
StoppedBy = Literal["itself", "order", "time", "size"]
"""Why a detached child ended: of itself, since somebody wanted it, since its time was over, since it wrote too much."""


class SpawnError(Exception):
    """The program did not start. ``errno`` tells why: ENOENT, EACCES, E2BIG …"""

    def __init__(self, program: str, error: OSError, folder: Path | None = None) -> None:
        reason = error.strerror or str(error)
        if folder is not None:
            message = f"{program} did not start: the folder {str(folder)!r} cannot be entered: {reason}"
        elif error.errno == errno.ENOENT and os.path.exists(program):  # noqa: PTH110 - also for what is no path
            message = f"{program} did not start: the interpreter that its first line names is missing"
        else:
            message = f"{program} did not start: {reason}"
        super().__init__(message)
        self.program = program
        self.errno = error.errno or 0


@dataclass(frozen=True)
class Detached:
    """How a child lives on when its server is gone. See `dragoman.processes.detached`."""

    folder: Path
    """An existing folder for nothing else: its stdin, stdout and stderr become files in it, and what is known of it."""
    stdin: bytes
    """All of its input; of a child that runs it is only kept."""
    until: float
    """When its tree is stopped, in seconds since 1970."""
    stdout_bytes: int = 256 * 1024 * 1024
    """The most that stdout may become, and stderr. Its tree is killed soon after it is more."""


@dataclass(frozen=True)
class Command:
    """What to start. The environment is complete: nothing is inherited."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    stdout_file: Path | None = None
    """Give the child this file as its stdout and follow it; None: a pipe."""
    may_detach: bool = False
    """Keep what is read of its pipes, so that `Child.detach` can begin its files with that."""
    remove: Path | None = None
    """A folder that is removed when the child and all that it left behind are gone, whoever lives to see it. Not done
    for a detached child: it is gone only when nobody asks for it any more."""
    claim: int | None = None
    """An open file that whoever watches over the child keeps open to its end; see `PrivateFolder`."""
    grace_s: float = GRACE_S
    detached: Detached | None = None
    """None: it ends with its server."""


@dataclass(frozen=True)
class Ended:
    """How a detached child ended."""

    exit_code: int
    """Minus the signal's number if one killed it."""
    at: float
    """Seconds since 1970."""
    stopped_by: StoppedBy


class Child(Protocol):
    """A started process. `close` it, whatever happened between."""

    pid: int
    started_at: float
    """Seconds since 1970."""
    exited: Latch
    """Set when the child itself ended; others of its tree may live on."""
    lost: bool
    """It was killed because what watches over it was killed: its true exit code is unknown."""

    @property
    def exit_code(self) -> int | None:
        """The exit code, minus the signal's number, or None while it runs."""
        ...

    async def write(self, data: bytes) -> bool:
        """Write all of `data` to stdin. False when the child does not take it: it closed stdin, or ended."""
        ...

    def write_at_once(self, data: bytes) -> bool:
        """Write `data` to stdin if all of it goes without waiting; else none of it is written, and False."""
        ...

    def close_stdin(self) -> None:
        """End the child's input."""
        ...

    async def read_stdout(self) -> bytes:
        """What the child wrote since the last time; ``b""`` at the end."""
        ...

    async def read_stderr(self) -> bytes:
        """What the child wrote to stderr since the last time; ``b""`` at the end."""
        ...

    async def wait(self) -> int:
        """Wait until the child itself ended. One task at a time may wait here; others wait for `exited`."""
        ...

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child's process group."""
        ...

    def close(self) -> None:
        """Close the streams and have what is left of the tree stopped: SIGTERM, the grace, SIGKILL. Does not wait."""
        ...

    def leave(self) -> None:
        """Instead of `close`: let go of a detached child, which lives on. Any other is closed."""
        ...

    async def detach(self, detached: Detached) -> bool:
        """Have it live on when its server is gone, though it was not started so. It must have all of its input.

        Somebody must be waiting in `wait`. Its streams go on as if nothing had been done. False: it ends with its
        server as before, since it ended just now, said more than is kept, or there is no way to do it.

        Raises:
            OSError: no files could be made in the folder.
        """
        ...

    def kill(self) -> None:
        """Kill the whole tree. Does not wait."""
        ...

    async def gone(self) -> bool:
        """After `close`: wait until nothing of the tree is left. False: it is still there long after its grace."""
        ...
