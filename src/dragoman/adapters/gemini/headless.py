"""The dialogue without ACP: with old versions, and with one that goes on without us.

The prompt comes on stdin, and ``stream-json`` goes into a file.

A pipe loses the end of the output, with exit code 0; a file does not. The prompt is taken for text once each ``@`` is
escaped and nothing at its start looks like a command; the backslash of the escape stays in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dragoman.adapters.acp.dialogue import as_text
from dragoman.adapters.answer import Answer
from dragoman.adapters.base import (
    Act,
    Close,
    Completed,
    Done,
    Emit,
    Exit,
    Failed,
    Ready,
    Stream,
    Turn,
    TurnId,
    Write,
)
from dragoman.adapters.gemini import errors
from dragoman.adapters.json_lines import mapping, objects, strange, text, whole
from dragoman.schemas import Billing, Bound, ErrorCode, ErrorInfo, FinishReason, Notice, Retrying, Text, Tool, Usage

_AT = re.compile(r"(?<!\\)@")
_RETRY = re.compile(r"Attempt (\d{1,9}) failed with status (\d{3})\. Retrying")
# Advice of its own can stand behind the bracket, such as to buy quota when there are too many requests.
_API_ERROR = re.compile(r"\[API Error: (.*)\]", re.DOTALL)
_STDERR_LINES = 100


_NO_SESSION = "Error resuming session"
_OTHER_EVENTS = frozenset(("message", "tool_result"))
"""Events that tell us nothing."""


class HeadlessDialogue:
    """See the module."""

    def __init__(self, billing: Billing | None = None, keeps: str | None = None) -> None:
        self._billing: Billing | None = billing
        self._keeps = keeps
        self._turn: Turn | None = None
        self._model: str | None = None
        self._answer = Answer()
        self._warning = ""
        self._failed: tuple[str, Usage] | None = None
        self._stderr: list[str] = []

    def start(self) -> Iterable[Act]:
        """It waits for the prompt."""
        yield Ready()

    def begin(self, turn: Turn) -> Iterable[Act]:
        """The prompt is all of stdin."""
        self._turn, self._model = turn, turn.model
        yield Write(_AT.sub(r"\\@", as_text(turn.prompt)).encode())
        yield Close()

    def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        """Events on stdout; retries and what explains a failure before the first event on stderr."""
        if stream is Stream.STDERR:
            for frame in frames:
                if self._turn is not None:
                    yield from self._stderr_line(self._turn.id, frame.decode("utf-8", "replace"))
            return
        for event, noise in objects(frames):
            if self._turn is None:
                return
            if noise:
                yield Emit(self._turn.id, Notice(message=noise))
            yield from self._event(self._turn.id, event)

    def interrupt(self, turn: TurnId) -> Iterable[Act] | None:
        """There is no way but a signal."""
        return None

    def closed(self, end: Exit) -> Iterable[Act]:
        """A result that failed is told more of by the exit code; without a result it is no success whatever that is."""
        if self._turn is None:
            return
        if self._failed is None:
            words = "\n".join(self._stderr)
            yield self._fail(errors.exited(end.code, words), is_lost=_NO_SESSION in words)
        else:
            words, usage = self._failed
            yield self._fail(errors.failure(errors.status_of(end.code), words), usage)

    def _stderr_line(self, turn: TurnId, line: str) -> Iterator[Act]:
        self._stderr = [*self._stderr, line][-_STDERR_LINES:]
        if retry := _RETRY.search(line):
            # Its own retries cannot be switched off and take up to minutes; the first failure is the cause.
            yield Emit(turn, Retrying(attempt=int(retry[1]), cause=f"HTTP {retry[2]}"))
            yield self._fail(errors.failure(int(retry[2]), line[retry.end() :].lstrip(". ") or line))

    def _event(self, turn: TurnId, event: Mapping[str, Any]) -> Iterator[Act]:
        match event.get("type"):
            case "init":
                yield from self._begun(turn, event)
            case "message" if event.get("role") == "assistant":
                if content := text(event.get("content")):
                    yield Emit(turn, Text(text=self._answer.add(content)))
            case "tool_use":
                self._answer.tool_used()
                yield Emit(turn, Tool(name=text(event.get("tool_name")) or "tool"))
            case "error":
                self._warning = text(event.get("message"))
            case "result":
                yield from self._result(turn, event)
            case kind:
                if words := strange(kind, _OTHER_EVENTS):
                    yield Emit(turn, Notice(message=words))

    def _begun(self, turn: TurnId, event: Mapping[str, Any]) -> Iterator[Act]:
        session = self._turn.session if self._turn else None
        if session is None or self._keeps is None:
            return
        name = f"{self._keeps}/{text(event.get('session_id'))}"
        if name.endswith("/"):
            return
        if not session.is_new and name != session.id:
            words = f"gemini opened the session {name!r} instead of the one asked for"
            yield self._fail(ErrorInfo.of(ErrorCode.BAD_REQUEST, words), is_lost=True)
        else:
            yield Emit(turn, Bound(native_session=name))

    def _result(self, turn: TurnId, event: Mapping[str, Any]) -> Iterator[Act]:
        stats = mapping(event.get("stats"))
        usage = Usage(
            input_tokens=whole(stats.get("input_tokens")),
            cached_input_tokens=whole(stats.get("cached")),
            output_tokens=whole(stats.get("output_tokens")),
        )
        models = mapping(stats.get("models"))
        self._model = next((text(name) for name in models), None) or self._model
        if event.get("status") != "success":
            words = text(mapping(event.get("error")).get("message")) or self._warning
            said = _API_ERROR.search(words)
            self._failed = (said[1] if said else words), usage
        elif not self._answer.text.strip():
            yield self._fail(errors.unanswered(self._warning, stats.get("models")), usage)
        else:
            self._turn = None
            yield Done(turn, Completed(self._answer.whole, model=self._model, usage=usage, billing=self._billing))

    def _fail(self, failure: ErrorInfo, usage: Usage | None = None, *, is_lost: bool = False) -> Act:
        turn, self._turn = self._turn.id if self._turn else "", None
        lost = "lost" if is_lost else None
        reason: FinishReason = "max_tokens" if failure.code is ErrorCode.OUTPUT_LIMIT else "error"
        return Done(turn, Failed(failure, model=self._model, usage=usage, finish_reason=reason, session=lost))
