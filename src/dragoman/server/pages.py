"""A long text in pages, each of a size that a client shows whole. The same text and size always give the same pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dragoman.schemas import LLMResponse
from dragoman.server.arguments import wrong

FRAME_BYTES = 2_000
"""What is left of a client's size for all of a reply but its text."""
LEAST_BYTES = 500
ONLY_TEXT = "there is no `data`, since it would not fit beside the text, which is the same JSON"
IN_PAGES = "there is no `data`, since it is too long: the texts of all pages together are the JSON"
_LOOK_BACK = 4
"""A page ends at a line's end within its last quarter, or else at a word's."""


def page_uri(job_id: str, page: int | str) -> str:
    """Where a page of an answer can be read."""
    return f"dragoman://jobs/{job_id}/pages/{page}"


def paged(reply: LLMResponse, page: int, answer_bytes: int) -> LLMResponse:
    """The reply with this page of its text, and the number of the next one. A text that fits is one page.

    A value for which there is no room beside its text is left out: the text has it all.

    Raises:
        LLMError: there is no such page (code ``bad_request``).
    """
    text, next_page = page_of(reply.text, page, answer_bytes)
    update: dict[str, Any] = {"text": text, "next_page": next_page}
    whole = page == 1 and next_page is None
    if reply.extraction is not None and not (whole and 2 * _bytes(text) <= _room(answer_bytes)):
        update |= {"data": None, "extraction": None, "notices": (*reply.notices, ONLY_TEXT if whole else IN_PAGES)}
    return reply.model_copy(update=update)


def page_of(text: str, page: int, answer_bytes: int) -> tuple[str, int | None]:
    """One page of a text, and the number of the next one; None: it was the last.

    Raises:
        LLMError: there is no such page (code ``bad_request``).
    """
    size = _room(answer_bytes)
    number, end = 0, 0
    for number, (start, end) in enumerate(cuts(text, size), 1):
        if number == page:
            return text[start:end], None if end == len(text) else page + 1
    last = "is only one page" if number == 1 else f"are only {number} pages"
    raise wrong(f"there is no page {page}; there {last}", f"give a page from 1 to {number}")


def _room(answer_bytes: int) -> int:
    return max(answer_bytes - FRAME_BYTES, LEAST_BYTES)


def cuts(text: str, size: int) -> Iterator[tuple[int, int]]:
    """Where each page begins and ends; `size` is bytes of JSON, which the longest page has at most."""
    start = 0
    while True:
        end = _fitting(text, start, size)
        if end < len(text):
            end = _gentle(text, start, end)
        yield start, end
        if end == len(text):
            return
        start = end


def _fitting(text: str, start: int, size: int) -> int:
    """The end of the longest piece that takes at most so many bytes."""
    low, high = start, min(len(text), start + size)
    if _bytes(text[start:high]) <= size:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if _bytes(text[start:middle]) <= size:
            low = middle
        else:
            high = middle
    return max(low, start + 1)


def _gentle(text: str, start: int, end: int) -> int:
    for mark in ("\n\n", "\n", " "):
        found = text.rfind(mark, end - (end - start) // _LOOK_BACK, end)
        if found > start:
            return found + len(mark)
    return end


def _bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")) - 2
