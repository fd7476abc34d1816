"""What a shepherd does once before it is needed. Standard library only: see `dragoman.processes.guardian`.

A forked process shares its memory with its parent until it writes to it, and in Python nearly all that is done writes:
each page is copied when it is first used, which costs about half of the time that a program's start takes. So a
shepherd that waits does all of it with a program that there is not.
"""

from __future__ import annotations

import os
import signal
import socket

from dragoman.processes.shepherd import Shepherd, begin, drain
from dragoman.processes.wire import ENDED, LENGTH, receive_task, report

WORDS = [b"1.0", b"", b"", b"", b"", b"/", b"2", b"/dev/null/none", b"--", *(b"NAME%d=value" % n for n in range(32))]
"""A request, see `wire.LENGTH`, for what can be no program."""


def rehearse(woken: int) -> None:
    """Go the way of a program from the request to its end. `woken`: see `wake_on_signals`."""
    control, server, ours = socket.socketpair(), *socket.socketpair()
    try:
        socket.send_fds(control[0], [b"\0"], [ours.fileno()] * 4)
        lifeline, *descriptors = receive_task(control[1])
        data = b"\0".join(WORDS)
        server.sendall(LENGTH.pack(len(data)) + data)
        begin(lifeline, descriptors, woken)
        shepherd = Shepherd(lifeline, woken, None, 0)
        os.kill(os.getpid(), signal.SIGCHLD)
        for _ in shepherd.poll.poll(0):
            drain(woken)
        shepherd.reap()
        report(lifeline, ENDED, 0, 0)
        os.close(lifeline)
    finally:
        Shepherd.serving = None
        for end in (*control, server, ours):
            end.close()
