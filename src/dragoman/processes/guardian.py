"""The program that owns a server's children, so that none of them outlives it. ``python -I -S guardian.py FD``

Standard library only, and little of it: it runs in a process of its own, which is forked for every child::

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

The server speaks this protocol in `dragoman.processes.spawner`, a later one in `dragoman.processes.detached`.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import sys
import time

TYPE_CHECKING = False  # importing typing would cost memory in every shepherd
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

LENGTH = struct.Struct("!I")
"""Before a request, whose parts are joined by NUL bytes: the grace in seconds; the folder to remove at the end (may be
empty); the folder of a detached program (empty: it is none), until when it may run, the most that it may say; the
folder to run in; the number of arguments, the arguments, the environment as NAME=VALUE. With it come the program's
stdin, stdout and stderr, and for a detached one the file `CLAIM`."""
REPORT = struct.Struct("!cii")
"""What a shepherd says: one of the kinds below and two numbers."""
STARTED = b"S"
"""The program runs: its pid, the shepherd's pid."""
FAILED = b"F"
"""It does not: the errno, and 1 if the folder was to blame."""
ENDED = b"E"
"""It ended: its exit code, or minus the signal's number; the most memory it had, in KiB."""

STOP = 0
"""The order to stop the whole tree with its grace. The other orders: the number of a signal for the program's group."""
KILL_TREE = 255
"""The order to kill the whole tree."""
STOP_SIGNAL = signal.SIGTERM
"""To a shepherd, the same as `STOP`."""
KILL_TREE_SIGNAL = signal.SIGUSR1
"""To a detached shepherd, the same as `KILL_TREE`."""
CLAIM = "shepherd"
"""The file that says who a detached program's shepherd is, and is locked as long as that lives."""
EXIT = "exit"
"""The file that says how a detached program ended: its exit code, when, and who stopped it."""
EXIT_TO_BE = "exit.new"
"""Made by the server, as long as it will be, before it is renamed."""
BY_ITSELF, BY_ORDER, BY_TIME, BY_SIZE = "itself", "order", "time", "size"
LOOK_MS = 250
"""How often a detached shepherd looks at the time and at its program's output. In this time a wild one writes some
hundred MB more; a limit of the system's own would be exact, but holds for every file that it or its tools write."""
WAITING = 3
"""How many shepherds wait for the next children. Forked ahead, they cost a child no fork, nor each of a few at once."""
PID = struct.Struct("!i")
ROUND_S = 0.02
"""How long a killed tree may take to show up as dead before what it forked meanwhile is looked for again."""
DEFAULTS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
"""Signals that the program finds as if a shell had started it: Python, or we, ignore or handle them."""


def main() -> NoReturn:
    """Serve the control socket until it is closed and the last shepherd is gone."""
    import gc
    import resource  # noqa: F401  # pyright: ignore[reportUnusedImport] - `os.wait4` would import it in every shepherd

    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    prctl = Prctl()
    prctl.adopt_orphans()
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
        self.woken = wake_on_sigchld()
        self.left, self.leave = os.pipe()
        self.shepherds: set[int] = set()
        self.waiting: set[int] = set()
        self.has_strays = False
        self.is_open = True
        self.poll = select.poll()
        self.poll.register(control, 0)
        self.poll.register(self.woken, select.POLLIN)
        self.poll.register(self.left, select.POLLIN)

    def serve(self) -> None:
        while self.is_open or self.shepherds or self.has_strays:
            self.waiting &= self.shepherds
            while self.is_open and len(self.waiting) < WAITING and self.fork():
                pass
            for ready, event in self.poll.poll():
                if ready == self.woken:
                    drain(self.woken)
                    self.look_after()
                elif ready == self.left:
                    self.waiting.discard(PID.unpack(os.read(self.left, PID.size))[0])
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
            run_shepherd(self.control, self.leave, self.prctl)
        self.shepherds.add(pid)
        self.waiting.add(pid)
        self.poll.modify(self.control, 0)
        return True

    def refuse(self) -> None:
        lifeline = receive_socket(self.control)
        if lifeline is not None:
            quietly(lifeline.sendall, REPORT.pack(FAILED, errno.EAGAIN, 0))
            lifeline.close()

    def look_after(self) -> None:
        """Reap; end shepherds that were stopped, since they hear nothing any more; kill what dead ones left behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if not os.WIFSTOPPED(status):
                self.shepherds.discard(pid)
            elif pid in self.shepherds:
                os.kill(pid, signal.SIGKILL)
        # A stray's own children come to us when it dies, and with it the next SIGCHLD: too early to leave.
        strays = set(children(os.getpid())) - self.shepherds
        self.has_strays = bool(strays)
        for pid in strays:
            kill(pid, signal.SIGKILL)


def run_shepherd(control: socket.socket, leave: int, prctl: Prctl) -> NoReturn:
    """Become the shepherd of the program that is asked for next. Never returns."""
    try:
        # One that waited on would serve a child that no guardian is there for; the server sends it to a new one.
        prctl.die_with_parent(signal.SIGKILL)
        prctl.adopt_orphans()
        os.setsid()
        woken = wake_on_sigchld()
        lifeline = receive_socket(control)
        prctl.die_with_parent(0)
        if lifeline is None:
            os._exit(0)
        os.write(leave, PID.pack(os.getpid()))
        os.close(leave)
        control.close()
        descriptors, request = receive_request(lifeline)
        grace, remove, folder, until, most, cwd, count, *words = request
        leader = start(lifeline, descriptors[:3], cwd, words[: int(count)], words[int(count) :])
        if folder:
            task = Task(descriptors[3], os.fsdecode(folder), float(until), int(most))
            shepherd = DetachedShepherd(lifeline, woken, leader, float(grace), task)
        else:
            shepherd = Shepherd(lifeline, woken, leader, float(grace))
        shepherd.say(STARTED, leader, os.getpid())
        shepherd.tend()
        if remove:
            remove_folder(remove)
    finally:
        os._exit(0)


def start(
    lifeline: socket.socket, descriptors: list[int], cwd: bytes, argv: list[bytes], environment: list[bytes]
) -> int:
    """Start the program; its pid. If it does not start, the server is told and this process ends."""
    at_fault = 1
    try:
        os.chdir(cwd)
        at_fault = 0
        return os.posix_spawn(
            argv[0],
            argv,
            dict(variable.split(b"=", 1) for variable in environment),
            file_actions=[(os.POSIX_SPAWN_DUP2, number, target) for target, number in enumerate(descriptors)],
            setsid=True,
            setsigmask=(),
            setsigdef=DEFAULTS,
        )
    except OSError as error:
        lifeline.sendall(REPORT.pack(FAILED, error.errno or 0, at_fault))
        os._exit(1)
    finally:
        os.chdir("/")
        for number in descriptors:
            os.close(number)


class Shepherd:
    """Waits for the program, for orders and for the end of the lifeline, until nothing of the program is left."""

    def __init__(self, lifeline: socket.socket, woken: int, leader: int, grace_s: float) -> None:
        self.lifeline = lifeline
        self.woken = woken
        self.leader: int | None = leader
        self.grace_s = grace_s
        self.kill_at: float | None = None
        """When the tree is killed; None: nobody wants it stopped."""
        self.poll = select.poll()
        self.poll.register(lifeline, select.POLLIN)
        self.poll.register(woken, select.POLLIN)
        signal.signal(STOP_SIGNAL, self.told_to_stop)

    def tend(self) -> None:
        while self.reap():
            for ready, _ in self.poll.poll(self.patience_ms()):
                if ready == self.woken:
                    drain(self.woken)
                else:
                    self.obey()
            self.do_what_is_due()

    def do_what_is_due(self) -> None:
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self.signal_tree(signal.SIGKILL)

    def patience_ms(self) -> float | None:
        if self.kill_at is None:
            return None
        left = self.kill_at - time.monotonic()
        return 1000 * (left if left > 0 else ROUND_S)

    def reap(self) -> bool:
        """Collect the dead; whether anybody is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.leader:
                # From here on its group may be empty and its number given to strangers: no more signals to the group.
                self.leader = None
                self.ended(os.waitstatus_to_exitcode(status), usage.ru_maxrss)

    def ended(self, code: int, memory_kib: int) -> None:
        """The program itself did; others of its tree may live on."""
        self.say(ENDED, code, memory_kib)

    def say(self, kind: bytes, first: int, second: int) -> None:
        # A server that is gone is noticed at the end of its lifeline.
        quietly(self.lifeline.sendall, REPORT.pack(kind, first, second))

    def obey(self) -> None:
        try:
            orders = self.lifeline.recv(64)
        except OSError:
            orders = b""
        if not orders:
            self.poll.unregister(self.lifeline)
            self.left_alone()
        for order in orders:
            if order == STOP:
                self.stop(self.grace_s)
            elif order == KILL_TREE:
                self.stop(0)
            else:
                self.signal_group(order)

    def left_alone(self) -> None:
        """The server is gone, or has let go."""
        self.stop(self.grace_s)

    def told_to_stop(self, _number: int, _frame: object) -> None:
        self.stop(self.grace_s)

    def stop(self, grace_s: float) -> None:
        kill_at = time.monotonic() + grace_s
        self.kill_at = kill_at if self.kill_at is None else min(self.kill_at, kill_at)
        if grace_s:
            self.signal_tree(signal.SIGTERM)

    def signal_group(self, number: int) -> None:
        if self.leader is None:
            self.signal_tree(number)
            return
        for each in (number, signal.SIGCONT) if number != signal.SIGSTOP else (number,):
            try:
                os.killpg(self.leader, each)
            except (ProcessLookupError, PermissionError):
                pass

    def signal_tree(self, number: int) -> None:
        if self.leader is not None:
            self.signal_group(number)
        for pid in descendants(os.getpid()):
            kill(pid, number)
            if number == signal.SIGTERM:
                # One that was stopped hears SIGTERM only when it goes on.
                kill(pid, signal.SIGCONT)


class Task:
    """What a detached program is: the locked file, its folder, until when (since 1970) and how much it may say."""

    def __init__(self, claim: int, folder: str, until: float, most: int) -> None:
        self.claim = claim
        self.folder = folder
        self.until = until
        self.most = most


class DetachedShepherd(Shepherd):
    """Does not stop when the server goes, but when the program ends, at its time, or when it has said too much.

    The lock on the claim is held by whoever has it open: the server made it and passed it on, so that nobody can find
    the program unclaimed meanwhile. It ends with this process, however that ends. When nothing is left of the program,
    its folder says how it ended.
    """

    def __init__(self, lifeline: socket.socket, woken: int, leader: int, grace_s: float, task: Task) -> None:
        super().__init__(lifeline, woken, leader, grace_s)
        self.task = task
        self.exit = ""
        self.stopped_by = BY_ITSELF
        signal.signal(KILL_TREE_SIGNAL, self.told_to_kill)
        own = os.getpid()
        words = (own, start_time(own), leader, start_time(leader), time.time(), task.until, grace_s, boot_id())
        # In one piece, in the place of spaces.
        os.pwrite(task.claim, (" ".join(map(str, words)) + "\n").encode(), 0)

    def tend(self) -> None:
        super().tend()
        # In place and then renamed: it needs no room on a disk that is full by now, and is seen whole or not at all.
        said = self.exit.encode()
        file = os.open(f"{self.task.folder}/{EXIT_TO_BE}", os.O_WRONLY)
        os.pwrite(file, said, 0)
        os.ftruncate(file, len(said))
        os.rename(f"{self.task.folder}/{EXIT_TO_BE}", f"{self.task.folder}/{EXIT}")

    def patience_ms(self) -> float:
        patience = super().patience_ms()
        return LOOK_MS if patience is None else min(patience, LOOK_MS)

    def do_what_is_due(self) -> None:
        try:
            said = max(os.stat(f"{self.task.folder}/{name}").st_size for name in ("stdout", "stderr"))
        except OSError:
            # Without its folder nobody can ever ask for it.
            self.stop(self.grace_s)
        else:
            if said > self.task.most:
                self.stop(0, BY_SIZE)
        if time.time() >= self.task.until:
            self.stop(self.grace_s, BY_TIME)
        super().do_what_is_due()

    def ended(self, code: int, memory_kib: int) -> None:
        self.exit = f"{code} {time.time()} {self.stopped_by}\n"
        super().ended(code, memory_kib)
        self.stop(self.grace_s)

    def left_alone(self) -> None:
        self.lifeline.close()

    def told_to_kill(self, _number: int, _frame: object) -> None:
        self.stop(0)

    def stop(self, grace_s: float, by: str = BY_ORDER) -> None:
        if self.leader is not None and self.stopped_by == BY_ITSELF:
            self.stopped_by = by
        if self.kill_at is None or grace_s == 0:
            super().stop(grace_s)


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


def receive_socket(control: socket.socket) -> socket.socket | None:
    """The next socket from the server; None when the server is gone."""
    try:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    except OSError:
        return None
    if not descriptors:
        return None
    os.set_inheritable(descriptors[0], False)
    return socket.socket(fileno=descriptors[0])


def receive_request(lifeline: socket.socket) -> tuple[list[int], list[bytes]]:
    """What comes with the request, and its parts. Raises EOFError when the server goes away."""
    # Never more than is there: a large buffer would stay in the memory of every shepherd.
    header, descriptors, _, _ = socket.recv_fds(lifeline, LENGTH.size, 4)
    for number in descriptors:
        os.set_inheritable(number, False)
    header += receive_exactly(lifeline, LENGTH.size - len(header))
    return descriptors, receive_exactly(lifeline, LENGTH.unpack(header)[0]).split(b"\0")


def receive_exactly(lifeline: socket.socket, size: int) -> bytes:
    """So many bytes. Raises EOFError when they do not come."""
    pieces: list[bytes] = []
    while size:
        piece = lifeline.recv(min(size, 1 << 15))
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def wake_on_sigchld() -> int:
    """A descriptor that becomes readable when a child ended or was stopped."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.signal(signal.SIGCHLD, nothing)
    before = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    if before != -1:
        os.close(before)
    return readable


def nothing(_number: int, _frame: object) -> None:
    """A handler, so that the signal wakes us and does no more."""


def drain(readable: int) -> None:
    """Empty the pipe of `wake_on_sigchld`."""
    try:
        while os.read(readable, 512):
            pass
    except BlockingIOError:
        pass


def remove_folder(folder: bytes) -> None:
    """Remove a folder with all that is in it; links are removed, not followed."""
    for path, folders, files in os.walk(folder, topdown=False):
        for name in files:
            quietly(os.unlink, os.path.join(path, name))
        for name in folders:
            below = os.path.join(path, name)
            quietly(os.unlink if os.path.islink(below) else os.rmdir, below)
    quietly(os.rmdir, folder)


def quietly(act: Callable[[bytes], None], argument: bytes) -> None:
    """Do it if it can be done."""
    try:
        act(argument)
    except OSError:
        pass


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

    def die_with_parent(self, number: int) -> None:
        """This signal comes when the parent dies; 0: none."""
        if self.call:
            self.call(self.PR_SET_PDEATHSIG, number, 0, 0, 0)


if __name__ == "__main__":
    main()
