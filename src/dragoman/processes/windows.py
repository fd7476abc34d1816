"""Children on Windows, each in a Job Object that dies with this process. Written from the documentation; NOT RUN yet.

The job has ``KILL_ON_JOB_CLOSE``: the system closes its only handle when this process ends, however it ends, and kills
all that is in the job, which whatever a child starts is born into. The child is started suspended and put into the job
before its first instruction, so it can start nothing outside. There is no SIGTERM: a child that does not end by itself
when its stdin is closed, or on Ctrl-Break, is killed.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import anyio
import anyio.abc

from dragoman.latch import Latch
from dragoman.processes.child import Child, Command, Detached, Ended, SpawnError

assert sys.platform == "win32"  # noqa: S101 - for the type checker, too: what follows exists only there

KILL_ON_JOB_CLOSE = 0x2000
EXTENDED_LIMIT_INFORMATION = 9
CREATE_SUSPENDED = 0x4
PROCESS_ALL_ACCESS = 0x1FFFFF
KILLED = 1
"""The exit code of what is killed with its job."""
DEAF_S = 5.0
"""How long a killed process may take to go."""


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


class Job:
    """A Job Object. Closing it kills what is in it."""

    def __init__(self) -> None:
        self._kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        self._kernel32.CreateJobObjectW.restype = ctypes.c_void_p
        self._kernel32.OpenProcess.restype = ctypes.c_void_p
        self._handle: int | None = self._kernel32.CreateJobObjectW(None, None)
        if not self._handle:
            raise ctypes.WinError(ctypes.get_last_error())
        limits = _ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = KILL_ON_JOB_CLOSE
        self._check(
            self._kernel32.SetInformationJobObject(
                ctypes.c_void_p(self._handle),
                EXTENDED_LIMIT_INFORMATION,
                ctypes.byref(limits),
                ctypes.sizeof(limits),
            )
        )

    def adopt_and_resume(self, pid: int) -> None:
        """Put a suspended process into the job, then let it run.

        Raises:
            OSError: it cannot be.
        """
        process = self._kernel32.OpenProcess(PROCESS_ALL_ACCESS, False, pid)
        self._check(process)
        try:
            job = ctypes.c_void_p(self._handle)
            self._check(self._kernel32.AssignProcessToJobObject(job, ctypes.c_void_p(process)))
            if ctypes.WinDLL("ntdll").NtResumeProcess(ctypes.c_void_p(process)) != 0:
                raise OSError(f"process {pid} could not be resumed")
        finally:
            self._kernel32.CloseHandle(ctypes.c_void_p(process))

    def close(self) -> None:
        """Kill what is in it."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._kernel32.TerminateJobObject(ctypes.c_void_p(handle), KILLED)
            self._kernel32.CloseHandle(ctypes.c_void_p(handle))

    def _check(self, result: int | None) -> None:
        if not result:
            raise ctypes.WinError(ctypes.get_last_error())


class Spawner:
    """Starts children. See `dragoman.processes.spawner.Spawner`, whose place it takes."""

    def __init__(self) -> None:
        self._jobs: set[Job] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def rouse(self) -> None:
        """See the other `Spawner`: here the system ends what is left behind."""

    async def calm(self) -> None:
        """See the other `Spawner`: here nothing is to be waited for."""

    async def spawn(self, command: Command) -> Child:
        """Start a process in a job of its own, with pipes to it.

        Raises:
            SpawnError: it could not be started.
        """
        if command.detached is not None:
            words = "on Windows every child ends with its server; start it as one that is not detached"
            raise SpawnError(command.argv[0], OSError(words))
        if command.stdout_file is not None:
            raise SpawnError(command.argv[0], OSError("its output goes to a file, which is not done on Windows yet"))
        try:
            job = Job()
        except OSError as error:
            raise SpawnError(command.argv[0], error) from error
        try:
            process = await anyio.open_process(
                list(command.argv),
                env=command.env,
                cwd=command.cwd,
                creationflags=CREATE_SUSPENDED | subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW,
            )
            job.adopt_and_resume(process.pid)
        except OSError as error:
            job.close()
            raise SpawnError(command.argv[0], error) from error
        self._jobs.add(job)
        return JobChild(process, job, process.pid, time.time(), Latch())

    def close(self) -> None:
        """Kill every child that is still there."""
        for job in self._jobs:
            job.close()


@dataclass(slots=True, eq=False)
class JobChild:
    """A child in a job."""

    _process: anyio.abc.Process
    _job: Job
    pid: int
    started_at: float
    exited: Latch
    lost: bool = False

    @property
    def exit_code(self) -> int | None:
        """See `Child.exit_code`."""
        return self._process.returncode

    async def write(self, data: bytes) -> bool:
        """See `Child.write`."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        try:
            await self._process.stdin.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        return True

    def write_at_once(self, data: bytes) -> bool:
        """See `Child.write_at_once`: it cannot be told."""
        return not data

    def close_stdin(self) -> None:
        """See `Child.close_stdin`."""
        transport = getattr(self._process.stdin, "_stream", None)
        if transport is not None:
            transport.close()

    async def read_stdout(self) -> bytes:
        """See `Child.read_stdout`."""
        return await _read(self._process.stdout)

    async def read_stderr(self) -> bytes:
        """See `Child.read_stderr`."""
        return await _read(self._process.stderr)

    async def wait(self) -> int:
        """See `Child.wait`."""
        code = await self._process.wait()
        self.exited.set()
        return code

    async def detach(self, detached: Detached) -> bool:  # noqa: ARG002 - see `Spawner.spawn`
        """See `Child.detach`. It always ends with its server."""
        return False

    def signal(self, number: signal.Signals) -> None:
        """Ctrl-Break for an interrupt; anything else kills."""
        if number is signal.SIGINT:
            self._process.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            self._job.close()

    def kill(self) -> None:
        """See `Child.kill`."""
        self._job.close()

    def close(self) -> None:
        """See `Child.close`."""
        self._job.close()
        self.exited.set()

    def leave(self) -> None:
        """See `Child.leave`."""
        self.close()

    async def gone(self) -> bool:
        """See `Child.gone`."""
        with anyio.move_on_after(DEAF_S) as limit:
            await self._process.wait()
        return not limit.cancelled_caught


async def adopt(_folder: Path) -> Child | None:
    """See `dragoman.processes.detached`. Here nothing outlives its server, so nobody finds anything."""
    return None


async def stop_detached(_folder: Path, _mark: str = "") -> bool:
    """See `dragoman.processes.detached`."""
    return True


def remains(_folder: Path) -> Child | None:
    """See `dragoman.processes.detached`."""
    return None


def read_end(_folder: Path) -> Ended | None:
    """See `dragoman.processes.detached`."""
    return None


async def _read(stream: anyio.abc.ByteReceiveStream | None) -> bytes:
    assert stream is not None  # noqa: S101 - a pipe was asked for
    try:
        return await stream.receive()
    except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
        return b""
