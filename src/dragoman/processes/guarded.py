"""A child that a shepherd watches over, and what is said to the shepherd and by it: see `dragoman.processes.wire`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable

import anyio

from dragoman.latch import Latch
from dragoman.processes import tree, wire
from dragoman.processes.child import DEAF_S, Command, Detached
from dragoman.processes.streams import Streams

Report = tuple[bytes, int, int]
"""What a shepherd says, see `wire.REPORT`."""


class GuardedChild:
    """A child that a shepherd watches over."""

    def __init__(
        self,
        pid: int,
        shepherd_pid: int,
        lifeline: socket.socket,
        streams: Streams,
        command: Command,
        let_go: Callable[[socket.socket], None],
    ) -> None:
        self.pid = pid
        self.shepherd_pid = shepherd_pid
        self.started_at = time.time()
        self.exited = Latch()
        self.lost = False
        self._lifeline = lifeline
        self._let_go = let_go
        self._streams = streams
        self._grace_s = command.grace_s
        self._is_detached = command.detached is not None
        self._answered: Latch | None = None
        """Set when it is known who reads its pipes from the order to hand them over on."""
        self._unread = bytearray()
        self._exit: int | None = None
        self._is_gone = False
        self._is_closed = False
        self._was_left = False
        self.write = streams.write
        self.write_at_once = streams.write_at_once
        self.close_stdin = streams.close_stdin

    @property
    def exit_code(self) -> int | None:
        """See `Child.exit_code`."""
        return self._exit

    async def read_stdout(self) -> bytes:
        """See `Child.read_stdout`."""
        return await self._streams.read("stdout", self.exited)

    async def read_stderr(self) -> bytes:
        """See `Child.read_stderr`."""
        return await self._streams.read("stderr", self.exited)

    async def wait(self) -> int:
        """See `Child.wait`."""
        while self._exit is None:
            if self._was_left:
                raise anyio.ClosedResourceError
            report = None if self._is_gone else await receive_report(self._lifeline, self._unread)
            if report is None and self._was_left:
                continue
            if report is None:
                self._is_gone = True
                self.lost = True
                self._ended(-signal.SIGKILL)
            else:
                self._heard(report)
        assert self._exit is not None  # noqa: S101 - just set
        return self._exit

    async def detach(self, detached: Detached) -> bool:
        """See `Child.detach`.

        From the order on nobody reads the pipes here until the shepherd says that it does, or has ended without a word:
        so there are never two readers, and whenever this process is killed the shepherd has all that was said or none.
        """
        if self._is_detached or self._is_closed or self._exit is not None:
            return self._is_detached
        if self._answered is None:
            given = self._streams.to_files(detached)
            if given is None:
                return False
            data = os.fsencode("\0".join(task_words(detached)))
            try:
                # So few bytes go whole or not at all.
                told = bytes([wire.HAND_OVER]) + wire.LENGTH.pack(len(data)) + data
                socket.send_fds(self._lifeline, [told], given)
            except OSError:
                self._streams.are_pipes()
                return False
            self._answered = Latch()
        await self._answered.wait()
        return self._is_detached

    def signal(self, number: signal.Signals) -> None:
        """See `Child.signal`."""
        order(self._lifeline, number)

    def kill(self) -> None:
        """See `Child.kill`."""
        order(self._lifeline, wire.KILL_TREE)
        self._wake_shepherd()

    def close(self) -> None:
        """See `Child.close`."""
        if not self._is_closed:
            self._is_closed = True
            order(self._lifeline, wire.STOP)
            self._wake_shepherd()
            self._streams.close()
            self.exited.set()
            self._is_answered()

    def leave(self) -> None:
        """See `Child.leave`."""
        if not self._is_detached:
            self.close()
        elif not self._is_closed:
            self._is_closed = self._was_left = True
            self._streams.close()
            # Whoever waits for the child hears of it.
            anyio.notify_closing(self._lifeline)
            self._let_go(self._lifeline)
            self.exited.set()

    async def gone(self) -> bool:
        """See `Child.gone`."""
        if self._was_left:
            return False
        try:
            if not await self._is_gone_within(self._grace_s + DEAF_S):
                # The shepherd does not answer, so it is there, and its pid is its own: it, and all below it, goes.
                tree.signal_below(self.shepherd_pid, signal.SIGKILL)
                tree.kill(self.shepherd_pid, signal.SIGKILL)
            return await self._is_gone_within(DEAF_S)
        finally:
            self._let_go(self._lifeline)

    def _wake_shepherd(self) -> None:
        # One that somebody stopped when its guardian was gone hears nothing, and we may be about to leave.
        if not self._is_gone:
            tree.kill(self.shepherd_pid, signal.SIGCONT)

    async def _is_gone_within(self, seconds: float) -> bool:
        self._listen()
        if not self._is_gone:
            with anyio.move_on_after(seconds):
                while not self._is_gone:
                    self._heard(await receive_report(self._lifeline, self._unread))
            # This process may have been held up for so long that the time was over before it heard what was said in it.
            self._listen()
        return self._is_gone

    def _listen(self) -> None:
        """Hear what was said by now."""
        with contextlib.suppress(BlockingIOError):
            while not self._is_gone:
                self._heard(next_report(self._lifeline, self._unread))

    def _heard(self, report: Report | None) -> None:
        if report is None:
            self._is_gone = True
            return
        kind, number, _ = report
        if kind == wire.TAKEN_OVER:
            self._is_detached = True
            self._streams.are_files()
            self._is_answered()
        else:
            self._ended(number)

    def _ended(self, code: int) -> None:
        if self._exit is None:
            self._exit = code
            # If its shepherd was to take it over, it cannot have done so: it would have said so before.
            self._streams.are_pipes()
            self._is_answered()
            self.exited.set()

    def _is_answered(self) -> None:
        if self._answered is not None:
            self._answered.set()


def task_words(detached: Detached) -> tuple[str, str, str]:
    """A detached child as its shepherd is told of it."""
    return str(detached.folder.absolute()), str(detached.until), str(detached.stdout_bytes)


def order(lifeline: socket.socket, order: int) -> None:
    """Tell a shepherd what to do: a signal's number, or an order of `wire`."""
    # The shepherd may be gone; and if it is stopped and takes no orders any more, `GuardedChild.gone` sees to it.
    with contextlib.suppress(OSError):
        lifeline.send(bytes([order]))


async def receive_report(lifeline: socket.socket, unread: bytearray) -> Report | None:
    """The next thing the shepherd says; None: it is gone."""
    while True:
        try:
            return next_report(lifeline, unread)
        except BlockingIOError:
            try:
                await anyio.wait_readable(lifeline)
            except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                return None


def next_report(lifeline: socket.socket, unread: bytearray) -> Report | None:
    """The next thing the shepherd has said; None: it is gone.

    Raises:
        BlockingIOError: it has not said it yet.
    """
    while len(unread) < wire.REPORT.size:
        try:
            data = lifeline.recv(wire.REPORT.size - len(unread))
        except BlockingIOError:
            raise
        except OSError:
            return None
        if not data:
            return None
        unread += data
    report = wire.REPORT.unpack(unread)
    unread.clear()
    return report
