"""The lines that a person types, or that are piped in."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from dragoman.cli import output
from dragoman.cli.keyboard import keys_as_typed

HISTORY = 1000
MORE = "… "
"""The prompt of a line that goes on with the one before it."""

Completer = Callable[[str], Sequence[str]]
"""What may stand for the line so far: whole lines."""


class Lines:
    """A context manager. On a terminal lines are edited, kept and completed, where the system can do that."""

    def __init__(self, history: Path | None, complete: Completer) -> None:
        self.is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._history = history
        self._complete = complete
        self._readline: Any = None
        self._colours = False
        self._terminal = ExitStack()

    def __enter__(self) -> Lines:
        if not self.is_terminal:
            return self
        with suppress(ImportError):  # there is none on Windows
            import readline

            self._readline = readline
            self._terminal.enter_context(keys_as_typed())
            is_gnu = "libedit" not in (readline.__doc__ or "")
            self._colours = is_gnu and output.is_terminal(sys.stdout) and not os.environ.get("NO_COLOR")
            readline.set_completer_delims("")
            readline.set_completer(self._completion)
            readline.parse_and_bind("tab: complete" if is_gnu else "bind ^I rl_complete")
            if self._history is not None:
                with suppress(OSError):
                    readline.read_history_file(self._history)
        return self

    def __exit__(self, *_: object) -> None:
        if self._readline is None:
            return
        self._terminal.close()
        self._readline.set_completer(None)
        if self._history is not None:
            self._readline.set_history_length(HISTORY)
            with suppress(OSError):
                # What was asked is nobody else's business.
                self._history.touch(mode=0o600)
                self._readline.write_history_file(self._history)

    def read(self, prompt: str) -> str:
        """The next message; a line that ends with a backslash goes on in the next one.

        Raises:
            EOFError: there are no more.
            KeyboardInterrupt: the person gave this one up.
        """
        parts = [self._line(prompt)]
        while parts[-1].endswith("\\"):
            parts[-1] = parts[-1][:-1]
            try:
                parts.append(self._line(MORE))
            except EOFError:
                break
        return "\n".join(parts)

    def _line(self, prompt: str) -> str:
        if self.is_terminal:
            return input(f"\001\033[1m\002{prompt}\001\033[0m\002" if self._colours else prompt)
        if sys.stdin.isatty():
            sys.stderr.write(prompt)
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")

    def _completion(self, line: str, number: int) -> str | None:
        found = self._complete(line)
        return found[number] if number < len(found) else None
