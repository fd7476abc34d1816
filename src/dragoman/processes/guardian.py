"""The program that owns a server's children, so that none of them outlives it. ``python -I -S guardian.py FD``

It and its neighbours `shepherd`, `tree` and `wire` use the standard library only, and little of it: they run in a
process of their own, which is forked for every child::

    server ──control──► guardian          a subreaper; keeps shepherds waiting at the control socket, ``FD``
       └────lifeline──► shepherd          a subreaper of its own; starts one program, in a session of its own
                           └─ program     … and whatever that starts, wherever it hides

A lifeline is a socket that the server sends over the control socket. Its shepherd reads one request from it, starts
the program and says how that went. From then on each byte that comes is an order, and the end of the lifeline, by which
the death of the server is noticed, is the order to stop. Whatever the program leaves behind becomes a child of its
shepherd and is stopped with it; what a killed shepherd leaves behind becomes a child of the guardian, which kills it.
The guardian may be killed at any moment: shepherds need it no more.

The shepherd of a *detached* program lives on without its server, to a time that it was told. Any later server knows it
by a lock on a file, and orders it about by signals: see `DetachedShepherd`.

The server speaks this protocol in `dragoman.processes.spawner` and `dragoman.processes.guarded`, a later one in
`dragoman.processes.detached`.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import sys

if __name__ == "__main__":
    # Alone, it finds its neighbours without loading the packages around them.
    for name, depth in (("dragoman", 2), ("dragoman.processes", 1)):
        package = sys.modules[name] = type(sys)(name)
        package.__path__ = [__file__.rsplit(os.sep, depth)[0]]

from dragoman.processes.rehearsal import rehearse
from dragoman.processes.shepherd import begin, drain, handle_signals, remove_folder, wake_on_signals
from dragoman.processes.tree import children, kill
from dragoman.processes.wire import FAILED, receive_task, report

TYPE_CHECKING = False  # importing typing would cost memory in every shepherd
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

WAITING = 3
"""How many shepherds wait for the next children. Forked ahead, they cost a child no fork, nor each of a few at once."""
MOST_WAITING = 12
"""How many are forked together when programs are asked for faster than shepherds can be forked."""
REFILL_MS = 8
"""How long nothing is to happen before others are forked in place of some that are busy now. What they do just then is
start programs, and a fork would take the processor from them."""
PID = struct.Struct("i")
PIDS_BYTES = 64 * PID.size
LEFT_SOMETHING = 1
"""How a shepherd ends below which something may live on."""


def main() -> NoReturn:
    """Serve the control socket until it is closed and the last shepherd is gone."""
    import gc

    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    handle_signals()
    prctl = Prctl()
    prctl.adopt_orphans()
    # If somebody stopped us, we would not notice.
    prctl.signal_at_parents_end(signal.SIGCONT)
    # A collection would touch, and so copy, every page that shepherds share with the guardian.
    gc.disable()
    gc.freeze()
    Guardian(control, prctl).serve()
    os._exit(0)


class Guardian:
    """Keeps shepherds waiting at the control socket, and looks after all of them.

    Whoever waits reads the socket itself, and says its pid when it has left.
    """

    def __init__(self, control: socket.socket, prctl: Prctl) -> None:
        self.control = control
        self.prctl = prctl
        self.woken = wake_on_signals()
        self.left, self.leave = os.pipe()
        self.shepherds: set[int] = set()
        self.waiting: set[int] = set()
        self.wanted = WAITING
        self.has_strays = False
        self.is_open = True
        self.is_quiet = False
        self.poll = select.poll()
        self.poll.register(control, 0)
        self.poll.register(self.woken, select.POLLIN)
        self.poll.register(self.left, select.POLLIN)

    def serve(self) -> None:
        while self.is_open or self.shepherds or self.has_strays:
            self.waiting &= self.shepherds
            if self.is_quiet:
                self.wanted = WAITING
            if not self.waiting or self.is_quiet:
                while self.is_open and len(self.waiting) < self.wanted and self.fork():
                    pass
                if not self.is_quiet:
                    # Nobody waited, so many come at once.
                    self.wanted = min(2 * self.wanted, MOST_WAITING)
            is_settled = len(self.waiting) >= WAITING and self.wanted == WAITING
            came = self.poll.poll(None if is_settled or not self.is_open else REFILL_MS)
            self.is_quiet = not came
            for ready, event in came:
                if ready == self.woken:
                    drain(self.woken)
                    self.look_after()
                elif ready == self.left:
                    self.waiting.difference_update(pid for (pid,) in PID.iter_unpack(os.read(self.left, PIDS_BYTES)))
                elif event & select.POLLIN and not self.waiting:
                    self.refuse()
                elif event & (select.POLLHUP | select.POLLERR):
                    self.is_open = False
                    self.poll.unregister(self.control)

    def fork(self) -> bool:
        try:
            pid = os.fork()
        except OSError:
            # Too many processes: when nobody waits any more, whoever comes to the control socket is told.
            self.poll.modify(self.control, 0 if self.waiting else select.POLLIN)
            return False
        if pid == 0:
            os.close(self.woken)
            os.close(self.left)
            run_shepherd(self.control, self.leave, self.prctl, has_time=self.is_quiet)
        self.shepherds.add(pid)
        self.waiting.add(pid)
        self.poll.modify(self.control, 0)
        return True

    def refuse(self) -> None:
        task = receive_task(self.control)
        if task:
            report(task[0], FAILED, errno.EAGAIN, 0)
        for number in task:
            os.close(number)

    def look_after(self) -> None:
        """Reap; end shepherds that were stopped, since they hear nothing any more; kill what dead ones left behind."""
        has_news = self.has_strays
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if not os.WIFSTOPPED(status):
                has_news |= bool(status) or pid not in self.shepherds
                self.shepherds.discard(pid)
            elif pid in self.shepherds:
                os.kill(pid, signal.SIGKILL)
        if not has_news:
            # Shepherds that say so have left nothing behind.
            return
        # A stray's own children come to us when it dies, and with it the next SIGCHLD: too early to leave.
        strays = set(children(os.getpid())) - self.shepherds
        self.has_strays = bool(strays)
        for pid in strays:
            kill(pid, signal.SIGKILL)


def run_shepherd(control: socket.socket, leave: int, prctl: Prctl, *, has_time: bool) -> NoReturn:
    """Become the shepherd of the program that is asked for next. Never returns."""
    try:
        # One that waited on would serve a child that no guardian is there for; the server sends it to a new one.
        prctl.signal_at_parents_end(signal.SIGKILL)
        prctl.adopt_orphans()
        os.setsid()
        woken = wake_on_signals()
        if has_time:
            rehearse(woken)
        task = receive_task(control)
        if not task:
            # If somebody stopped the guardian, it may not have noticed that the server is gone.
            os.kill(os.getppid(), signal.SIGCONT)
            os._exit(0)
        # From here on it is nobody's whom somebody stopped: the guardian, which would see to that, is gone.
        prctl.signal_at_parents_end(signal.SIGCONT)
        lifeline, *descriptors = task
        begun = begin(lifeline, descriptors, woken)
        try:
            # Only now, since it wakes the guardian, which would take the processor from the program's start.
            os.write(leave, PID.pack(os.getpid()))
        except OSError:
            pass  # the guardian was killed: from here on nobody but us looks after the program
        os.close(leave)
        control.close()
        if begun is not None:
            shepherd, remove = begun
            while shepherd is not None:
                shepherd = shepherd.tend()
            if remove:
                remove_folder(remove)
        os._exit(0)
    finally:
        os._exit(LEFT_SOMETHING)


class Prctl:
    """What Linux does for a process about its parents and orphans; elsewhere nothing happens."""

    PR_SET_PDEATHSIG = 1
    PR_SET_CHILD_SUBREAPER = 36

    def __init__(self) -> None:
        self.call: Callable[[int, int, int, int, int], int] | None = None
        if sys.platform.startswith("linux"):
            import ctypes

            self.call = ctypes.CDLL(None).prctl

    def adopt_orphans(self) -> None:
        """Orphans below this process become its children."""
        if self.call:
            self.call(self.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def signal_at_parents_end(self, number: int) -> None:
        """This signal comes when the parent ends, or only its thread that started us."""
        if self.call:
            self.call(self.PR_SET_PDEATHSIG, number, 0, 0, 0)


if __name__ == "__main__":
    main()
