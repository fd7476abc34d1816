"""The dialogue with ``codex app-server``: JSON-RPC without its ``jsonrpc`` member, one object a line, many threads.

Each of our turns gets a thread of its own, which is not kept unless the turn names a session::

    initialize, account/read   ->  Ready
    config/read                ->  which MCP servers the user has
    thread/start               ->  with all of them switched off, and the folder's own configuration left out;
                                   thread/resume or thread/fork for a session that is there already
    turn/start                 ->  deltas, items, usage … turn/completed

The answer is the last message; what a model says before it (such as "I will look at the files") is streamed too, each
message as a paragraph of its own. After a broken stream codex asks again: the message begins anew in a new paragraph.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dragoman.adapters.base import (
    Act,
    Completed,
    Done,
    Emit,
    Exit,
    Failed,
    Outcome,
    Poison,
    Ready,
    Stream,
    Turn,
    TurnId,
    Write,
)
from dragoman.adapters.codex.errors import Retries, error_code, error_info, exited
from dragoman.adapters.codex.threads import goes_on, is_another, not_gone_on_with, opening, question
from dragoman.adapters.json_lines import mapping, objects, text, whole
from dragoman.schemas import (
    Billing,
    Bound,
    ErrorCode,
    Event,
    FinishReason,
    Notice,
    Retrying,
    Text,
    Thought,
    Tool,
    Usage,
)

Step = Literal["initialize", "account", "config", "thread", "turn", "interrupt"]
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LAST_WORDS = re.compile(r"error\b|fatal\b|thread '", re.IGNORECASE)
_FALLBACK = "Falling back from WebSockets"


@dataclass(slots=True)
class _Lane:
    """One of our turns and what codex calls it."""

    turn: Turn
    thread: str | None = None
    codex_turn: str | None = None
    message: str | None = None
    """The item whose text was written last; empty when its stream broke, None before the first text."""
    answer: str = ""
    model: str | None = None
    usage: Usage | None = None
    before: Usage | None = None
    """What earlier turns of its thread have used; None before codex has told."""
    retries: Retries = field(default_factory=Retries)
    unwanted: bool = False
    """It was interrupted before codex had told the turn's name."""


class AppServerDialogue:
    """See the module."""

    def __init__(self) -> None:
        self._number = 0
        self._asked: dict[int, tuple[Step, TurnId]] = {}
        self._lanes: dict[TurnId, _Lane] = {}
        self._unusable: tuple[ErrorCode, str] | None = None
        self._billing: Billing | None = None
        self._stderr = ""

    def start(self) -> Iterable[Act]:
        """The handshake."""
        client = {"name": "dragoman", "title": "Dragoman", "version": "1"}
        yield self._ask("initialize", "", "initialize", {"clientInfo": client})

    def begin(self, turn: Turn) -> Iterable[Act]:
        """First the names of the MCP servers that are to stay off."""
        lane = self._lanes[turn.id] = _Lane(turn, model=turn.model)
        if self._unusable is not None:
            yield self._fail(lane, *self._unusable)
        else:
            # Without a folder: that would add the servers of a project, which cannot be named once it is not trusted.
            yield self._ask("config", turn.id, "config/read", {})

    def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        """Replies, notifications, and requests of codex's own, which are all refused."""
        if stream is Stream.STDERR:
            for frame in frames:
                line = _ANSI.sub("", frame.decode("utf-8", "replace"))
                # Its log lines begin with the time; they are noise also when all goes well.
                self._stderr = line[:500] if _LAST_WORDS.match(line) else self._stderr
            return
        for message, noise in objects(frames):
            if noise:
                yield from (Emit(turn, Notice(message=noise)) for turn in self._lanes)
            if not message:
                continue
            method, params = message.get("method"), mapping(message.get("params"))
            if method is None:
                yield from self._reply(message)
            elif "id" in message:
                refusal = {"code": -32601, "message": "Dragoman answers no requests"}
                yield _line({"id": message["id"], "error": refusal})
            elif isinstance(method, str):
                lane = self._lane_of(params)
                if lane is not None:
                    yield from self._notification(lane, method, params)

    def interrupt(self, turn: TurnId) -> Iterable[Act] | None:
        """Ends the turn in milliseconds; the channel can go on."""
        lane = self._lanes.get(turn)
        if lane is None:
            return ()
        if lane.codex_turn is not None:
            return (self._stop(lane),)
        lane.unwanted = True
        return ()

    def closed(self, end: Exit) -> Iterable[Act]:
        """It ended; what is open ends with it."""
        words = f"codex ended in mid-turn (exit {end.code})" + (f": {self._stderr}" if self._stderr else "")
        for lane in list(self._lanes.values()):
            failure = exited(end.code, words, self._stderr, serves=True)
            yield self._end(lane, Failed(failure, model=lane.model, usage=lane.usage))

    def _ask(self, step: Step, turn: TurnId, method: str, params: Mapping[str, Any]) -> Act:
        self._number += 1
        self._asked[self._number] = (step, turn)
        return _line({"id": self._number, "method": method, "params": params})

    def _stop(self, lane: _Lane) -> Act:
        where = {"threadId": lane.thread, "turnId": lane.codex_turn}
        return self._ask("interrupt", lane.turn.id, "turn/interrupt", where)

    def _reply(self, message: Mapping[str, Any]) -> Iterator[Act]:
        number = message.get("id")
        step, turn_id = self._asked.pop(number, (None, "")) if isinstance(number, int) else (None, "")
        if step is None:
            return
        lane = self._lanes.get(turn_id)
        result = mapping(message.get("result"))
        if "error" in message:
            yield from self._refused(step, lane, mapping(message["error"]))
            return
        if lane is not None and lane.unwanted and step in ("config", "thread"):
            yield self._fail(lane, ErrorCode.CANCELLED, "the turn was interrupted")
            return
        match step:
            case "initialize":
                yield _line({"method": "initialized"})
                yield self._ask("account", "", "account/read", {})
            case "account":
                yield from self._account(result)
            case "config" if lane:
                servers = mapping(mapping(result.get("config")).get("mcp_servers"))
                yield self._ask("thread", lane.turn.id, *opening(lane.turn, servers))
            case "thread" if lane:
                yield from self._opened(lane, text(mapping(result.get("thread")).get("id")), text(result.get("model")))
            case "turn" if lane:
                lane.codex_turn = text(mapping(result.get("turn")).get("id"))
                if lane.turn.session is not None and lane.thread:
                    bound = Bound(native_session=lane.thread, native_turn=lane.codex_turn or None)
                    yield Emit(lane.turn.id, bound)
                if lane.unwanted:
                    yield self._stop(lane)
            case _:
                pass

    def _opened(self, lane: _Lane, thread: str, model: str) -> Iterator[Act]:
        session = lane.turn.session
        if is_another(thread, session):
            yield self._end(lane, not_gone_on_with(f"it opened {thread!r} instead", lane.model))
            return
        lane.thread, lane.model = thread, model or lane.model
        if session is not None and thread:
            yield Emit(lane.turn.id, Bound(native_session=thread))
        yield self._ask("turn", lane.turn.id, "turn/start", question(thread, lane.turn))

    def _account(self, result: Mapping[str, Any]) -> Iterator[Act]:
        account = mapping(result.get("account"))
        if not account and result.get("requiresOpenaiAuth"):
            self._unusable = ErrorCode.AUTH, "nobody is logged in to codex"
        match account.get("type"):
            case "chatgpt":
                self._billing = "subscription"
            case "apiKey":
                self._billing = "metered"
            case _:
                pass
        yield Ready()

    def _refused(self, step: Step, lane: _Lane | None, error: Mapping[str, Any]) -> Iterator[Act]:
        words = text(error.get("message"))
        if step == "account":
            # An older codex may not know the question; the model's answer will tell.
            yield Ready()
        elif step == "initialize":
            self._unusable = ErrorCode.CRASHED, f"codex did not start: {words}"
            yield Poison(self._unusable[1])
            yield Ready()
        elif lane is None or step == "interrupt":
            # The turn ended meanwhile.
            return
        elif step == "config":
            # Unknown which servers there are: without their names they cannot be kept from starting.
            yield self._fail(lane, ErrorCode.POLICY, f"codex does not tell its configuration: {words}")
        elif step == "thread" and goes_on(lane.turn.session):
            yield self._end(lane, not_gone_on_with(words, lane.model))
        else:
            yield self._fail(lane, error_code("badRequest", words), words)

    def _lane_of(self, params: Mapping[str, Any]) -> _Lane | None:
        thread = params.get("threadId")
        return next((lane for lane in self._lanes.values() if thread and lane.thread == thread), None)

    def _notification(self, lane: _Lane, method: str, params: Mapping[str, Any]) -> Iterator[Act]:
        item = mapping(params.get("item"))
        match method:
            case "item/agentMessage/delta":
                yield from self._delta(lane, text(params.get("itemId")), text(params.get("delta")))
            case "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta":
                if thought := text(params.get("delta")):
                    yield Emit(lane.turn.id, Thought(text=thought))
            case "item/started":
                if (tool := _tool(item)) is not None:
                    yield Emit(lane.turn.id, tool)
            case "item/completed" if item.get("type") == "agentMessage":
                yield from self._message(lane, text(item.get("id")), text(item.get("text")))
            case "thread/tokenUsage/updated":
                yield from self._used(lane, params)
            case "error":
                yield from self._error(lane, params)
            case "warning" if text(params.get("message")).startswith(_FALLBACK):
                lane.retries.fell_back()
            case "turn/completed":
                yield from self._completed(lane, mapping(params.get("turn")))
            case _:
                pass

    def _used(self, lane: _Lane, params: Mapping[str, Any]) -> Iterator[Act]:
        """codex counts a thread from its beginning, and tells of its last turn again when it is gone on with."""
        if params.get("turnId", lane.codex_turn) != lane.codex_turn:
            return
        tokens = mapping(params.get("tokenUsage"))
        total = _usage(mapping(tokens.get("total")))
        if lane.before is None:
            lane.before = _less(total, _usage(mapping(tokens.get("last")))) if "last" in tokens else Usage()
        lane.usage = _less(total, lane.before)
        yield Emit(lane.turn.id, lane.usage)

    def _delta(self, lane: _Lane, item: str, delta: str) -> Iterator[Act]:
        if delta:
            paragraph = "\n\n" if lane.message not in (None, item) else ""
            lane.message = item
            yield Emit(lane.turn.id, Text(text=paragraph + delta))

    def _message(self, lane: _Lane, item: str, whole_text: str) -> Iterator[Act]:
        lane.answer = whole_text if whole_text.strip() else lane.answer
        if lane.message != item:
            # It came whole, without deltas.
            yield from self._delta(lane, item, whole_text)

    def _error(self, lane: _Lane, params: Mapping[str, Any]) -> Iterator[Act]:
        """An error that codex retries is a sign; one too many of them, or one that it does not retry, is the end."""
        error = mapping(params.get("error"))
        detail, message = text(error.get("additionalDetails")), text(error.get("message"))
        words = detail or message
        code = error_code(error.get("codexErrorInfo"), words)
        if not params.get("willRetry"):
            yield self._fail(lane, code, words)
        elif lane.retries.one_more(error.get("codexErrorInfo"), message, words):
            lane.message = "" if lane.message is not None else None
            yield Emit(lane.turn.id, Retrying(attempt=lane.retries.count, cause=words))
        else:
            if lane.codex_turn is not None:
                yield self._stop(lane)
            yield self._fail(lane, code, words)

    def _completed(self, lane: _Lane, turn: Mapping[str, Any]) -> Iterator[Act]:
        match turn.get("status"):
            case "completed" if lane.answer.strip():
                answer = Completed(text=lane.answer, model=lane.model, usage=lane.usage, billing=self._billing)
                yield self._end(lane, answer)
            case "completed":
                yield self._fail(lane, ErrorCode.MALFORMED_OUTPUT, "codex ended the turn without an answer")
            case "interrupted":
                yield self._fail(lane, ErrorCode.CANCELLED, "the turn was interrupted")
            case _:
                error = mapping(turn.get("error"))
                words = text(error.get("message"))
                yield self._fail(lane, error_code(error.get("codexErrorInfo"), words), words)

    def _fail(self, lane: _Lane, code: ErrorCode, words: str) -> Act:
        reason: FinishReason = "max_tokens" if code is ErrorCode.OUTPUT_LIMIT else "error"
        failed = Failed(error_info(code, words), model=lane.model, usage=lane.usage, finish_reason=reason)
        return self._end(lane, failed)

    def _end(self, lane: _Lane, outcome: Outcome) -> Act:
        del self._lanes[lane.turn.id]
        return Done(lane.turn.id, outcome)


def _tool(item: Mapping[str, Any]) -> Event | None:
    match item.get("type"):
        case "commandExecution":
            # Held to reading by the sandbox.
            return Tool(name="shell", detail=text(item.get("command"))[:200], reads_only=True)
        case "fileChange":
            return Tool(name="edit")
        case "mcpToolCall":
            return Tool(name=f"{item.get('server')}.{item.get('tool')}")
        case "webSearch":
            return Tool(name="web search", detail=text(item.get("query"))[:200], reads_only=True)
        case _:
            return None


def _usage(tokens: Mapping[str, Any]) -> Usage:
    return Usage(
        input_tokens=whole(tokens.get("inputTokens")),
        cached_input_tokens=whole(tokens.get("cachedInputTokens")),
        output_tokens=whole(tokens.get("outputTokens")),
    )


def _less(total: Usage, part: Usage) -> Usage:
    def less(of: int | None, some: int | None) -> int | None:
        return None if of is None else max(of - (some or 0), 0)

    return Usage(
        input_tokens=less(total.input_tokens, part.input_tokens),
        cached_input_tokens=less(total.cached_input_tokens, part.cached_input_tokens),
        output_tokens=less(total.output_tokens, part.output_tokens),
    )


def _line(message: Mapping[str, Any]) -> Write:
    return Write(json.dumps(message).encode() + b"\n")
