"""What a person types while nothing reads it, and signals that come while something does."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from dragoman.cli.exits import CANCELLED

AGAIN_S = 0.1
"""How long after a signal the main thread gets it again, if it did not notice it."""
_on_interrupt: list[Callable[[], None]] = []
"""What Ctrl-C does in place of its exception: the last of them."""


@contextmanager
def keys_as_typed() -> Generator[None]:
    """While inside, what is typed between two lines that are read reaches the next one as it was typed.

    A terminal that collects lines would turn Ctrl-D, typed a moment before readline takes over, into a zero byte, which
    readline takes for nothing to do with an end.
    """

    def change(mode: list[Any]) -> None:
        import termios

        mode[3] &= ~termios.ICANON
        mode[6] = [*mode[6]]
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0

    with _terminal_mode(change):
        yield


@contextmanager
def silent_keys() -> Generator[None]:
    """While inside, the terminal does not show what is typed, which then stands in the next line that is read."""

    def change(mode: list[Any]) -> None:
        import termios

        mode[3] &= ~termios.ECHO

    with _terminal_mode(change):
        yield


@contextmanager
def _terminal_mode(change: Callable[[list[Any]], None]) -> Generator[None]:
    """Standard input with another mode; nothing is done where it is no terminal, or has no modes."""
    try:
        import termios

        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
    except (ImportError, OSError, ValueError):
        yield
        return
    mode = [*before]
    change(mode)
    termios.tcsetattr(terminal, termios.TCSADRAIN, mode)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def on_interrupt(act: Callable[[], None]) -> Generator[None]:
    """While inside, Ctrl-C calls `act`, between any two steps of the main thread, and breaks nothing off by itself.

    It needs `notice_signals`, which came before.
    """
    _on_interrupt.append(act)
    try:
        yield
    finally:
        _on_interrupt.pop()


def notice_signals() -> None:
    """Let SIGTERM and SIGHUP end the program by `SystemExit` in the main thread, and Ctrl-C be noticed, at once.

    Python notices a signal only where it is about to run code. One that comes just before `input()` goes to sleep would
    wait there for the next key, so a thread that hears of it at once sends it again until it was noticed.
    """
    noticed_at: dict[int, float] = {}

    def leave(number: int, _: object) -> None:
        noticed_at[number] = time.monotonic()
        raise SystemExit(CANCELLED)

    def interrupt(number: int, _: object) -> None:
        noticed_at[number] = time.monotonic()
        if not _on_interrupt:
            raise KeyboardInterrupt
        _on_interrupt[-1]()

    for name, usual, handler in (
        ("SIGINT", signal.default_int_handler, interrupt),
        ("SIGTERM", signal.SIG_DFL, leave),
        ("SIGHUP", signal.SIG_DFL, leave),
    ):
        number = getattr(signal, name, None)
        # Who started us may have it ignored, as nohup does.
        if number is not None and signal.getsignal(number) is usual:
            signal.signal(number, handler)
            noticed_at[number] = -math.inf
    main = threading.main_thread().ident
    if main is None or not hasattr(signal, "pthread_kill"):
        return
    hear, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)

    def insist() -> None:
        while True:
            number = os.read(hear, 1)[0]
            # The handler may have been quicker than this thread.
            since = time.monotonic() - AGAIN_S
            time.sleep(AGAIN_S)  # its own thread; a handler tells nobody
            while noticed_at.get(number, math.inf) < since:
                signal.pthread_kill(main, number)
                time.sleep(AGAIN_S)  # as above

    threading.Thread(target=insist, name="signals", daemon=True).start()
