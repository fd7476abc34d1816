"""What server and shepherd say to each other, and leave for each other. Standard library only: see
`dragoman.processes.guardian`.
"""

from __future__ import annotations

import os
import signal
import socket
import struct

TYPE_CHECKING = False  # importing typing would cost memory in every shepherd
if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER = struct.Struct("i")
MOST_DESCRIPTORS = 6
"""What comes over the control socket with a byte that means nothing: the lifeline; the program's stdin, stdout and
stderr; for a detached one the file `CLAIM`; and maybe a file that is only to be kept open."""
DESCRIPTORS_SPACE = socket.CMSG_SPACE(MOST_DESCRIPTORS * NUMBER.size)
CLOSED_IN_PROGRAMS = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
LENGTH = struct.Struct("!I")
"""Before a request, whose parts are joined by NUL bytes: the grace in seconds; the folder to remove at the end (may be
empty); the folder of a detached program (empty: it is none), until when it may run, the most that it may say; the
folder to run in; the number of arguments, the arguments, the environment as NAME=VALUE."""
REPORT = struct.Struct("!cii")
"""What a shepherd says: one of the kinds below and two numbers."""
STARTED = b"S"
"""The program runs: its pid, the shepherd's pid."""
TAKEN_OVER = b"T"
"""The shepherd does what `HAND_OVER` asked for; the numbers of `STARTED`."""
FAILED = b"F"
"""It does not: the errno, and 1 if the folder was to blame."""
ENDED = b"E"
"""It ended: its exit code, or minus the signal's number. The other number is 0."""

STOP = 0
"""The order to stop the whole tree with its grace. The other orders: the number of a signal for the program's group."""
HAND_OVER = 254
"""The order to make a program that runs a detached one. Behind it a length and three parts as in a request, those of a
detached program; with it come our ends of the program's stdout and stderr, the files that continue them, and the file
`CLAIM`. From its `TAKEN_OVER` on the shepherd reads the pipes, and the server the files. One that never says so, since
the program or itself ended first, has read nothing."""
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


def receive(connection: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """At most so many bytes, and the descriptors that come with them."""
    data, ancillary, _, _ = connection.recvmsg(size, DESCRIPTORS_SPACE, CLOSED_IN_PROGRAMS)
    descriptors = [number for _, _, packed in ancillary for (number,) in NUMBER.iter_unpack(packed)]
    if not CLOSED_IN_PROGRAMS:
        for number in descriptors:
            os.set_inheritable(number, False)
    return data, descriptors


def receive_task(control: socket.socket) -> list[int]:
    """The lifeline of the next program and what it is to have; empty: the server is gone."""
    try:
        return receive(control, 1)[1]
    except OSError:
        return []


def receive_order(lifeline: int) -> tuple[int | None, list[int]]:
    """The next order and what comes with it; None: the server is gone, or has let go."""
    # Made only when something comes: such an object costs each shepherd more than most of what it does.
    connection = socket.socket(fileno=lifeline)
    try:
        order, descriptors = receive(connection, 1)
    except OSError:
        return None, []
    finally:
        connection.detach()
    return (order[0] if order else None), descriptors


def receive_parts(lifeline: int) -> list[bytes]:
    """What a length announces. Raises EOFError when the server goes away."""
    return receive_exactly(lifeline, LENGTH.unpack(receive_exactly(lifeline, LENGTH.size))[0]).split(b"\0")


def receive_exactly(lifeline: int, size: int) -> bytes:
    """So many bytes. Raises EOFError when they do not come."""
    pieces: list[bytes] = []
    while size:
        # Never more than is there: a large buffer would stay in the memory of every shepherd.
        piece = os.read(lifeline, min(size, 1 << 15))
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def report(lifeline: int, kind: bytes, first: int, second: int) -> None:
    """Tell the server, see `REPORT`; that it is gone is noticed at the end of its lifeline."""
    try:
        os.write(lifeline, REPORT.pack(kind, first, second))
    except OSError:
        pass


def quietly(act: Callable[[bytes], None], argument: bytes) -> None:
    """Do it if it can be done."""
    try:
        act(argument)
    except OSError:
        pass
