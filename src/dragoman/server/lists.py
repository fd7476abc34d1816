"""Lists in pages, each of a size that a client shows whole. A page begins where the one before it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from mcp_types import CallToolResult
from pydantic import BaseModel

from dragoman.server.pages import beginning, json_bytes
from dragoman.server.results import lines_result

Entry = TypeVar("Entry", bound=BaseModel)

MOST = 50
FRAME_BYTES = 100
"""What a list takes but for its entries."""


def page_size(answer_bytes: int, entry_bytes: int) -> int:
    """How many entries of a list a page has. What they say does not change it, so that page follows on page."""
    return min(MOST, max(1, (answer_bytes - FRAME_BYTES) // entry_bytes))


def shortened(entry: Entry, texts: Sequence[str], size: int) -> Entry:
    """The entry in at most so many bytes of JSON: of these texts, each only if need be, the beginning alone is told."""
    for name in texts:
        # The comma between two entries is theirs.
        over = json_bytes(dumped(entry)) + 2 - size
        text: str | None = getattr(entry, name)
        if over > 0 and text is not None:
            entry = entry.model_copy(update={name: beginning(text, json_bytes(text) - 2 - over)})
    return entry


def dumped(entry: BaseModel) -> dict[str, Any]:
    """An entry as data."""
    return entry.model_dump(mode="json", exclude_none=True)


def list_result(
    what: str, entries: Sequence[BaseModel], lines: Sequence[str], page: int, *, is_last: bool
) -> CallToolResult:
    """A page of a list; `lines`: the same for who reads text."""
    facts: dict[str, Any] = {what: list(map(dumped, entries))}
    told = [*lines] or [f"There are no {'more ' if page > 1 else ''}{what}."]
    if not is_last:
        facts["next_page"] = page + 1
        told.append(f"More: page {page + 1}.")
    return lines_result(told, facts)
