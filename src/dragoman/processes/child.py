"""One child process, its three streams and its process group.

The child leads a session of its own, so it gets no signal meant for us and its group can be stopped as a whole. Its
exit is seen without reaping it: as long as the leader is a zombie its group id cannot be reused, so a signal to the
group can never reach a stranger. `Child.close` kills what is left of the group and then reaps.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread

READ_BYTES = 256 * 1024
FOLLOW_INTERVAL_S = 0.02
"""How often a followed file is looked at; no portable call waits for a file to grow."""


class SpawnError(Exception):
    """The program did not start. ``errno`` tells why: ENOENT, EACCES, E2BIG …"""

    def __init__(self, program: str, error: OSError) -> None:
        super().__init__(f"{program} did not start: {error.strerror or error}")
        self.program = program
        self.errno = error.errno or 0


@dataclass(frozen=True, slots=True)
class Command:
    """What to start. The environment is complete: nothing is inherited."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    stdout_file: Path | None = None
    """Give the child this file as its stdout and follow it; None: a pipe."""


@dataclass(slots=True)
class Child:
    """A started process. Use `spawn` to make one and `close` to be rid of it, whatever happened between."""

    pid: int
    started_at: float
    _process: subprocess.Popen[bytes]
    _pidfd: int | None
    _stdin: int | None
    _stdout: int | None
    _stderr: int | None
    _follows: bool
    _exit: int | None = None
    exited: anyio.Event = field(default_factory=anyio.Event)

    @property
    def exit_code(self) -> int | None:
        """The exit code, minus the signal's number, or None while it runs."""
        return self._exit

    async def write(self, data: bytes) -> bool:
        """Write all of `data` to stdin. False when the child does not take it: it closed stdin, or ended."""
        view = memoryview(data)
        while view and self._stdin is not None:
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                try:
                    await anyio.wait_writable(self._stdin)
                except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
                    return False
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.EBADF):
                    raise
                return False
        return not view

    def close_stdin(self) -> None:
        """End the child's input."""
        self._stdin = _shut(self._stdin)

    async def read_stdout(self) -> bytes:
        """What the child wrote since the last time; ``b""`` at the end."""
        if self._follows:
            return await self._read_followed()
        return await _read(self._stdout)

    async def read_stderr(self) -> bytes:
        """What the child wrote to stderr since the last time; ``b""`` at the end."""
        return await _read(self._stderr)

    async def _read_followed(self) -> bytes:
        while self._stdout is not None:
            await anyio.lowlevel.checkpoint()
            ended = self._exit is not None
            if chunk := os.read(self._stdout, READ_BYTES):
                return chunk
            if ended:
                break
            with anyio.move_on_after(FOLLOW_INTERVAL_S):
                await self.exited.wait()
        return b""

    async def wait(self) -> int:
        """Wait until the child itself ended; others of its group may live on."""
        while self._exit is None:
            if self._pidfd is None:
                await anyio.to_thread.run_sync(_wait_unreaped, self.pid, abandon_on_cancel=True)
            else:
                await anyio.wait_readable(self._pidfd)
            self.poll()
        return self._exit

    def poll(self) -> int | None:
        """The exit code if the child ended, without waiting."""
        if self._exit is None:
            with contextlib.suppress(ChildProcessError):
                seen = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if seen is not None:
                    self._exit = seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status
                    self.exited.set()
        return self._exit

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        # The group outlives its leader: it is signalled also when the leader ended, until `close` has reaped it.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def close(self) -> None:
        """Kill what is left of the group, reap the child, close the streams. Waits no longer than a kill takes."""
        self.signal(signal.SIGKILL)
        self._stdin = _shut(self._stdin)
        self._stdout = _shut(self._stdout)
        self._stderr = _shut(self._stderr)
        self._pidfd = _shut(self._pidfd)
        if self._exit is None:
            # SIGKILL was sent; only a process in uninterruptible sleep can outlast this bound.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1.0)
        else:
            self._process.wait()
        if self._process.returncode is not None:
            self._exit = self._process.returncode
        self.exited.set()


def spawn(command: Command) -> Child:
    """Start a process in a session of its own.

    Raises:
        SpawnError: it could not be started.
    """
    stdin_read, stdin_write = os.pipe()
    stderr_read, stderr_write = os.pipe()
    opened = [stdin_read, stdin_write, stderr_read, stderr_write]
    try:
        if command.stdout_file is None:
            stdout_read, stdout_write = os.pipe()
        else:
            stdout_write = os.open(command.stdout_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            opened.append(stdout_write)
            stdout_read = os.open(command.stdout_file, os.O_RDONLY)
        opened += [stdout_read, stdout_write]
        process = subprocess.Popen(
            command.argv,
            stdin=stdin_read,
            stdout=stdout_write,
            stderr=stderr_write,
            env=command.env,
            cwd=command.cwd,
            start_new_session=True,
        )
    except OSError as error:
        for descriptor in set(opened):
            os.close(descriptor)
        raise SpawnError(str(command.argv[0]), error) from error
    for descriptor in (stdin_read, stdout_write, stderr_write):
        os.close(descriptor)
    for descriptor in (stdin_write, stdout_read, stderr_read):
        os.set_blocking(descriptor, False)
    return Child(
        pid=process.pid,
        started_at=time.time(),
        _process=process,
        _pidfd=os.pidfd_open(process.pid) if sys.platform == "linux" else None,
        _stdin=stdin_write,
        _stdout=stdout_read,
        _stderr=stderr_read,
        _follows=command.stdout_file is not None,
    )


async def _read(descriptor: int | None) -> bytes:
    while descriptor is not None:
        # A child that always has more to say must not keep every other task, and a cancellation, waiting.
        await anyio.lowlevel.checkpoint()
        try:
            return os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            try:
                await anyio.wait_readable(descriptor)
            except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                break
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            break
    return b""


def _shut(descriptor: int | None) -> None:
    if descriptor is not None:
        with contextlib.suppress(Exception):  # outside an event loop nobody can be waiting for it
            anyio.notify_closing(descriptor)
        os.close(descriptor)


def _wait_unreaped(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
