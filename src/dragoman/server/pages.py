"""A long text in pages, each of a size that a client shows whole. The same text and size always give the same pages."""

from __future__ import annotations

import json
from collections.abc import Iterator

from dragoman.schemas import ErrorInfo, LLMResponse
from dragoman.server.arguments import wrong

FRAME_BYTES = 2_000
"""What is left of a client's size for all of a reply but its text."""
LEAST_BYTES = 500
ONLY_TEXT = "there is no `data`, since it would not fit beside the text, which is the same JSON"
IN_PAGES = "there is no `data`, since it is too long: the texts of all pages together are the JSON"
IN_JOB = "there is no `data` on this page; the resource {uri} has it, and the texts of all pages have every answer"
SHORTENED = "the error is shortened here"
ALL_OF_IT = "; the resource {uri} has all of it"
MARK = " […]"
"""What is missing of a text that is only to be known by its beginning."""
_LOOK_BACK = 4
"""A page ends at a line's end within its last quarter, or else at a word's."""


def job_uri(job_id: str) -> str:
    """Where the whole of a reply can be read."""
    return f"dragoman://jobs/{job_id}"


def page_uri(job_id: str, page: int | str) -> str:
    """Where a page of an answer can be read."""
    return f"{job_uri(job_id)}/pages/{page}"


def paged(reply: LLMResponse, page: int, answer_bytes: int) -> LLMResponse:
    """The reply with this page of its text, and the number of the next one. A text that fits is one page.

    What there is no room for beside the text is left out, or shortened, and a notice says so.

    Raises:
        LLMError: there is no such page (code ``bad_request``).
    """
    text, next_page = page_of(reply.text, page, answer_bytes)
    reply = reply.model_copy(update={"text": text, "next_page": next_page})
    if _has_data(reply) and (page > 1 or json_bytes(reply.public()) > answer_bytes):
        reply = _without_data(reply, whole=page == 1 and next_page is None)
    if reply.error is not None and json_bytes(reply.public()) > answer_bytes:
        reply = _with_less_of(reply.error, reply, answer_bytes)
    return reply


def _has_data(reply: LLMResponse) -> bool:
    # The value that was found in a text may be null.
    return reply.data is not None or reply.extraction is not None


def _without_data(reply: LLMResponse, *, whole: bool) -> LLMResponse:
    if reply.extraction is not None:
        where = ONLY_TEXT if whole else IN_PAGES
    else:
        where = IN_JOB.format(uri=job_uri(reply.call_id or ""))
    return reply.model_copy(update={"data": None, "extraction": None, "notices": (*reply.notices, where)})


def _with_less_of(error: ErrorInfo, reply: LLMResponse, answer_bytes: int) -> LLMResponse:
    notice = SHORTENED + (ALL_OF_IT.format(uri=job_uri(reply.call_id)) if reply.call_id else "")

    def told(message: str) -> LLMResponse:
        less = error.model_copy(update={"message": message, "stderr_tail": None})
        return reply.model_copy(update={"error": less, "notices": (*reply.notices, notice)})

    room = answer_bytes - json_bytes(told("").public())
    return told(beginning(error.message, room))


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


def beginning(text: str, size: int) -> str:
    """A text that takes no more than so many bytes of JSON, or else its beginning, a character at least, and `MARK`."""
    if _bytes(text) <= size:
        return text
    _, end = next(cuts(text, max(size - _bytes(MARK), 1)))
    return f"{text[:end].rstrip()}{MARK}"


def json_bytes(value: object) -> int:
    """How much of what a client shows it takes."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _bytes(text: str) -> int:
    return json_bytes(text) - 2
