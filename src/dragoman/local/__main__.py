"""The child behind the ``local`` provider: ``python -m dragoman.local prompt …`` and ``… fetch``.

``prompt`` makes sure that the weights are here and then *becomes* the real `llm` CLI, so one process is all there is to
stop. What it says before that are stderr lines that begin with `NOTICE`; when it cannot go on it ends with
`UNAVAILABLE` after an ``Error:`` and a ``Next:`` line.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from types import FrameType
from typing import NoReturn

from dragoman.local.machine import missing_features
from dragoman.local.weights import WeightsError, ensure_weights, weights_folder

NOTICE = "dragoman.local: "
UNAVAILABLE = 69
USAGE = "usage: python -m dragoman.local prompt [LLM PROMPT OPTIONS] | fetch"


def main(arguments: Sequence[str]) -> int:
    """Run one command; ``prompt`` does not return."""
    command, *rest = arguments or [""]
    if command == "--version":
        sys.stdout.write(f"llm, version {version('llm')}\n")
        return 0
    if command not in ("prompt", "fetch"):
        sys.stderr.write(f"{USAGE}\n")
        return 2
    # Unwinding on SIGTERM ends pip and removes its half-written files.
    signal.signal(signal.SIGTERM, _unwind)
    try:
        _check_machine()
        ensure_weights(weights_folder(), _notice)
    except WeightsError as error:
        sys.stderr.write(f"Error: {error}\nNext: {error.next_step}\n")
        return UNAVAILABLE
    if command == "prompt":
        _become_llm(rest)
    return 0


def _unwind(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _check_machine() -> None:
    if missing := missing_features():
        raise WeightsError(
            f"the local model cannot run on this processor, which lacks {', '.join(sorted(missing))}",
            "connect another provider; `dragoman doctor` lists them",
        )


def _notice(line: str) -> None:
    sys.stderr.write(f"{NOTICE}{line}\n")
    sys.stderr.flush()


def _become_llm(arguments: Sequence[str]) -> NoReturn:
    environment = {
        **os.environ,
        # Only our model, and a folder of its own: the user's keys, templates and plugins belong to the provider `llm`.
        "LLM_LOAD_PLUGINS": "dragoman",
        "LLM_USER_PATH": str(weights_folder() / "llm"),
        "PYTHONUTF8": "1",
    }
    # A database that is named in the arguments counts: the last one does.
    argv = [sys.executable, "-m", "llm", "prompt", "--database=:memory:", *arguments, "--model=smollm2"]
    os.execve(sys.executable, argv, environment)  # noqa: S606 - becoming that program is the point


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
