"""Writing an answer to stdout while it comes."""

from __future__ import annotations

import sys

import anyio.to_thread

from dragoman.cli import output


class Answer:
    """The text so far. However it ends, what is written ends with exactly one newline; no text writes nothing."""

    def __init__(self) -> None:
        self.begun = False
        self._held = ""
        self._mid_line = False

    async def write(self, text: str) -> None:
        """Write a piece. Line ends at the end of it are held back until more comes.

        Raises:
            BrokenPipeError: nobody reads it.
        """
        whole = self._held + text
        kept = whole.rstrip("\n")
        if not kept:
            self._held = whole
            return
        self._held = whole[len(kept) :]
        self.begun = self._mid_line = True
        # A reader that pauses, such as a pager, must not stop the clocks and the child's streams.
        await anyio.to_thread.run_sync(output.write, kept)

    async def end(self) -> None:
        """Write the last newline.

        Raises:
            BrokenPipeError: nobody reads it.
        """
        if self.begun:
            self._mid_line = False
            await anyio.to_thread.run_sync(output.write, "\n")

    def make_room(self) -> None:
        """Begin a new line on the terminal that shows both the answer and what is said beside it."""
        if self._mid_line and sys.stdout.isatty() and sys.stderr.isatty():
            self._mid_line = False
            sys.stderr.write("\n")
            sys.stderr.flush()
