"""The dialogue with ``codex exec --json``: the prompt on stdin, one JSON object a line, no deltas."""

from __future__ import annotations

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
    Stream,
    Turn,
    TurnId,
    Value,
    Write,
)
from dragoman.adapters.classify import code_from_text
from dragoman.adapters.codex.errors import Retries, error_code, error_info
from dragoman.adapters.codex.lean import DEFAULT_INSTRUCTIONS, overrides
from dragoman.adapters.json_lines import mapping, objects, strange, text, whole
from dragoman.schemas import ErrorCode, Notice, Retrying, Text, Thought, Tool, Usage


def exec_arguments(turn: Turn) -> tuple[Argument, ...]:
    """The command line. The user's ``config.toml`` is left out, since the MCP servers it names would start."""
    instructions = turn.system or (DEFAULT_INSTRUCTIONS if turn.cwd is None else None)
    return (
        *("exec", "--json", "-s", "read-only", "--skip-git-repo-check", "--ephemeral", "--ignore-user-config"),
        *overrides(looks=turn.cwd is not None),
        *(("-c", PrivateFile("model_instructions_file=", "system.txt", instructions.encode())) if instructions else ()),
        *((Value("--model=", turn.model),) if turn.model else ()),
        "-",
    )


_OTHER_EVENTS = frozenset(("thread.started", "turn.started", "item.updated"))
"""Events that tell us nothing."""


class ExecDialogue:
    """See the module."""

    def __init__(self) -> None:
        self._turn: Turn | None = None
        self._answer: str | None = None
        self._retries = Retries()
        self._stderr: list[str] = []

    def start(self) -> Iterable[Act]:
        """It waits for the prompt."""
        yield Ready()

    def begin(self, turn: Turn) -> Iterable[Act]:
        """The prompt is all of stdin."""
        self._turn = turn
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
        code = ErrorCode.MALFORMED_OUTPUT if end.code == 0 else code_from_text(words, ErrorCode.CRASHED)
        yield self._fail(self._turn.id, code, words)

    def _event(self, turn: TurnId, event: Mapping[str, Any]) -> Iterator[Act]:
        match event.get("type"):
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
        self._turn = None
        counted = Usage(
            input_tokens=whole(usage.get("input_tokens")),
            cached_input_tokens=whole(usage.get("cached_input_tokens")),
            output_tokens=whole(usage.get("output_tokens")),
        )
        yield Done(turn, Completed(text=self._answer, model=model, usage=counted))

    def _fail(self, turn: TurnId, code: ErrorCode, words: str) -> Act:
        self._turn = None
        return Done(turn, Failed(error_info(code, words)))
