"""An answer of a chat while it comes: Markdown on a terminal, the text as it is elsewhere.

Blocks that are finished are printed for good and scroll away like all else. Only the last one, which may still change,
is drawn anew, and of a long one only its end, so nothing flickers and nothing is drawn twice.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from dragoman.cli import output

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.markdown import Markdown
    from rich.segment import Segment

DRAW_S = 0.1
IDLE = 9
"""How many times as long as it took to draw the last block it is not drawn again."""


class Screen(Protocol):
    """A context manager that shows one answer."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, text: str) -> None:
        """Show a piece of it."""
        ...

    def remark(self, line: str) -> None:
        """Say something that happened meanwhile."""
        ...

    def draw(self) -> None:
        """Draw anew what moves, if it is time to. To be called every `DRAW_S`, or oftener."""
        ...


def screen(whom: str) -> Screen:
    """The one for stdout."""
    return MarkdownScreen(whom) if output.is_terminal(sys.stdout) else PlainScreen()


def say_answer(text: str) -> None:
    """An answer that is there: as it was shown while it came."""
    if output.is_terminal(sys.stdout):
        output.console(sys.stdout, wraps=True).print(_markdown(output.printable(text)))
    else:
        output.say(text.rstrip())


class PlainScreen:
    """The text as it is, which ends with one newline."""

    def __init__(self) -> None:
        self._held: str = ""
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun and not isinstance(error, BrokenPipeError):
            output.write("\n")

    def write(self, text: str) -> None:
        """See `Screen`."""
        whole: str = self._held + text
        kept = whole.rstrip("\n")
        self._held = whole[len(kept) :] if kept else whole
        if kept:
            self._begun = True
            output.write(kept)

    def remark(self, line: str) -> None:
        """See `Screen`."""
        output.remark(line)

    def draw(self) -> None:
        """See `Screen`: nothing moves."""


class MarkdownScreen:
    """See the module."""

    def __init__(self, whom: str, console: Console | None = None) -> None:
        self._console = console or output.console(sys.stdout, wraps=True)
        self._whom = whom
        self._open = ""
        """The source of the block that is not finished."""
        self._printed = False
        self._started = time.monotonic()
        self._live: Live | None = None
        self._drawn: tuple[str, int, list[list[Segment]]] = ("", 0, [])
        self._draw_at = 0.0
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        # Not by a thread of its own: drawing while something is printed leaves lines behind that stand there twice.
        self._live = output.live(self, self._console, auto_refresh=False)
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        last, self._open = self._open, ""
        if self._live is not None:
            self._live.stop()
        self._print(last)

    def write(self, text: str) -> None:
        """See `Screen`."""
        self._open += output.printable(text)
        if "\n" in text:
            whole = self._open
            cut = finished(whole)
            # Taken out before it is printed: printing draws what is open below it.
            self._open = whole[cut:]
            self._print(whole[:cut])

    def remark(self, line: str) -> None:
        """See `Screen`."""
        said, self._open = self._open, ""
        self._print(said)
        self._console.print(output.printable(line), style="dim")

    def draw(self) -> None:
        """See `Screen`."""
        now = time.monotonic()
        if self._live is not None and now >= self._drawn_at + DRAW_S:
            self._drawn_at = now
            self._live.refresh()

    def _print(self, source: str) -> None:
        if source.strip():
            if self._printed:
                self._console.print()
            self._printed = True
            self._console.print(_markdown(source))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment
        from rich.spinner import Spinner

        lines = self._lines(console, options)
        if lines and self._printed:
            yield Segment.line()
        for line in lines[-max(1, console.height - 4) :]:
            yield from line
            yield Segment.line()
        yield Spinner("dots", text=f"{self._whom}… {time.monotonic() - self._started:.0f} s", style="dim")

    def _lines(self, console: Console, options: ConsoleOptions) -> list[list[Segment]]:
        source, (drawn, width, lines) = self._open, self._drawn
        if not source.strip():
            return []
        before = time.monotonic()
        of_the_same = drawn and source.startswith(drawn) and width == options.max_width
        if of_the_same and (source == drawn or before < self._draw_at):
            return lines
        lines = console.render_lines(_markdown(source), options, pad=False)
        self._drawn = source, options.max_width, lines
        after = time.monotonic()
        self._draw_at = after + IDLE * (after - before)
        return lines


def finished(source: str) -> int:
    """How much of some Markdown will not be changed by what comes after it: all but its last block."""
    from markdown_it import MarkdownIt

    starts = [token.map[0] for token in MarkdownIt().enable("table").parse(source) if token.level == 0 and token.map]
    if not starts:
        return 0
    return sum(len(line) for line in source.splitlines(keepends=True)[: starts[-1]])


def _markdown(source: str) -> Markdown:
    from rich.markdown import Markdown

    # A link's address is shown and not hidden behind its words: they were chosen by a model.
    return Markdown(source, hyperlinks=False)
