"""The command ``dragoman``.

Every module here is cheap to import; what is dear (Rich, the engine, the server) is imported by the command that
needs it, when it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dragoman.cli.exits import CANCELLED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; `arguments` None: those of this process. The exit code is the result."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except KeyboardInterrupt:
        return CANCELLED


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
