"""A person at a terminal, who types and reads."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from types import TracebackType
from typing import Self

from tests.cli.harness import DRAGOMAN, Shell

PATIENCE_S = 120
# Ctrl-C reaches a program only from its controlling terminal.
TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
# What is started in the background, or by timeout(1), may have them ignored.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\[\?2004[hl]|[\x01\x02]")


class Person:
    """A context manager: a program with a terminal for everything. Leaving it kills what still runs."""

    def __init__(self, shell: Shell, *words: str, **variables: str) -> None:
        self._ours, theirs = pty.openpty()
        self._terminal = os.dup(theirs)
        self.process = subprocess.Popen(
            (sys.executable, "-c", TAKE_TERMINAL, *DRAGOMAN, *words),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=shell.work,
            env=shell.variables | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "24"} | variables,
        )
        os.close(theirs)
        self.seen = ""
        """Everything so far."""
        self._read_to = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._terminal)
        os.close(self._ours)

    def types(self, text: str) -> None:
        """Type; Return is ``\\r``."""
        os.write(self._ours, text.encode())

    def reads(self, pattern: str) -> re.Match[str]:
        """Read on until something new matches."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            plain = CONTROL.sub("", self.seen)
            if found := re.compile(pattern).search(plain, self._read_to):
                self._read_to = found.end()
                return found
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"{pattern!r} did not come; since then: {plain[self._read_to :]!r}")
            self.seen += os.read(self._ours, 65536).decode("utf-8", "replace")

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._terminal)[3] & termios.ECHO)

    def ends(self) -> int:
        """Wait for the program's end; its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end; it showed {self.seen[-500:]!r}"
            ready, _, _ = select.select([self._ours], [], [], 0.1)
            if ready:
                self.seen += os.read(self._ours, 65536).decode("utf-8", "replace")
        return self.process.returncode
