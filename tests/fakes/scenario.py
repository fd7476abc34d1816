"""What the fake model API does with a question: data that a test chooses, never something read from the prompt."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

_PIECE = 64 * 1024
_MESSAGES = {
    400: "the request is not valid",
    401: "the API key is not valid",
    403: "this key may not use this model",
    404: "there is no such model",
    429: "too many requests",
    500: "something broke inside",
    503: "the service is not available",
    529: "the service is overloaded",
}


class Ending(Enum):
    """How an answer ends once its chunks are out."""

    COMPLETE = "complete"
    REFUSED = "refused"
    TOO_LONG = "too long"
    SILENCE = "silence"
    """Nothing more is sent; the connection stays open until the client leaves."""
    CUT = "cut"
    """The connection closes in the middle of the body."""
    UNFINISHED = "unfinished"
    """The body ends properly, without the event that ends the answer."""
    FAILED = "failed"
    """An event in the stream says that the answer failed."""


@dataclass(slots=True, eq=False)
class Scenario:
    """The behaviour of one answer; made by the functions below.

    With ``gated`` every chunk waits for a :meth:`release`, so a test can see one chunk arrive before the next exists.
    ``delay`` (seconds, before every chunk) is for watching by eye. ``status`` other than 200 sends only the error.
    """

    chunks: tuple[str, ...] = ()
    ending: Ending = Ending.COMPLETE
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    body: object = None
    """In place of what the API would say. Bytes are sent as they are, also with the status 200; a function makes it at
    the time it is sent."""
    message: str = ""
    failure: str = ""
    """What the API calls the failure that an event tells of."""
    mute: bool = False
    gated: bool = False
    delay: float = 0.0
    input_tokens: int = 12
    output_tokens: int = 3
    tool: tuple[str, Mapping[str, Any]] | None = None
    """A tool to use and its arguments, after the chunks. Chat completions do not have it."""
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    @property
    def text(self) -> str:
        return "".join(self.chunks)

    def release(self, chunks: int = 1) -> None:
        """Let the next chunks go."""
        for _ in range(chunks):
            self._gate.release()

    async def pass_gate(self) -> None:
        """Wait until the next chunk may be sent."""
        if self.gated:
            await self._gate.acquire()
        if self.delay:
            await asyncio.sleep(self.delay)  # for watching by eye


def answer(
    text: str,
    *,
    chunks: int | Sequence[str] = 1,
    gated: bool = False,
    delay: float = 0.0,
    input_tokens: int = 12,
    output_tokens: int = 3,
) -> Scenario:
    """Answer with this text, in one chunk, in so many about equal ones, or in exactly the chunks given.

    Raises:
        ValueError: the chunks given do not add up to the text.
    """
    pieces = _split(text, chunks) if isinstance(chunks, int) else tuple(chunks)
    if "".join(pieces) != text:
        raise ValueError(f"the chunks {pieces!r} do not add up to {text!r}")
    return Scenario(chunks=pieces, gated=gated, delay=delay, input_tokens=input_tokens, output_tokens=output_tokens)


def status(
    code: int, *, message: str | None = None, body: object = None, headers: Mapping[str, str] | None = None
) -> Scenario:
    """Fail with this status. ``message`` goes into the body that the API asked would send; ``body`` replaces it."""
    return Scenario(
        status=code,
        message=message if message is not None else _MESSAGES.get(code, "the request failed"),
        body=body,
        headers=MappingProxyType(dict(headers or {})),
    )


def use_tool(name: str, **arguments: object) -> Scenario:
    """Have the client use one of its tools, in every dialect but chat completions."""
    return Scenario(tool=(name, arguments))


def hang() -> Scenario:
    """Take the request and say nothing, not even a status line, until the client leaves."""
    return Scenario(mute=True)


def stall_after(chunks: Sequence[str] = ()) -> Scenario:
    """Send these chunks (none: only what comes before the text), then nothing more until the client leaves."""
    return Scenario(chunks=tuple(chunks), ending=Ending.SILENCE)


def cut_after(chunks: Sequence[str] = (), *, properly: bool = False) -> Scenario:
    """Send these chunks, then close in the middle of the body; ``properly``: end the body as if all had been said."""
    return Scenario(chunks=tuple(chunks), ending=Ending.UNFINISHED if properly else Ending.CUT)


def fail_after(chunks: Sequence[str], failure: str, message: str) -> Scenario:
    """Send these chunks, then an event with a failure of this name. OpenAI's and Anthropic's names differ."""
    return Scenario(chunks=tuple(chunks), ending=Ending.FAILED, failure=failure, message=message)


def garbage() -> Scenario:
    """Answer with the status 200 and a page of HTML, as a login page of a network does."""
    return Scenario(body=b"<!doctype html><title>Log in</title><p>Welcome to our network.")


def refusal(text: str = "I cannot help with that.") -> Scenario:
    """Refuse, in the way of the API asked."""
    return Scenario(chunks=(text,), ending=Ending.REFUSED)


def too_long(text: str) -> Scenario:
    """Answer, but stop at the limit of output tokens."""
    return Scenario(chunks=(text,), ending=Ending.TOO_LONG)


def big(size: int) -> Scenario:
    """Answer with exactly ``size`` bytes of text."""
    line = "0123456789abcdef" * 4 + "\n"
    text = (line * (size // len(line) + 1))[:size]
    return Scenario(chunks=tuple(text[i : i + _PIECE] for i in range(0, size, _PIECE)))


def _split(text: str, count: int) -> tuple[str, ...]:
    if not 1 <= count <= max(1, len(text)):
        raise ValueError(f"{text!r} cannot be sent in {count!r} chunks; choose 1 to {max(1, len(text))}")
    cuts = [len(text) * i // count for i in range(count + 1)]
    return tuple(text[a:b] for a, b in itertools.pairwise(cuts))
