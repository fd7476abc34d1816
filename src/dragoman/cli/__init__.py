"""The command ``dragoman``.

Every module here is cheap to import; what is dear (Rich, the engine, the server) is imported by the command that
needs it, when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from dragoman.cli.exits import CANCELLED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; `arguments` None: those of this process. The exit code is the result."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_streams()
    try:
        return _run(words)
    except KeyboardInterrupt:
        return CANCELLED


def _open_streams() -> None:
    """Give the standard streams that whoever started us has closed a place that leads nowhere.

    Otherwise a file that is opened later, such as the store, would get the number of one, and what is meant for
    stderr.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - it stays open


def _run(words: list[str]) -> int:
    from dragoman.cli import shortcut

    # An MCP client waits for the server, and some drop it when it starts slowly: no parser is loaded for this.
    serving = shortcut.read(words)
    if serving is not None:
        from dragoman.cli.guard import guarded
        from dragoman.cli.serving import serve

        return guarded(lambda: serve(*serving))

    from dragoman.cli.app import run

    return run(words)
