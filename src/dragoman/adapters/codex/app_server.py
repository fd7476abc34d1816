"""The dialogue with ``codex app-server``: JSON-RPC without its ``jsonrpc`` member, one object a line, many threads.

Each of our turns gets a thread of its own, which is not kept::

    initialize, account/read   ->  Ready
    config/read                ->  which MCP servers there are
    thread/start               ->  with all of them switched off
    turn/start                 ->  deltas, items, usage … turn/completed
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dragoman.adapters.base import (
    Act,
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
from dragoman.adapters.codex.errors import error_code, error_info, tolerated_retries
from dragoman.adapters.codex.lean import DEFAULT_INSTRUCTIONS
from dragoman.adapters.json_lines import mapping, parse, text, whole
from dragoman.schemas import Billing, ErrorCode, Event, FinishReason, Retrying, Text, Thought, Tool, Usage

Step = Literal["initialize", "account", "config", "thread", "turn", "interrupt"]
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(slots=True)
class _Lane:
    """One of our turns and what codex calls it."""

    turn: Turn
    thread: str | None = None
    codex_turn: str | None = None
    message: str | None = None
    """The item whose text was written last."""
    answer: str | None = None
    usage: Usage | None = None
    retries: int = 0


class AppServerDialogue:
    """See the module."""

    def __init__(self) -> None:
        self._number = 0
        self._asked: dict[int, tuple[Step, TurnId]] = {}
        self._lanes: dict[TurnId, _Lane] = {}
        self._logged_in = True
        self._billing: Billing | None = None
        self._stderr = ""

    def start(self) -> Iterable[Act]:
        """The handshake."""
        client = {"name": "dragoman", "title": "Dragoman", "version": "1"}
        yield self._ask("initialize", "", "initialize", {"clientInfo": client})

    def begin(self, turn: Turn) -> Iterable[Act]:
        """First the names of the MCP servers that are to stay off."""
        self._lanes[turn.id] = _Lane(turn)
        if not self._logged_in:
            yield self._fail(self._lanes[turn.id], ErrorCode.AUTH, "nobody is logged in to codex")
            return
        folder = {"cwd": str(turn.cwd)} if turn.cwd else {}
        yield self._ask("config", turn.id, "config/read", folder)

    def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        """Replies, notifications, and requests of codex's own, which are all refused."""
        for frame in frames:
            if stream is Stream.STDERR:
                self._stderr = _ANSI.sub("", frame.decode("utf-8", "replace"))[:500]
                continue
            message = parse(frame)
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
        if lane is None or lane.codex_turn is None:
            return None
        where = {"threadId": lane.thread, "turnId": lane.codex_turn}
        return (self._ask("interrupt", turn, "turn/interrupt", where),)

    def closed(self, end: Exit) -> Iterable[Act]:
        """It ended; what is open ends with it."""
        for lane in list(self._lanes.values()):
            yield self._fail(lane, ErrorCode.CRASHED, self._stderr or f"codex ended in mid-turn (exit {end.code})")

    def _ask(self, step: Step, turn: TurnId, method: str, params: Mapping[str, Any]) -> Act:
        self._number += 1
        self._asked[self._number] = (step, turn)
        return _line({"id": self._number, "method": method, "params": params})

    def _reply(self, message: Mapping[str, Any]) -> Iterator[Act]:
        number = message.get("id")
        step, turn_id = self._asked.pop(number, (None, "")) if isinstance(number, int) else (None, "")
        if step is None:
            return
        lane = self._lanes.get(turn_id)
        result = mapping(message.get("result"))
        if "error" in message and step != "interrupt":
            yield from self._refused(step, lane, mapping(message["error"]))
            return
        match step:
            case "initialize":
                yield _line({"method": "initialized"})
                yield self._ask("account", "", "account/read", {})
            case "account":
                yield from self._account(result)
            case "config" if lane:
                servers = mapping(mapping(result.get("config")).get("mcp_servers"))
                yield self._ask("thread", lane.turn.id, "thread/start", _thread(lane.turn, servers))
            case "thread" if lane:
                lane.thread = text(mapping(result.get("thread")).get("id"))
                question = {"threadId": lane.thread, "input": [{"type": "text", "text": lane.turn.prompt}]}
                yield self._ask("turn", lane.turn.id, "turn/start", question)
            case "turn" if lane:
                lane.codex_turn = text(mapping(result.get("turn")).get("id"))
            case _:
                pass

    def _account(self, result: Mapping[str, Any]) -> Iterator[Act]:
        account = mapping(result.get("account"))
        self._logged_in = bool(account) or not result.get("requiresOpenaiAuth")
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
        elif lane is None:
            yield Poison(f"{step} was refused: {words}")
        elif step == "config":
            # Unknown which servers there are: without their names they cannot be kept from starting.
            yield self._fail(lane, ErrorCode.POLICY, f"codex does not tell its configuration: {words}")
        else:
            yield self._fail(lane, error_code(None, f"invalid: {words}"), words)

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
                lane.answer = text(item.get("text"))
                if lane.message != item.get("id"):
                    yield from self._delta(lane, text(item.get("id")), lane.answer)
            case "thread/tokenUsage/updated":
                lane.usage = _usage(mapping(mapping(params.get("tokenUsage")).get("total")))
                yield Emit(lane.turn.id, lane.usage)
            case "error":
                yield from self._error(lane, params)
            case "turn/completed":
                yield from self._completed(lane, mapping(params.get("turn")))
            case _:
                pass

    def _delta(self, lane: _Lane, item: str, delta: str) -> Iterator[Act]:
        if delta:
            paragraph = "\n\n" if lane.message not in (None, item) else ""
            lane.message = item
            yield Emit(lane.turn.id, Text(text=paragraph + delta))

    def _error(self, lane: _Lane, params: Mapping[str, Any]) -> Iterator[Act]:
        """An error that codex retries is a sign; one too many of them, or one that it does not retry, is the end."""
        error = mapping(params.get("error"))
        detail, message = text(error.get("additionalDetails")), text(error.get("message"))
        words = detail or message
        code = error_code(error.get("codexErrorInfo"), words)
        if not params.get("willRetry"):
            yield self._fail(lane, code, words)
            return
        lane.retries += 1
        if lane.retries > tolerated_retries(code, words):
            yield self._fail(lane, code, words)
        else:
            yield Emit(lane.turn.id, Retrying(attempt=lane.retries, cause=words))

    def _completed(self, lane: _Lane, turn: Mapping[str, Any]) -> Iterator[Act]:
        match turn.get("status"):
            case "completed" if lane.answer is not None or lane.message is not None:
                del self._lanes[lane.turn.id]
                answer = Completed(
                    text=lane.answer or None, model=lane.turn.model, usage=lane.usage, billing=self._billing
                )
                yield Done(lane.turn.id, answer)
            case "completed":
                yield self._fail(lane, ErrorCode.MALFORMED_OUTPUT, "codex ended the turn without an answer")
            case "interrupted":
                yield self._fail(lane, ErrorCode.CANCELLED, "the turn was interrupted")
            case _:
                error = mapping(turn.get("error"))
                words = text(error.get("message"))
                yield self._fail(lane, error_code(error.get("codexErrorInfo"), words), words)

    def _fail(self, lane: _Lane, code: ErrorCode, words: str) -> Act:
        del self._lanes[lane.turn.id]
        reason: FinishReason = "max_tokens" if code is ErrorCode.OUTPUT_LIMIT else "error"
        return Done(lane.turn.id, Failed(error_info(code, words), usage=lane.usage, finish_reason=reason))


def _thread(turn: Turn, servers: Mapping[str, Any]) -> Mapping[str, Any]:
    params: dict[str, Any] = {
        "sandbox": "read-only",
        "approvalPolicy": "never",
        "ephemeral": True,
        "config": {"mcp_servers": {name: {"enabled": False} for name in servers}},
    }
    if turn.model is not None:
        params["model"] = turn.model
    if turn.cwd is None:
        params["baseInstructions"] = turn.system or DEFAULT_INSTRUCTIONS
    else:
        # Its own instructions tell it how to use its shell, so the caller's stand beside them.
        params["cwd"] = str(turn.cwd)
        if turn.system:
            params["developerInstructions"] = turn.system
    return params


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


def _line(message: Mapping[str, Any]) -> Write:
    return Write(json.dumps(message).encode() + b"\n")
