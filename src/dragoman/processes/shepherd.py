"""What watches over one program, to the end of all that it started. Standard library only, and little of it: see
`dragoman.processes.guardian`.
"""

from __future__ import annotations

import os
import select
import signal
import time

from dragoman.processes.tree import boot_id, signal_below, start_time
from dragoman.processes.wire import (
    BY_ITSELF,
    BY_ORDER,
    BY_SIZE,
    BY_TIME,
    ENDED,
    EXIT,
    EXIT_TO_BE,
    FAILED,
    HAND_OVER,
    KILL_TREE,
    KILL_TREE_SIGNAL,
    STARTED,
    STOP,
    STOP_SIGNAL,
    TAKEN_OVER,
    quietly,
    receive_order,
    receive_parts,
    report,
)

LOOK_MS = 250
"""How often a detached shepherd looks at the time and at its program's output. In this time a wild one writes some
hundred MB more; a limit of the system's own would be exact, but holds for every file that it or its tools write."""
PIECE = 1 << 16
"""How much of a pipe is moved at once."""
PIECES = 32
"""How many pieces are looked for in the pipe of a program that ended: more than a pipe holds, unless somebody raised
the system's limit; what it left behind may go on writing for ever."""
ROUND_S = 0.02
"""How long a killed tree may take to show up as dead before what it forked meanwhile is looked for again."""
DEFAULTS = [int(each) for each in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP, signal.SIGTERM)]
"""Signals that the program finds as if a shell had started it: Python, or we, ignore or handle them."""


def begin(lifeline: int, descriptors: list[int], woken: int) -> tuple[Shepherd, bytes] | None:
    """Start the program that is asked for, and tell the server how that went; its shepherd, and the folder to remove.

    None: it does not start. Raises EOFError when the server goes away.
    """
    grace, remove, folder, until, most, cwd, count, *words = receive_parts(lifeline)
    leader = start(lifeline, descriptors[:3], cwd, words[: int(count)], words[int(count) :])
    if leader is None:
        return None
    if not folder:
        report(lifeline, STARTED, leader, os.getpid())
        return Shepherd(lifeline, woken, leader, float(grace)), remove
    task = Task(descriptors[3], os.fsdecode(folder), float(until), int(most))
    # Its files say who it is before the server may count on it.
    shepherd = DetachedShepherd(lifeline, woken, leader, float(grace), task)
    report(lifeline, STARTED, leader, os.getpid())
    return shepherd, remove


def start(lifeline: int, descriptors: list[int], cwd: bytes, argv: list[bytes], environment: list[bytes]) -> int | None:
    """Start the program; its pid. None: it does not start, and the server was told."""
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
        report(lifeline, FAILED, error.errno or 0, at_fault)
        return None
    finally:
        os.chdir("/")
        for number in descriptors:
            os.close(number)


class Shepherd:
    """Waits for the program, for orders and for the end of the lifeline, until nothing of the program is left."""

    serving: Shepherd | None = None
    """The one of this process, once it has a program."""

    def __init__(self, lifeline: int, woken: int, leader: int | None, grace_s: float) -> None:
        self.lifeline = lifeline
        self.woken = woken
        self.leader = leader
        self.started_at = time.time()
        self.grace_s = grace_s
        self.successor: Shepherd | None = None
        """Who goes on from here, in this process."""
        self.kill_at: float | None = None
        """When the tree is killed; None: nobody wants it stopped."""
        self.poll = select.poll()
        self.poll.register(lifeline, select.POLLIN)
        self.poll.register(woken, select.POLLIN)
        Shepherd.serving = self

    def tend(self) -> Shepherd | None:
        """To the end, or until another shepherd is to go on, which is returned."""
        while self.successor is None and self.reap():
            for ready, _ in self.poll.poll(self.patience_ms()):
                self.attend(ready)
            self.do_what_is_due()
        return self.successor

    def attend(self, ready: int) -> None:
        """Something happened at this descriptor."""
        if ready == self.woken:
            drain(self.woken)
        else:
            self.obey()

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
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.leader:
                # From here on its group may be empty and its number given to strangers: no more signals to the group.
                self.leader = None
                self.ended(os.waitstatus_to_exitcode(status))

    def ended(self, code: int) -> None:
        """The program itself did; others of its tree may live on."""
        report(self.lifeline, ENDED, code, 0)

    def obey(self) -> None:
        order, descriptors = receive_order(self.lifeline)
        if order is None:
            self.poll.unregister(self.lifeline)
            self.left_alone()
        elif order == STOP:
            self.stop(self.grace_s)
        elif order == KILL_TREE:
            self.stop(0)
        elif order == HAND_OVER:
            self.take_over(descriptors)
        else:
            self.signal_group(order)

    def take_over(self, descriptors: list[int]) -> None:
        """Detach the program, unless it ended: then the server was told so and goes on reading its pipes itself."""
        try:
            folder, until, most = receive_parts(self.lifeline)
        except EOFError:
            # The server died in mid-sentence, which is noticed next.
            folder = until = most = b""
        if self.leader is None or not folder:
            for number in descriptors:
                os.close(number)
            return
        stdout, stderr, stdout_file, stderr_file, claim = descriptors
        task = Task(claim, os.fsdecode(folder), float(until), int(most), {stdout: stdout_file, stderr: stderr_file})
        successor = DetachedShepherd(self.lifeline, self.woken, self.leader, self.grace_s, task, self.started_at)
        successor.kill_at = self.kill_at
        report(self.lifeline, TAKEN_OVER, self.leader, os.getpid())
        self.successor = successor

    def left_alone(self) -> None:
        """The server is gone, or has let go."""
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
        # One that was stopped hears SIGTERM only when it goes on.
        signal_below(os.getpid(), *((number, signal.SIGCONT) if number == signal.SIGTERM else (number,)))


class Task:
    """What a detached program is: the locked file, its folder, until when (since 1970) and how much it may say; and of
    one that was started with pipes, in which file what comes from which of them belongs."""

    def __init__(self, claim: int, folder: str, until: float, most: int, pipes: dict[int, int] | None = None) -> None:
        self.claim = claim
        self.folder = folder
        self.until = until
        self.most = most
        self.pipes = pipes or {}


class DetachedShepherd(Shepherd):
    """Does not stop when the server goes, but when the program ends, at its time, or when it has said too much.

    The lock on the claim is held by whoever has it open: the server made it and passed it on, so that nobody can find
    the program unclaimed meanwhile. It ends with this process, however that ends. When nothing is left of the program,
    its folder says how it ended.
    """

    def __init__(
        self,
        lifeline: int,
        woken: int,
        leader: int,
        grace_s: float,
        task: Task,
        started_at: float | None = None,
    ) -> None:
        super().__init__(lifeline, woken, leader, grace_s)
        self.task = task
        self.exit = ""
        self.stopped_by = BY_ITSELF
        self.is_incomplete = False
        """Whether something that the program said could not be kept."""
        for pipe in task.pipes:
            self.poll.register(pipe, select.POLLIN)
        signal.signal(KILL_TREE_SIGNAL, self.told_to_kill)
        own = os.getpid()
        self.started_at = started_at or self.started_at
        words = (own, start_time(own), leader, start_time(leader), self.started_at, task.until, grace_s, boot_id())
        # In one piece, in the place of spaces.
        os.pwrite(task.claim, (" ".join(map(str, words)) + "\n").encode(), 0)

    def tend(self) -> None:
        super().tend()
        self.move_rest()
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

    def ended(self, code: int) -> None:
        # Whoever hears of the end takes what stands in the files for all that it said.
        self.move_rest()
        if self.is_incomplete:
            code = -signal.SIGKILL
        self.exit = f"{code} {time.time()} {self.stopped_by}\n"
        super().ended(code)
        self.stop(self.grace_s)

    def attend(self, ready: int) -> None:
        if ready in self.task.pipes:
            self.move(ready)
        else:
            super().attend(ready)

    def move_rest(self) -> None:
        """Move what is left in the pipes."""
        for pipe in list(self.task.pipes):
            for _ in range(PIECES):
                if not self.move(pipe):
                    break

    def move(self, pipe: int) -> bool:
        """Move a piece of what is in a pipe; whether there was any."""
        try:
            piece = os.read(pipe, PIECE)
        except BlockingIOError:
            return False
        file = self.task.pipes[pipe]
        try:
            while rest := piece[os.write(file, piece) :]:
                piece = rest
        except OSError:
            # The disk is full. A part of an answer must not pass for the whole of it.
            self.is_incomplete = True
            self.stopped_by = BY_SIZE
            self.stop(0)
            piece = b""
        if not piece:
            self.poll.unregister(pipe)
            os.close(pipe)
            os.close(file)
            del self.task.pipes[pipe]
        return bool(piece)

    def left_alone(self) -> None:
        os.close(self.lifeline)

    def told_to_kill(self, _number: int, _frame: object) -> None:
        self.stop(0)

    def stop(self, grace_s: float, by: str = BY_ORDER) -> None:
        if self.leader is not None and self.stopped_by == BY_ITSELF:
            self.stopped_by = by
        if self.kill_at is None or grace_s == 0:
            super().stop(grace_s)


def handle_signals() -> None:
    """For this process and all that it forks: each of them would pay for it."""
    signal.signal(signal.SIGCHLD, nothing)
    signal.signal(STOP_SIGNAL, told_to_stop)


def nothing(_number: int, _frame: object) -> None:
    """A handler, so that the signal wakes us and does no more."""


def told_to_stop(number: int, _frame: object) -> None:
    """A handler: a program is stopped, and who has none ends."""
    if Shepherd.serving is None:
        os._exit(128 + number)
    Shepherd.serving.stop(Shepherd.serving.grace_s)


def wake_on_signals() -> int:
    """A descriptor that becomes readable when a child of this process ended or was stopped."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    before = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    if before != -1:
        os.close(before)
    return readable


def drain(readable: int) -> None:
    """Empty the pipe of `wake_on_signals`."""
    try:
        while os.read(readable, 512):
            pass
    except BlockingIOError:
        pass


def remove_folder(folder: bytes) -> None:
    """Remove a folder with all that is in it; links are removed, not followed.

    The claim goes last: if this process is killed meanwhile, whoever comes next sees by it that the rest may go.
    """
    for path, folders, files in os.walk(folder, topdown=False):
        for name in folders:
            below = os.path.join(path, name)
            quietly(os.unlink if os.path.islink(below) else os.rmdir, below)
        for name in sorted(files, key=b".claim".__eq__):
            quietly(os.unlink, os.path.join(path, name))
    quietly(os.rmdir, folder)
