"""The dialogue with ``codex exec --json``: the prompt on stdin, one JSON object a line, no deltas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dragoman.adapters.base import (
    Act,
    Argument,
    Close,
    Completed,
    Done,
    Emit,
    Exit,
    Failed,
    PrivateFile,
    Ready,
    Session,
    Stream,
    Turn,
    TurnId,
    Value,
    Write,
)
from dragoman.adapters.codex.errors import Retries, error_code, error_info, exited
from dragoman.adapters.codex.lean import DEFAULT_INSTRUCTIONS, overrides
from dragoman.adapters.codex.threads import goes_on, is_another, is_thread, not_gone_on_with
from dragoman.adapters.json_lines import mapping, objects, strange, text, whole
from dragoman.schemas import Bound, ErrorCode, Notice, Retrying, Text, Thought, Tool, Usage


def exec_arguments(turn: Turn, base_url: str | None = None) -> tuple[Argument, ...]:
    """The command line. The user's ``config.toml`` is left out, since the MCP servers it names would start."""
    instructions = turn.system or (DEFAULT_INSTRUCTIONS if turn.cwd is None else None)
    # No schema is a secret, but a process list is no place for a caller's words.
    schema = json.dumps(turn.schema).encode() if turn.schema is not None else None
    return (
        *("exec", "--json", "-s", "read-only", "--skip-git-repo-check", "--ignore-user-config"),
        *(() if turn.session else ("--ephemeral",)),
        *overrides(looks=turn.cwd is not None),
        *(("-c", Value("openai_base_url=", base_url)) if base_url else ()),
        *(("-c", PrivateFile("model_instructions_file=", "system.txt", instructions.encode())) if instructions else ()),
        *((Value("--model=", turn.model),) if turn.model else ()),
        *(("-c", Value("model_reasoning_effort=", turn.effort)) if turn.effort else ()),
        *((PrivateFile("--output-schema=", "schema.json", schema),) if schema is not None else ()),
        *_earlier(turn.session),
        "-",
    )


def _earlier(session: Session | None) -> tuple[Argument, ...]:
    if session is None or session.is_new or _out_of_reach(session):
        return ()
    return ("fork" if session.fork else "resume", Value("", session.id))


def _out_of_reach(session: Session) -> str:
    """Why this session cannot be gone on with in this way; empty when it can be tried."""
    if not is_thread(session.id):
        return f"{session.id!r} is no id of a codex session"
    if session.fork and session.last_turn is not None:
        return "`codex exec` copies whole sessions only"
    return ""


_OTHER_EVENTS = frozenset(("turn.started", "item.updated"))
"""Events that tell us nothing."""


class ExecDialogue:
    """See the module."""

    def __init__(self) -> None:
        self._turn: Turn | None = None
        self._answer: str | None = None
        self._opened = False
        self._retries = Retries()
        self._stderr: list[str] = []

    def start(self) -> Iterable[Act]:
        """It waits for the prompt."""
        yield Ready()

    def begin(self, turn: Turn) -> Iterable[Act]:
        """The prompt is all of stdin."""
        self._turn = turn
        session = turn.session
        if session is not None and not session.is_new and (why := _out_of_reach(session)):
            # Without a prompt it asks nobody.
            yield Close()
            yield self._lost(turn, why)
            return
        yield Write(turn.prompt.encode())
        yield Close()

    def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        """Events on stdout; stderr is noise unless no event tells how it ended."""
        if stream is Stream.STDERR:
            self._stderr = [*self._stderr, *(frame.decode("utf-8", "replace") for frame in frames)][-10:]
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
        """It ended without saying how."""
        if self._turn is None:
            return
        words = (
            next((line for line in reversed(self._stderr) if "rror" in line), "") or f"codex ended (exit {end.code})"
        )
        if goes_on(self._turn.session) and not self._opened:
            yield self._lost(self._turn, words)
            return
        turn, self._turn = self._turn.id, None
        yield Done(turn, Failed(exited(end.code, words, words)))

    def _event(self, turn: TurnId, event: Mapping[str, Any]) -> Iterator[Act]:
        match event.get("type"):
            case "thread.started":
                yield from self._thread(turn, text(event.get("thread_id")))
            case "item.started" | "item.completed":
                yield from self._item(turn, str(event["type"]), mapping(event.get("item")))
            case "turn.completed":
                yield from self._completed(turn, mapping(event.get("usage")))
            case "turn.failed":
                words = text(mapping(event.get("error")).get("message"))
                yield self._fail(turn, error_code(None, words), words)
            case "error":
                words = text(event.get("message"))
                if words.startswith("Reconnecting"):
                    yield from self._retry(turn, words)
            case kind:
                if words := strange(kind, _OTHER_EVENTS):
                    yield Emit(turn, Notice(message=words))

    def _thread(self, turn: TurnId, thread: str) -> Iterator[Act]:
        session = self._turn.session if self._turn else None
        self._opened = True
        if self._turn and is_another(thread, session):
            yield self._lost(self._turn, f"it opened {thread!r} instead")
        elif session is not None and thread:
            yield Emit(turn, Bound(native_session=thread))

    def _item(self, turn: TurnId, kind: str, item: Mapping[str, Any]) -> Iterator[Act]:
        match item.get("type"), kind:
            case "agent_message", "item.completed":
                written = text(item.get("text"))
                paragraph = "\n\n" if self._answer else ""
                self._answer = written
                if written:
                    yield Emit(turn, Text(text=paragraph + written))
            case "reasoning", "item.completed":
                yield Emit(turn, Thought(text=text(item.get("text"))))
            case "command_execution", "item.started":
                yield Emit(turn, Tool(name="shell", detail=text(item.get("command"))[:200], reads_only=True))
            case "error", "item.completed" if text(item.get("message")).startswith("Falling back from WebSockets"):
                self._retries.fell_back()
            case (("file_change" | "mcp_tool_call"), "item.started"):
                yield Emit(turn, Tool(name=str(item["type"])))
            case _:
                pass

    def _retry(self, turn: TurnId, words: str) -> Iterator[Act]:
        title, _, cause = words.partition(" (")
        cause = cause.removesuffix(")") or words
        if self._retries.one_more(None, title, cause):
            yield Emit(turn, Retrying(attempt=self._retries.count, cause=cause))
        else:
            yield self._fail(turn, error_code(None, cause), cause)

    def _completed(self, turn: TurnId, usage: Mapping[str, Any]) -> Iterator[Act]:
        if not self._answer:
            yield self._fail(turn, ErrorCode.MALFORMED_OUTPUT, "codex ended the turn without an answer")
            return
        model = self._turn.model if self._turn else None
        # It counts a session from its beginning, and does not tell where this turn began.
        counted = None if self._turn and goes_on(self._turn.session) else _usage(usage)
        self._turn = None
        yield Done(turn, Completed(text=self._answer, model=model, usage=counted))

    def _lost(self, turn: Turn, words: str) -> Act:
        self._turn = None
        return Done(turn.id, not_gone_on_with(words, turn.model))

    def _fail(self, turn: TurnId, code: ErrorCode, words: str) -> Act:
        self._turn = None
        return Done(turn, Failed(error_info(code, words)))


def _usage(usage: Mapping[str, Any]) -> Usage:
    return Usage(
        input_tokens=whole(usage.get("input_tokens")),
        cached_input_tokens=whole(usage.get("cached_input_tokens")),
        output_tokens=whole(usage.get("output_tokens")),
    )
