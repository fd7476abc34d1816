"""What is said on stderr while a call runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dragoman.cli import output
from dragoman.schemas import Event, Notice, Retrying, Started, Tool

if TYPE_CHECKING:
    from rich.live import Live


class StatusLine:
    """A context manager: on a terminal a line that counts the seconds, and a dim line for what happens meanwhile."""

    def __init__(self, provider: str | None, *, quiet: bool) -> None:
        self._provider = provider
        self._quiet = quiet
        self._started = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if output.is_terminal(sys.stderr) and not self._quiet:
            from rich.spinner import Spinner

            self._live = output.live(Spinner("dots", text=self), output.console(sys.stderr))
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __rich__(self) -> str:
        whom = f"asking {self._provider}" if self._provider else "asking"
        return f"{whom}… {time.monotonic() - self._started:.0f} s"

    def stop(self) -> None:
        """Take the counting line away; it does not come back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, event: Event, before: Callable[[], None] | None = None) -> None:
        """Tell an event, if it is one a person may want to know of; then `before` is called first."""
        if isinstance(event, Started):
            self._provider = event.provider
        line = describe(event)
        if line is None or self._quiet:
            return
        if before is not None:
            before()
        if self._live is None:
            output.remark(line)
        else:
            self._live.console.print(output.printable(line), style="dim")


def describe(event: Event) -> str | None:
    """An event as a short line; None: it is not worth one."""
    match event:
        case Tool():
            return f"tool: {event.name} {event.detail}".rstrip()
        case Notice():
            return f"notice: {event.message}"
        case Retrying():
            pause = "" if event.delay_s is None else f", next in {event.delay_s:g} s"
            return f"retrying: {event.cause} (attempt {event.attempt}{pause})"
        case _:
            return None
