"""The talk with claude in stream-json: one turn per process.

::

    initialize      ->  the system prompt and the JSON Schema, which so stand neither on a command line nor in a file
    user            ->  the prompt, at once; what `initialize` is answered is read with the rest
                    <-  system/init, stream_event …, assistant …, result

A schema is a tool of claude's own, ``StructuredOutput``, whose input is the answer; it streams as text here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dragoman.adapters.base import (
    Act,
    Close,
    Completed,
    Done,
    Emit,
    Exit,
    Failed,
    Poison,
    Ready,
    Stream,
    Turn,
    TurnId,
    Write,
)
from dragoman.adapters.claude import errors
from dragoman.adapters.claude.usage import Spent, cost_usd, usage_of
from dragoman.adapters.json_lines import items, mapping, number, objects, strange, text, whole
from dragoman.schemas import (
    Billing,
    Bound,
    ErrorCode,
    ErrorInfo,
    FinishReason,
    Notice,
    Retrying,
    Text,
    Thought,
    Tool,
    Usage,
)

DEFAULT_SYSTEM_PROMPT = "Answer the question directly and completely."
READING_TOOLS = ("Read", "Grep", "Glob")
ANSWERING_TOOL = "StructuredOutput"

_INITIALIZE = "initialize"
_OTHER_EVENTS = frozenset(
    (
        *("system", "user", "control_request", "control_response", "control_cancel_request", "keep_alive"),
        *("rate_limit_event", "tool_progress", "tool_use_summary", "auth_status"),
    )
)
"""Events that tell us nothing."""
_STDERR_LINES = 10


class ClaudeDialogue:
    """See the module."""

    def __init__(self) -> None:
        self._turn: Turn | None = None
        self._message: str | None = None
        self._streamed: set[str] = set()
        self._wrote_text = False
        self._answering = False
        self._answer: Any = None
        self._model: str | None = None
        self._billing: Billing | None = None
        self._spent = Spent()
        self._session: str | None = None
        self._version = ""
        self._last_line: str | None = None
        self._stderr: list[str] = []

    def start(self) -> Iterable[Act]:
        """It says nothing before the first message."""
        yield Ready()

    def begin(self, turn: Turn) -> Iterable[Act]:
        """All of the turn. stdin stays open, so that it can be interrupted, unless it is to go on without us."""
        self._turn = turn
        asked: dict[str, Any] = {"subtype": "initialize", "systemPrompt": turn.system or DEFAULT_SYSTEM_PROMPT}
        if turn.schema is not None:
            asked["jsonSchema"] = turn.schema
        yield _line({"type": "control_request", "request_id": _INITIALIZE, "request": asked})
        # Versions before 2.1.248 ignore client_composed; a newline keeps them from reading a slash command.
        prompt = f"\n{turn.prompt}" if turn.prompt.startswith("/") else turn.prompt
        yield _line({"type": "user", "client_composed": True, "message": {"role": "user", "content": prompt}})
        if turn.detached:
            yield Close()

    def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        """Lines of JSON on stdout; stderr is kept for the case that no result comes."""
        if stream is Stream.STDERR:
            words = (frame.decode("utf-8", "replace") for frame in frames)
            self._stderr = [*self._stderr, *words][-_STDERR_LINES:]
            return
        pieces: list[str] = []
        for line, noise in objects(frames):
            if self._turn is None:
                return
            piece = self._piece(line)
            if pieces and (noise or not piece):
                yield Emit(self._turn.id, Text(text="".join(pieces)))
                pieces.clear()
            if noise:
                yield Emit(self._turn.id, Notice(message=noise))
            if piece:
                pieces.append(piece)
            else:
                yield from self._read(self._turn, line)
        if pieces and self._turn is not None:
            yield Emit(self._turn.id, Text(text="".join(pieces)))

    def interrupt(self, turn: TurnId) -> Iterable[Act] | None:
        """Ends the turn and its tools in about 0.1 s, and the token flow with it."""
        request = {"type": "control_request", "request_id": f"stop-{turn}", "request": {"subtype": "interrupt"}}
        return (_line(request), Close())

    def closed(self, end: Exit) -> Iterable[Act]:
        """It ended without a result."""
        if self._turn is None:
            return
        words = " ".join(self._stderr).strip()
        if self._turn.session is not None and errors.session_is_lost(words):
            yield self._lost(words)
        else:
            yield self._failed(errors.exited(end, words))

    def _piece(self, line: Mapping[str, Any]) -> str:
        """The piece of the answer that a line is: nearly every line of a long one. Else nothing."""
        if line.get("type") != "stream_event" or line.get("parent_tool_use_id"):
            return ""
        event = mapping(line.get("event"))
        if event.get("type") != "content_block_delta":
            return ""
        delta = mapping(event.get("delta"))
        piece = text(delta.get("text")) or (text(delta.get("partial_json")) if self._answering else "")
        if piece:
            self._wrote_text = True
            self._streamed.add(self._message or "")
        return piece

    def _read(self, turn: Turn, line: Mapping[str, Any]) -> Iterator[Act]:
        if line.get("parent_tool_use_id"):
            return
        match line.get("type"), line.get("subtype"):
            case "stream_event", _:
                yield from self._stream_event(turn, mapping(line.get("event")))
            case "assistant", _:
                self._last_line = text(line.get("uuid")) or self._last_line
                yield from self._assistant(turn.id, mapping(line.get("message")))
            case "user", _:
                self._last_line = text(line.get("uuid")) or self._last_line
            case "system", "init":
                yield from self._begun(turn, line)
            case "system", "api_retry":
                status = line.get("error_status")
                delay_ms = number(line.get("retry_delay_ms"))
                yield Emit(
                    turn.id,
                    Retrying(
                        attempt=whole(line.get("attempt")) or 1,
                        cause=f"{text(line.get('error')) or 'unknown'}" + (f" (HTTP {status})" if status else ""),
                        delay_s=None if delay_ms is None else delay_ms / 1000,
                    ),
                )
            case "control_response", _:
                yield from self._controlled(turn, mapping(line.get("response")))
            case "result", _:
                yield from self._result(turn, line)
            case kind, _:
                if words := strange(kind, _OTHER_EVENTS):
                    yield Emit(turn.id, Notice(message=words))

    def _begun(self, turn: Turn, line: Mapping[str, Any]) -> Iterator[Act]:
        self._model = text(line.get("model")) or None
        self._version = text(line.get("claude_code_version"))
        key = line.get("apiKeySource")
        self._billing = "subscription" if key in ("none", None) else "metered"
        if turn.session is None or self._session is not None:
            return
        self._session = text(line.get("session_id")) or None
        if not turn.session.fork and self._session != turn.session.id:
            yield from self.interrupt(turn.id) or ()
            yield self._lost(f"claude opened the session {self._session!r} instead of the one asked for")
        elif self._session is not None:
            yield Emit(turn.id, Bound(native_session=self._session))

    def _controlled(self, turn: Turn, response: Mapping[str, Any]) -> Iterator[Act]:
        """Without `initialize` it answers with a system prompt of its own, and to no schema."""
        if response.get("request_id") == _INITIALIZE and response.get("subtype") == "error":
            words = f"claude did not take the system prompt: {text(response.get('error'))}"
            yield from self.interrupt(turn.id) or ()
            yield Poison(words)
            yield self._failed(ErrorInfo.of(ErrorCode.NOT_FOUND, words, next_step="update claude"))

    def _stream_event(self, turn: Turn, event: Mapping[str, Any]) -> Iterator[Act]:
        match event.get("type"):
            case "message_start":
                message = mapping(event.get("message"))
                self._message = text(message.get("id"))
                self._spent.asked(mapping(message.get("usage")))
            case "content_block_start":
                block = mapping(event.get("content_block"))
                self._answering = block.get("name") == ANSWERING_TOOL
                if (block.get("type") == "text" or self._answering) and self._wrote_text:
                    yield Emit(turn.id, Text(text="\n\n"))
            case "content_block_delta":
                if thought := text(mapping(event.get("delta")).get("thinking")):
                    yield Emit(turn.id, Thought(text=thought))
            case "message_delta":
                self._spent.answered(mapping(event.get("usage")))
                # It would have the model go on, three times, and then call all of it a failure.
                if turn.max_tokens is not None and mapping(event.get("delta")).get("stop_reason") == "max_tokens":
                    yield from self.interrupt(turn.id) or ()
                    yield from self._completed(None, usage=self._spent.usage(), finish_reason="max_tokens")
            case _:
                pass

    def _assistant(self, turn: TurnId, message: Mapping[str, Any]) -> Iterator[Act]:
        for block in map(mapping, items(message.get("content"))):
            written = text(block.get("text"))
            # "<synthetic>" marks the CLI's own error texts: the result line has them as the failure they are.
            if written and message.get("model") != "<synthetic>" and text(message.get("id")) not in self._streamed:
                yield Emit(turn, Text(text=f"\n\n{written}" if self._wrote_text else written))
                self._wrote_text = True
            elif block.get("type") == "tool_use" and block.get("name") == ANSWERING_TOOL:
                self._answer = block.get("input")
            elif block.get("type") == "tool_use":
                name = text(block.get("name")) or "tool"
                values = mapping(block.get("input")).values()
                detail = next((value for value in values if isinstance(value, str)), "")
                yield Emit(turn, Tool(name=name, detail=detail[:200], reads_only=name in READING_TOOLS))

    def _result(self, turn: Turn, line: Mapping[str, Any]) -> Iterator[Act]:
        usage = usage_of(line, cost_usd(line, turn.session, self._version))
        answer = text(line.get("result"))
        words = "; ".join(map(str, items(line.get("errors")))) or answer
        if line.get("subtype") == "error_max_structured_output_retries":
            # What is wrong with the answer is the engine's to say, whose validator it must pass in any case.
            given = None if self._answer is None else json.dumps(self._answer, ensure_ascii=False)
            yield from self._completed(given, data=self._answer, usage=self._spent.usage(usage.cost_usd), line=line)
        elif not line.get("is_error") and line.get("subtype") == "success":
            reason = _finish_reason(line.get("stop_reason"))
            data = line.get("structured_output")
            yield from self._completed(answer or None, data=data, usage=usage, finish_reason=reason, line=line)
        elif turn.session is not None and errors.session_is_lost(words):
            yield self._lost(words)
        else:
            words = words or text(line.get("subtype")) or "claude failed without saying why"
            yield self._failed(errors.failure(errors.told_by(line, words), words), usage)
        yield Close()

    def _completed(
        self,
        answer: str | None,
        *,
        data: object = None,
        usage: Usage,
        finish_reason: FinishReason = "stop",
        line: Mapping[str, Any] | None = None,
    ) -> Iterator[Act]:
        if self._turn is None:
            return
        turn, self._turn = self._turn.id, None
        if self._session is not None:
            total = line.get("total_cost_usd") if line else None
            name = f"{self._last_line} {total}" if self._last_line and total is not None else self._last_line
            yield Emit(turn, Bound(native_session=self._session, native_turn=name))
        yield Done(
            turn,
            Completed(
                text=answer,
                data=data,
                finish_reason=finish_reason,
                model=self._model,
                usage=usage,
                billing=self._billing,
            ),
        )

    def _failed(self, error: ErrorInfo, usage: Usage | None = None) -> Act:
        turn, self._turn = self._turn.id if self._turn else "", None
        reason: FinishReason = "max_tokens" if error.code is ErrorCode.OUTPUT_LIMIT else "error"
        if error.code is ErrorCode.REFUSED:
            reason = "refused"
        return Done(turn, Failed(error, model=self._model, usage=usage, finish_reason=reason))

    def _lost(self, words: str) -> Act:
        turn, self._turn = self._turn.id if self._turn else "", None
        return Done(turn, Failed(ErrorInfo.of(ErrorCode.BAD_REQUEST, words), model=self._model, session="lost"))


def _line(message: Mapping[str, Any]) -> Write:
    return Write(json.dumps(message).encode() + b"\n")


def _finish_reason(stop_reason: object) -> FinishReason:
    match stop_reason:
        case "max_tokens":
            return "max_tokens"
        case "refusal":
            return "refused"
        case _:
            return "stop"
