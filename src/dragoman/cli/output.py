"""What a person or a program gets to see: Rich on a terminal, plain text when piped.

Results go to stdout; everything said beside them goes to stderr. What models and their CLIs wrote may hold control
codes; on a terminal these are shown, not obeyed.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_GAP = "  "


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at this stream on a terminal that can do more than print lines."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def printable(text: str) -> str:
    """`text` with control codes spelled out; line ends and tabs stay."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def console(stream: TextIO, *, wraps: bool = False) -> Console:
    """A Rich console on a stream, which prints text as it is; it heeds NO_COLOR."""
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=not wraps)


def live(shown: RenderableType, on: Console, **options: Any) -> Live:  # noqa: ANN401 - those of Rich
    """What is drawn anew in place until it is stopped, and then is gone."""
    from rich.live import Live

    return Live(shown, console=on, transient=True, redirect_stdout=False, redirect_stderr=False, **options)


def utf8() -> None:
    """Make both streams take every text: a locale must not make an answer fail."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")


def write(text: str) -> None:
    """Write to stdout at once, exactly as it is unless a person looks."""
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def say(line: str = "") -> None:
    """A line of a result."""
    write(line + "\n")


def say_json(value: object) -> None:
    """A result for a program."""
    say(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None, default=str))


def say_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: of Rich on a terminal, else columns with two spaces between them and no line cut."""
    if not is_terminal(sys.stdout):
        for line in columns([headers, *rows]):
            say(line)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(*headers, box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        table.add_row(*map(printable, row))
    console(sys.stdout, wraps=True).print(table)


def say_list(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows of a line each. On a terminal a line ends where it does, so what one needs most stands first."""
    if not is_terminal(sys.stdout):
        say_table(headers, rows)
        return
    from rich.cells import cell_len

    shown = console(sys.stdout, wraps=True)
    heading, *lines = columns([headers, *(tuple(map(printable, row)) for row in rows)], cell_len)
    shown.print(heading, style="bold", no_wrap=True, overflow="ellipsis")
    for line in lines:
        shown.print(line, no_wrap=True, overflow="ellipsis")


def columns(rows: Sequence[Sequence[str]], width_of: Callable[[str], int] = len) -> list[str]:
    """Rows as lines of aligned text."""
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join(cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def say_heading(text: str) -> None:
    """The title of a part of a longer result."""
    if is_terminal(sys.stdout):
        console(sys.stdout).print(text, style="bold")
    else:
        say(text)


def remark(line: str, *, style: str = "dim") -> None:
    """Something said beside the result, on stderr."""
    _aside(printable(line), style)


def complain(message: str, *, kind: str | None = None) -> None:
    """What went wrong, on stderr."""
    _aside(printable(f"dragoman: {kind}: {message}" if kind else f"dragoman: {message}"), "bold red")


def suggest(step: str) -> None:
    """What to do about it, on stderr."""
    _aside(printable(f"next step: {step}"), "bold")


def flush() -> None:
    """Hand everything over.

    Raises:
        BrokenPipeError: nobody reads it.
    """
    sys.stdout.flush()


def abandon() -> None:
    """Nobody reads stdout: let the interpreter's own last flush go nowhere, so that it does not complain."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def _aside(line: str, style: str) -> None:
    try:
        if is_terminal(sys.stderr):
            console(sys.stderr).print(line, style=style)
        else:
            print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        return  # nobody hears it; the command goes on
