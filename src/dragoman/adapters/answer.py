"""The answer of a model that uses tools between its words, for CLIs that do not repeat it at their end."""

from __future__ import annotations

from io import StringIO

ANSWER_CHARS = 8 * 1024 * 1024


class Answer:
    """What was said since the last use of a tool; what was said before it, when nothing was since."""

    def __init__(self) -> None:
        self._earlier = ""
        self._said = StringIO()
        self._marked = 0

    @property
    def text(self) -> str:
        """The answer so far, or its first 8 Mi characters."""
        said = self._said.getvalue()
        return said if said.strip() else self._earlier

    @property
    def whole(self) -> str | None:
        """The answer, for `Completed`. None: it is too long to be kept apart from what was said before it."""
        text = self.text
        return text if len(text) < ANSWER_CHARS else None

    def add(self, piece: str) -> str:
        """Keep a piece. Gives what to show of it: after a tool, a new paragraph begins."""
        begins = self._earlier and not self._said.tell()
        self._said.write(piece[: ANSWER_CHARS - self._said.tell()])
        return f"\n\n{piece}" if begins else piece

    def tool_used(self) -> None:
        """A tool was used: what comes from here on is a new answer."""
        self._earlier, self._said, self._marked = self.text, StringIO(), 0

    def mark(self) -> None:
        """The model is asked once more: what it says from here on can be taken back."""
        self._marked = self._said.tell()

    def take_back(self) -> None:
        """What was said since the mark is said anew."""
        self._said.seek(self._marked)
        self._said.truncate()
