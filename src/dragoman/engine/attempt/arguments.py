"""The command line of a launch: as it is run, and as it may be shown."""

from __future__ import annotations

import os
from collections.abc import Iterable

from dragoman.adapters.base import Argument, KeptFile, PrivateFile, Value
from dragoman.engine.attempt.admission import refusal
from dragoman.processes import PrivateFolder
from dragoman.schemas import ErrorCode

ARGUMENT_BYTES = 100 * 1024
"""The longest argument we send; Linux refuses 131,072 bytes, Windows much less."""


def spelled(arguments: Iterable[Argument], folder: PrivateFolder, kept: PrivateFolder) -> list[str]:
    """The arguments as words; what stands in private files is written into `folder`, what a session begins with into
    `kept`.

    Raises:
        OSError: a private file could not be written.
    """
    return [_word(argument, folder, kept) for argument in arguments]


def check_lengths(argv: Iterable[str]) -> None:
    """Whether the system takes them.

    Raises:
        LLMError: one is too long (code ``prompt_too_large``).
    """
    for argument in argv:
        if len(argument.encode()) > ARGUMENT_BYTES:
            raise refusal(f"an argument is over {ARGUMENT_BYTES} bytes", "shorten it", ErrorCode.PROMPT_TOO_LARGE)


def shape(program: tuple[str, ...], arguments: Iterable[Argument]) -> str:
    """A command line for the log: the program's name and the flags, nothing that a caller wrote."""
    words = [os.path.basename(program[0]), *program[1:]]  # noqa: PTH119 - for every call, and a `Path` is dear
    for argument in arguments:
        match argument:
            case str():
                words.append(argument)
            case Value(prefix=prefix):
                words.append(f"{prefix}…")
            case PrivateFile(prefix=prefix, name=name):
                words.append(f"{prefix}<{name}>")
            case KeptFile(prefix=prefix):
                words.append(f"{prefix}<session>")
    return " ".join(words)


def _word(argument: Argument, folder: PrivateFolder, kept: PrivateFolder) -> str:
    match argument:
        case str():
            return argument
        case Value(prefix=prefix, value=value):
            return prefix + value
        case PrivateFile(prefix=prefix, name=name, content=content):
            return prefix + str(folder.write(name, content))
        case KeptFile(prefix=prefix, name=name, content=content):
            return prefix + str(kept.path / name if content is None else kept.write(name, content))
