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

LENGTH = struct.Struct("!I")
"""Before a request, whose parts are joined by NUL bytes: the grace in seconds; the folder to remove at the end (may be
empty); the folder of a detached program (empty: it is none), until when it may run, the most that it may say; the
folder to run in; the number of arguments, the arguments, the environment as NAME=VALUE. With it come the program's
stdin, stdout and stderr, for a detached one the file `CLAIM`, and maybe a file that is only to be kept open."""
REPORT = struct.Struct("!cii")
"""What a shepherd says: one of the kinds below and two numbers."""
STARTED = b"S"
"""The program runs: its pid, the shepherd's pid."""
TAKEN_OVER = b"T"
"""The shepherd does what `HAND_OVER` asked for; the numbers of `STARTED`."""
FAILED = b"F"
"""It does not: the errno, and 1 if the folder was to blame."""
ENDED = b"E"
"""It ended: its exit code, or minus the signal's number; the most memory it had, in KiB."""

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
    header, descriptors = receive_some(lifeline, LENGTH.size)
    return descriptors, receive_parts(lifeline, header)


def receive_order(lifeline: socket.socket) -> tuple[int | None, list[int]]:
    """The next order and what comes with it; None: the server is gone, or has let go."""
    try:
        order, descriptors = receive_some(lifeline, 1)
    except OSError:
        return None, []
    return (order[0] if order else None), descriptors


def receive_some(lifeline: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """At most so many bytes, and the descriptors that come with them."""
    data, descriptors, _, _ = socket.recv_fds(lifeline, size, 5)
    for number in descriptors:
        os.set_inheritable(number, False)
    return data, descriptors


def receive_parts(lifeline: socket.socket, header: bytes = b"") -> list[bytes]:
    """What a length announces; of that, `header` is there. Raises EOFError when the server goes away."""
    header += receive_exactly(lifeline, LENGTH.size - len(header))
    return receive_exactly(lifeline, LENGTH.unpack(header)[0]).split(b"\0")


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


def quietly(act: Callable[[bytes], None], argument: bytes) -> None:
    """Do it if it can be done."""
    try:
        act(argument)
    except OSError:
        pass
