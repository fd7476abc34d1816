"""The events of calls, kept to be read later: JSON lines, compressed, by page."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dragoman.schemas import Event, Notice

if TYPE_CHECKING:
    import sqlite3

PAGE_BYTES = 32 * 1024
"""When a page is full, before compression."""
MAX_PAGES = 256
"""A call's events past 8 MiB are not kept; the answer is, in its turn and job."""
LEVEL = 3


@dataclass(frozen=True, slots=True)
class CallLog:
    """Events of a call, in order; those of a later record follow those of an earlier one, unless all begins `anew`."""

    call_id: str
    events: Sequence[Event] = field(repr=False)
    anew: bool = False
    created_at: float = field(default_factory=time.time)

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:  # noqa: ARG002 - a call id is unique
        """The next pages."""
        if self.anew:
            db.execute("DELETE FROM call_logs WHERE call_id = ?", (self.call_id,))
        page: int = db.execute(
            "SELECT coalesce(max(page), 0) FROM call_logs WHERE call_id = ?", (self.call_id,)
        ).fetchone()[0]
        for lines in _pages(self.events):
            if page >= MAX_PAGES:
                return
            page += 1
            events = zlib.compress((_LAST if page == MAX_PAGES else lines).encode(), LEVEL)
            db.execute(
                "INSERT INTO call_logs (call_id, page, created_at, bytes, events) VALUES (?, ?, ?, ?, ?)",
                (self.call_id, page, self.created_at, len(events), events),
            )


@dataclass(frozen=True, slots=True)
class LogPage:
    """A page of what happened in a call."""

    events: tuple[dict[str, Any], ...]
    """As `Event`s are written in JSON."""
    page: int
    """From 1."""
    pages: int


_LAST = Notice(message="what happened later is not kept here").model_dump_json()


def _pages(events: Sequence[Event]) -> Iterator[str]:
    lines: list[str] = []
    size = 0
    for event in events:
        line = event.model_dump_json(exclude_none=True)
        lines.append(line)
        size += len(line)
        if size >= PAGE_BYTES:
            yield "\n".join(lines)
            lines.clear()
            size = 0
    if lines:
        yield "\n".join(lines)


def read_log(db: sqlite3.Connection, call_id: str, page: int) -> LogPage | None:
    """A page of a call's events; None: there is no such page."""
    row = db.execute("SELECT events FROM call_logs WHERE call_id = ? AND page = ?", (call_id, page)).fetchone()
    if row is None:
        return None
    pages = db.execute("SELECT max(page) FROM call_logs WHERE call_id = ?", (call_id,)).fetchone()[0]
    lines = zlib.decompress(row[0]).decode().split("\n")
    return LogPage(tuple(json.loads(line) for line in lines), page, pages)
