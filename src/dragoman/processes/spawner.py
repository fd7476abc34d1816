"""Starting children through a guardian, so that none outlives this process. See `dragoman.processes.guardian`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self
from weakref import WeakSet

import anyio

from dragoman.latch import Latch
from dragoman.processes import guardian, wire
from dragoman.processes.child import Child, Command, SpawnError
from dragoman.processes.guarded import GuardedChild, order, receive_report, task_words
from dragoman.processes.streams import Streams

ATTEMPTS = guardian.WAITING + 3
"""How often a child is asked for when what answers is killed just then: each shepherd that waits may be."""
GUARDIAN_HUNG_S = 1.0
"""A guardian that has not answered for so long when somebody gives up waiting is replaced."""
GUARDIAN_LEAVES_S = 0.1
"""How long closing waits for the guardian: it leaves at once unless a child is still being stopped."""
ROOM = 2048
"""For how many descriptors there is to be room: a child takes four, and its place one."""
STARTS_FIRST_S = 0.3
"""How long a child that runs waits for others that are being started. It is starting itself meanwhile."""
LOADER = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""Without these some Python installations do not start; nothing else of the environment goes to the guardian."""

CONTROL = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_STREAM
"""A message wakes one of the shepherds that wait for it; of a stream, all of them. Elsewhere it may not exist."""

_inherited_by_forks: WeakSet[socket.socket | Streams] = WeakSet()


class Spawner:
    """Starts children. Its guardian is started with the first of them, and anew if somebody killed it.

    Several tasks may spawn at once. `close` it at the end: every child still there is told to stop, unless detached.
    """

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._sending: anyio.Lock | None = None
        self._lifelines: set[socket.socket] = set()
        self._starting = 0
        """How many children are asked for and have not started yet."""
        self._started = Latch()
        """Set when they have."""
        _make_room()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def guardian_pid(self) -> int | None:
        """The pid of the guardian, None before the first child."""
        return self._guardian.pid if self._guardian else None

    async def spawn(self, command: Command) -> Child:
        """Start a process in a session of its own, with pipes to it; a detached one with files.

        Raises:
            SpawnError: it could not be started.
            OSError: no pipes, or files for a detached one, could be made.
        """
        program = _find(command)
        request = _request(program, command)
        streams = (
            Streams.detached(command.detached)
            if command.detached
            else Streams.open(command.stdout_file, keeps=command.may_detach)
        )
        _inherited_by_forks.add(streams)
        child: GuardedChild | None = None
        self._starting += 1
        try:
            for _ in range(ATTEMPTS):
                streams.rewind()
                child = await self._ask(request, program, command, streams)
                if child is not None:
                    return child
            raise SpawnError(program, OSError(errno.EAGAIN, "what watches over it was killed each time"))
        finally:
            self._starting -= 1
            if not self._starting:
                self._started.set()
                self._started = Latch()
            streams.give_away()
            if child is None:
                streams.close()

    async def calm(self) -> None:
        """Wait, but not for long, until no child is being started: what runs takes the processor from what is to."""
        if self._starting:
            with anyio.move_on_after(STARTS_FIRST_S):
                await self._started.wait()

    def rouse(self) -> None:
        """Have the guardian go on if somebody stopped it: it alone ends what a killed shepherd has left behind."""
        if self._guardian is not None:
            self._guardian.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Leave the guardian. It stops what still runs and is not detached, whether this process lives on or not."""
        for lifeline in list(self._lifelines):
            _wake(lifeline)
            self._let_go(lifeline)
        self._leave_guardian()

    async def _ask(self, request: bytes, program: str, command: Command, streams: Streams) -> GuardedChild | None:
        """One try; None: the guardian or the shepherd died meanwhile, and with them whatever they had started."""
        ours, theirs = socket.socketpair()
        started = time.monotonic()
        child: GuardedChild | None = None
        asked = False
        try:
            ours.setblocking(False)
            _inherited_by_forks.add(ours)
            self._lifelines.add(ours)
            try:
                # Before there is a shepherd: that finds all it needs.
                sent = ours.send(request)
                claim = () if command.claim is None else (command.claim,)
                await self._send_to_guardian((theirs.fileno(), *streams.theirs, *claim))
                theirs.close()
                await _send(ours, memoryview(request)[sent:])
                asked = True
                said = await receive_report(ours, bytearray())
            except (BrokenPipeError, ConnectionError):
                said = None
            if said is None:
                return None
            child = _started(said, program, command, ours, streams, self._let_go)
        except BaseException:
            if time.monotonic() - started > GUARDIAN_HUNG_S and self._guardian is not None:
                # Somebody stopped it, say; the shepherds that it has need it no more.
                self._guardian.kill()
                self._leave_guardian()
            raise
        else:
            return child
        finally:
            theirs.close()
            if child is None:
                # Whatever was started meanwhile is stopped by its shepherd, which sees the end of its lifeline or, if
                # it is detached, the order. Behind half a request that would not be one.
                if asked:
                    order(ours, wire.STOP)
                self._let_go(ours)

    async def _send_to_guardian(self, descriptors: Sequence[int]) -> None:
        if self._sending is None:
            self._sending = anyio.Lock(fast_acquire=True)
        async with self._sending:
            if not self._guardian_is_there():
                self._leave_guardian()
                self._start_guardian()
            assert self._control is not None  # noqa: S101 - just started
            while True:
                try:
                    socket.send_fds(self._control, [b"\0"], descriptors)
                except BlockingIOError:
                    await anyio.wait_writable(self._control)
                else:
                    return

    def _guardian_is_there(self) -> bool:
        if self._control is None or self._guardian is None or self._guardian.poll() is not None:
            return False
        try:
            # It never says anything: either there is nothing, or the end.
            return bool(self._control.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _start_guardian(self) -> None:
        ours, theirs = socket.socketpair(type=CONTROL)
        try:
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", guardian.__file__, str(theirs.fileno())],
                # It must hold none of our streams: a client may wait for their end.
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in LOADER if name in os.environ},
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise SpawnError(sys.executable, error) from error
        finally:
            theirs.close()
        ours.setblocking(False)
        _inherited_by_forks.add(ours)
        self._control = ours

    def _let_go(self, lifeline: socket.socket) -> None:
        self._lifelines.discard(lifeline)
        lifeline.close()

    def _leave_guardian(self) -> None:
        guardian_, self._guardian = self._guardian, None
        control, self._control = self._control, None
        if control is not None:
            _wake(control)
            control.close()
        if guardian_ is not None:
            # One that somebody stopped would never notice that it may leave.
            guardian_.send_signal(signal.SIGCONT)
            try:
                guardian_.wait(GUARDIAN_LEAVES_S)
            except subprocess.TimeoutExpired:
                # Somebody must collect it in the end, and this process may live for long.
                threading.Thread(target=guardian_.wait, daemon=True).start()


def _started(
    said: tuple[bytes, int, int],
    program: str,
    command: Command,
    lifeline: socket.socket,
    streams: Streams,
    let_go: Callable[[socket.socket], None],
) -> GuardedChild:
    kind, number, other = said
    if kind == wire.FAILED:
        raise SpawnError(program, OSError(number, os.strerror(number)), command.cwd if other else None)
    return GuardedChild(number, other, lifeline, streams, command, let_go)


def _find(command: Command) -> str:
    program = command.argv[0]
    if os.path.dirname(program):  # noqa: PTH120 - "./x" must keep its dot
        return program
    found = shutil.which(program, path=command.env.get("PATH", os.defpath))
    if found is None:
        raise SpawnError(program, OSError(errno.ENOENT, os.strerror(errno.ENOENT)))
    return found


def _request(program: str, command: Command) -> bytes:
    detached = command.detached
    words = [
        str(command.grace_s),
        str(command.remove or "") if detached is None else "",
        *(("", "", "") if detached is None else task_words(detached)),
        str(command.cwd),
        str(len(command.argv)),
        program,
        *command.argv[1:],
        *(f"{name}={value}" for name, value in command.env.items()),
    ]
    if any("\0" in word for word in words):
        raise SpawnError(program, OSError(errno.EINVAL, "an argument, a variable or the folder has a NUL in it"))
    data = os.fsencode("\0".join(words))
    return wire.LENGTH.pack(len(data)) + data


async def _send(connection: socket.socket, rest: memoryview) -> None:
    while rest:
        try:
            rest = rest[connection.send(rest) :]
        except BlockingIOError:
            await anyio.wait_writable(connection)


def _make_room() -> None:
    """Have the table of open files large enough for many children at once.

    Each time it grows in a process with several threads, the kernel has all of them wait for some 10 ms.
    """
    if threading.active_count() == 1:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        room = ROOM if limit == resource.RLIM_INFINITY else min(ROOM, limit)
        with contextlib.suppress(OSError):
            descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.close(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, room - 1))
            finally:
                os.close(descriptor)


def _wake(connection: socket.socket) -> None:
    """Before it is closed: whoever waits for it hears of that."""
    with contextlib.suppress(Exception):  # outside an event loop nobody can be waiting for it
        anyio.notify_closing(connection)


def _close_inherited() -> None:
    """A fork of this process would hold every lifeline and claim, and keep children alive after our death."""
    for ours in list(_inherited_by_forks):
        if isinstance(ours, Streams):
            ours.give_away()
        else:
            ours.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
