"""Cutting a byte stream into lines. Bytes are framed first and decoded later: a chunk may end in mid-character."""

from __future__ import annotations


class LineFramer:
    """Lines out of chunks, each line bounded.

    Splits on ``\\n`` only (``str.splitlines`` would cut JSON at U+2028), strips a trailing ``\\r``, drops empty lines.
    A line over `max_line` bytes is skipped to its end and counted in `skipped`.
    """

    def __init__(self, max_line: int) -> None:
        self.max_line = max_line
        self.skipped = 0
        self._pending: list[bytes] = []
        self._size = 0
        self._skipping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes."""
        end = chunk.find(b"\n")
        if end < 0:
            self._keep(chunk)
            return []
        self._keep(chunk[:end])
        lines = self._take()
        start = end + 1
        # `split` would look at byte after byte, which takes long for long lines.
        while (end := chunk.find(b"\n", start)) >= 0:
            line = chunk[start:end]
            start = end + 1
            if len(line) > self.max_line:
                self.skipped += 1
            elif line and line != b"\r":
                lines.append(line[:-1] if line.endswith(b"\r") else line)
        self._keep(chunk[start:])
        return lines

    def finish(self) -> list[bytes]:
        """The last line, when the stream ended without a newline."""
        return self._take()

    def _keep(self, piece: bytes) -> None:
        if self._skipping or not piece:
            return
        self._size += len(piece)
        if self._size > self.max_line:
            self._skipping = True
            self._pending.clear()
        else:
            self._pending.append(piece)

    def _take(self) -> list[bytes]:
        if self._skipping:
            self.skipped += 1
        line = b"".join(self._pending)
        self._pending.clear()
        self._size = 0
        self._skipping = False
        if line.endswith(b"\r"):
            line = line[:-1]
        return [line] if line else []


class Tail:
    """The last bytes of a stream, and how many there were before them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        self._kept = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Add a chunk."""
        self.total += len(chunk)
        self._kept += chunk
        # Trimmed at twice the limit, so that a flood of small chunks does not move the whole buffer each time.
        if len(self._kept) > 2 * self.limit:
            del self._kept[: -self.limit]

    def text(self, limit: int | None = None) -> str:
        """The end of the stream as text, at most `limit` bytes of it."""
        return bytes(self._kept[-(limit or self.limit) :]).decode("utf-8", "replace")
