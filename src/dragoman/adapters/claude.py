"""Claude Code (``claude``), one question per process, spoken to in its stream-json protocol.

Facts measured with 2.1.329 and 2.1.197: ``is_error`` tells failure, never ``subtype``; one 401 is retried for three
minutes unless ``CLAUDE_CODE_MAX_RETRIES`` says otherwise; ``@path`` in a prompt is expanded even without tools unless
attachments are off; a prompt that begins with a slash is taken for a command unless ``client_composed`` is set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dragoman.adapters.base import (
    Act,
    Argument,
    Close,
    Completed,
    Dialogue,
    Done,
    Emit,
    Exit,
    Failed,
    Installed,
    Launch,
    Login,
    NpmPackage,
    Plan,
    PrivateFile,
    Profile,
    Ready,
    Refused,
    StopStep,
    Stream,
    Transport,
    Turn,
    TurnId,
    Value,
    Write,
)
from dragoman.adapters.classify import code_from_status, code_from_text
from dragoman.adapters.json_lines import items, mapping, objects, parse, strange, text, whole
from dragoman.schemas import Billing, ErrorCode, ErrorInfo, FinishReason, Notice, Retrying, Text, Thought, Tool, Usage

DEFAULT_SYSTEM_PROMPT = "Answer the question directly and completely."
RESTRICTED_SINCE = (2, 1, 329)
"""The oldest version that `--restricted` was seen in; it confines the file tools to the folder."""
READING_TOOLS = ("Read", "Grep", "Glob")

PROFILE = Profile(
    name="claude",
    title="Claude Code",
    description="Anthropic's Claude through the Claude Code CLI: strong at code, long texts and careful reasoning.",
    executables=("claude",),
    install_hint="npm install -g @anthropic-ai/claude-code (Node 22 or newer), then run `claude` once to log in",
    # Its install script puts the native program in the launcher's place; where scripts are off, a stub stays there.
    npm=NpmPackage("@anthropic-ai/claude-code", native="@anthropic-ai/claude-code-{os}-{cpu}", program="claude"),
    order=10,
    plan_needs_version=True,
    transports=(Transport("stream-json"),),
    login=Login(("auth", "status"), "run `claude auth login`"),
    pass_env=(
        *("CLAUDE_CONFIG_DIR", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_TMPDIR", "ANTHROPIC_BASE_URL"),
        *("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_ERROR_REPORTING"),
    ),
    metered_env=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_USE_*"),
    own_retries="limited",
    start_gap_s=0.5,
    strength={"read-only": "enforced"},
    billing="unknown",
)

_ENVIRONMENT = {
    "CLAUDE_CODE_MAX_RETRIES": "0",
    "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "DISABLE_AUTOUPDATER": "1",
}
# Closing stdin first would let it finish, and bill, the turn. On SIGTERM it ends its tools, which takes up to 1.6 s.
_STOP = (StopStep("interrupt", 0.5), StopStep("term"), StopStep("kill"))

_NEXT_STEPS: Mapping[ErrorCode, str] = {
    ErrorCode.AUTH: "run `claude auth login`",
    ErrorCode.NOT_FOUND: PROFILE.install_hint,
}
_BY_TERMINAL_REASON: Mapping[str, ErrorCode] = {
    "prompt_too_long": ErrorCode.CONTEXT_LENGTH,
    "blocking_limit": ErrorCode.CONTEXT_LENGTH,
    "image_error": ErrorCode.PROMPT_TOO_LARGE,
    "aborted_streaming": ErrorCode.CANCELLED,
    "aborted_tools": ErrorCode.CANCELLED,
    "max_turns": ErrorCode.OUTPUT_LIMIT,
    "budget_exhausted": ErrorCode.QUOTA,
}


class ClaudeAdapter:
    """See the module."""

    profile = PROFILE

    def plan(self, turn: Turn, found: Installed) -> Plan:
        """One process for one turn."""
        arguments: list[Argument] = [
            *("-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"),
            *("--include-partial-messages", "--setting-sources=", "--strict-mcp-config", "--disable-slash-commands"),
            "--no-session-persistence",
            *self._tools(turn, found),
            PrivateFile("--system-prompt-file=", "system.txt", (turn.system or DEFAULT_SYSTEM_PROMPT).encode()),
        ]
        if turn.model is not None:
            arguments.append(Value("--model=", turn.model))
        launch = Launch(tuple(arguments), env=_ENVIRONMENT, stop=_STOP)
        return Plan(launch, host_key=f"claude {turn.id}")

    def dialogue(self, plan: Plan) -> Dialogue:
        """A new dialogue."""
        return ClaudeDialogue()

    def logged_in(self, code: int, stdout: str, stderr: str) -> bool | None:
        """From ``claude auth status``, which prints JSON."""
        status = parse(stdout.encode())
        return bool(status["loggedIn"]) if "loggedIn" in status else None

    def _tools(self, turn: Turn, found: Installed) -> Sequence[str]:
        if turn.cwd is None:
            return ("--tools", "")
        if not found.at_least(*RESTRICTED_SINCE):
            wanted = ".".join(map(str, RESTRICTED_SINCE))
            raise Refused(
                ErrorCode.POLICY,
                f"claude {found.version_text or 'of unknown version'} cannot be confined to a folder; {wanted} can",
                "update claude, or ask without `cwd`",
            )
        return ("--tools", ",".join(READING_TOOLS), "--permission-mode", "dontAsk", "--restricted")


_OTHER_EVENTS = frozenset(
    (
        *("system", "user", "control_request", "control_response", "control_cancel_request", "keep_alive"),
        *("rate_limit_event", "tool_progress", "tool_use_summary", "auth_status"),
    )
)
"""Events that tell us nothing."""


class ClaudeDialogue:
    """The talk with one process, which answers one turn."""

    def __init__(self) -> None:
        self._turn: TurnId | None = None
        self._message: str | None = None
        self._streamed: set[str] = set()
        self._wrote_text = False
        self._model: str | None = None
        self._billing: Billing | None = None
        self._stderr: list[str] = []

    def start(self) -> Iterable[Act]:
        """It says nothing before the first message."""
        yield Ready()

    def begin(self, turn: Turn) -> Iterable[Act]:
        """The prompt as one message. stdin stays open, so that the turn can be interrupted."""
        self._turn = turn.id
        # Versions before 2.1.248 ignore client_composed; a newline keeps them from reading a slash command.
        prompt = f"\n{turn.prompt}" if turn.prompt.startswith("/") else turn.prompt
        message = {"type": "user", "client_composed": True, "message": {"role": "user", "content": prompt}}
        yield Write(json.dumps(message).encode() + b"\n")

    def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        """Lines of JSON on stdout; stderr is kept for the case that no result comes."""
        if stream is Stream.STDERR:
            self._stderr = [*self._stderr, *(frame.decode("utf-8", "replace") for frame in frames)][-10:]
            return
        for line, noise in objects(frames):
            if self._turn is None:
                return
            if noise:
                yield Emit(self._turn, Notice(message=noise))
            yield from self._line(self._turn, line)

    def interrupt(self, turn: TurnId) -> Iterable[Act] | None:
        """Ends the turn and its tools in about 0.1 s, and the token flow with it."""
        request = {"type": "control_request", "request_id": f"stop-{turn}", "request": {"subtype": "interrupt"}}
        return (Write(json.dumps(request).encode() + b"\n"), Close())

    def closed(self, end: Exit) -> Iterable[Act]:
        """It ended without a result."""
        if self._turn is None:
            return
        words = " ".join(self._stderr).strip()
        if "native binary not installed" in words:
            code = ErrorCode.NOT_FOUND
        elif end.code == 0:
            code = ErrorCode.MALFORMED_OUTPUT
        elif end.code < 0 or end.code > 128:
            code = ErrorCode.CRASHED
        else:
            code = code_from_text(words, ErrorCode.CRASHED)
        yield self._failed(code, words or f"it ended without a result (exit {end.code})")

    def _line(self, turn: TurnId, line: Mapping[str, Any]) -> Iterator[Act]:
        if line.get("parent_tool_use_id"):
            return
        match line.get("type"), line.get("subtype"):
            case "stream_event", _:
                yield from self._stream_event(turn, mapping(line.get("event")))
            case "assistant", _:
                yield from self._assistant(turn, mapping(line.get("message")))
            case "system", "init":
                self._model = text(line.get("model")) or None
                key = line.get("apiKeySource")
                self._billing = "subscription" if key in ("none", None) else "metered"
            case "system", "api_retry":
                status = line.get("error_status")
                delay = line.get("retry_delay_ms")
                yield Emit(
                    turn,
                    Retrying(
                        attempt=whole(line.get("attempt")) or 1,
                        cause=f"{text(line.get('error')) or 'unknown'}" + (f" (HTTP {status})" if status else ""),
                        delay_s=delay / 1000 if isinstance(delay, int | float) else None,
                    ),
                )
            case "result", _:
                yield from self._result(turn, line)
            case kind, _:
                if words := strange(kind, _OTHER_EVENTS):
                    yield Emit(turn, Notice(message=words))

    def _stream_event(self, turn: TurnId, event: Mapping[str, Any]) -> Iterator[Act]:
        match event.get("type"):
            case "message_start":
                self._message = text(mapping(event.get("message")).get("id"))
            case "content_block_start":
                if mapping(event.get("content_block")).get("type") == "text" and self._wrote_text:
                    yield Emit(turn, Text(text="\n\n"))
            case "content_block_delta":
                delta = mapping(event.get("delta"))
                if written := text(delta.get("text")):
                    self._wrote_text = True
                    self._streamed.add(self._message or "")
                    yield Emit(turn, Text(text=written))
                elif thought := text(delta.get("thinking")):
                    yield Emit(turn, Thought(text=thought))
            case _:
                pass

    def _assistant(self, turn: TurnId, message: Mapping[str, Any]) -> Iterator[Act]:
        for block in map(mapping, items(message.get("content"))):
            written = text(block.get("text"))
            # "<synthetic>" marks the CLI's own error texts: the result line has them as the failure they are.
            if written and message.get("model") != "<synthetic>" and text(message.get("id")) not in self._streamed:
                yield Emit(turn, Text(text=f"\n\n{written}" if self._wrote_text else written))
                self._wrote_text = True
            elif block.get("type") == "tool_use":
                name = text(block.get("name")) or "tool"
                values = mapping(block.get("input")).values()
                detail = next((value for value in values if isinstance(value, str)), "")
                yield Emit(turn, Tool(name=name, detail=detail[:200], reads_only=name in READING_TOOLS))

    def _result(self, turn: TurnId, line: Mapping[str, Any]) -> Iterator[Act]:
        usage = _usage(line)
        answer = text(line.get("result"))
        if not line.get("is_error") and line.get("subtype") == "success":
            yield Done(
                turn,
                Completed(
                    text=answer or None,
                    finish_reason=_finish_reason(line.get("stop_reason")),
                    model=self._model,
                    usage=usage,
                    billing=self._billing,
                ),
            )
        else:
            words = (
                "; ".join(map(str, items(line.get("errors"))))
                or answer
                or text(line.get("subtype"))
                or "claude failed without saying why"
            )
            yield self._failed(_code(line, words), words, usage)
        self._turn = None
        yield Close()

    def _failed(self, code: ErrorCode, message: str, usage: Usage | None = None) -> Act:
        turn, self._turn = self._turn or "", None
        reason: FinishReason = "max_tokens" if code is ErrorCode.OUTPUT_LIMIT else "error"
        if code is ErrorCode.REFUSED:
            reason = "refused"
        error = ErrorInfo.of(code, message, next_step=_NEXT_STEPS.get(code))
        return Done(turn, Failed(error, model=self._model, usage=usage, finish_reason=reason))


def _code(line: Mapping[str, Any], words: str) -> ErrorCode:
    reason = text(line.get("terminal_reason"))
    if reason in _BY_TERMINAL_REASON:
        return _BY_TERMINAL_REASON[reason]
    status = line.get("api_error_status")
    if isinstance(status, int):
        code = code_from_status(status)
        # A 400 or 429 covers several causes that only the words tell apart.
        return code_from_text(words, code) if code in (ErrorCode.BAD_REQUEST, ErrorCode.RATE_LIMITED) else code
    if "output token maximum" in words:
        return ErrorCode.OUTPUT_LIMIT
    if "empty or malformed" in words:
        return ErrorCode.MALFORMED_OUTPUT
    return code_from_text(words, ErrorCode.INTERNAL)


def _usage(line: Mapping[str, Any]) -> Usage:
    usage = mapping(line.get("usage"))
    cached = whole(usage.get("cache_read_input_tokens")) or 0
    written = whole(usage.get("cache_creation_input_tokens")) or 0
    fresh = whole(usage.get("input_tokens"))
    cost = line.get("total_cost_usd")
    return Usage(
        # The API counts cached tokens apart; here, as with every provider, they are part of the input.
        input_tokens=None if fresh is None else fresh + cached + written,
        cached_input_tokens=cached,
        output_tokens=whole(usage.get("output_tokens")),
        cost_usd=float(cost) if isinstance(cost, int | float) else None,
    )


def _finish_reason(stop_reason: object) -> FinishReason:
    match stop_reason:
        case "max_tokens":
            return "max_tokens"
        case "refusal":
            return "refused"
        case _:
            return "stop"


adapter = ClaudeAdapter()
