"""From what claude says of a failure to our codes and what to do next."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dragoman.adapters.base import Exit
from dragoman.adapters.classify import code_from_status, code_from_text, misused
from dragoman.adapters.json_lines import text
from dragoman.schemas import ErrorCode, ErrorInfo

LOG_IN = "run `claude auth login`"
INSTALL = "npm install -g @anthropic-ai/claude-code (Node 22 or newer), then run `claude` once to log in"

_NEXT_STEPS: Mapping[ErrorCode, str] = {ErrorCode.AUTH: LOG_IN, ErrorCode.NOT_FOUND: INSTALL}
_BY_TERMINAL_REASON: Mapping[str, ErrorCode] = {
    "prompt_too_long": ErrorCode.CONTEXT_LENGTH,
    "blocking_limit": ErrorCode.CONTEXT_LENGTH,
    "image_error": ErrorCode.PROMPT_TOO_LARGE,
    # Not by us: what we interrupt is not asked how it ended.
    "aborted_streaming": ErrorCode.CRASHED,
    "aborted_tools": ErrorCode.CRASHED,
    "max_turns": ErrorCode.OUTPUT_LIMIT,
    # The user's own limit for one call: it resets never, and nobody else is to be kept from asking.
    "budget_exhausted": ErrorCode.POLICY,
}
_MISCONFIGURED = re.compile(r"Configuration error|(Settings|MCP config) file not found|Invalid MCP configuration")
_OWN_LIMIT = re.compile(r"Reached maximum (budget|number of turns)")
_OPTIONS = {"budget": "budget-usd", "number of turns": "turns"}
_SESSION_LOST = re.compile(
    r"No conversation found with session ID|No message found with message\.uuid|Session ID \S+ is already in use"
    r"|Invalid session ID"
)


def failure(code: ErrorCode, words: str) -> ErrorInfo:
    """The failure, with what to do about it."""
    step = _NEXT_STEPS.get(code)
    if words.startswith("[ede_diagnostic]"):
        words = "claude was interrupted from outside"
    if _MISCONFIGURED.search(words):
        step = "correct the file that claude names"
    if (own := _OWN_LIMIT.search(words)) is not None:
        step = f"raise `--max-{_OPTIONS[own[1]]}` under `args`, or ask for less at once"
    return ErrorInfo.of(code, words, next_step=step)


def told_by(line: Mapping[str, Any], words: str) -> ErrorCode:
    """The code for a result line that tells of a failure."""
    reason = text(line.get("terminal_reason"))
    if reason in _BY_TERMINAL_REASON:
        return _BY_TERMINAL_REASON[reason]
    status = line.get("api_error_status")
    if isinstance(status, int):
        return code_from_status(status, words)
    if _MISCONFIGURED.search(words):
        return ErrorCode.NOT_FOUND
    if "output token maximum" in words:
        return ErrorCode.OUTPUT_LIMIT
    if "empty or malformed" in words:
        # Not from the API, as it says itself: a proxy or a login page of the network answered in its place.
        return ErrorCode.NETWORK
    return code_from_text(words, ErrorCode.INTERNAL)


def exited(end: Exit, stderr: str) -> ErrorInfo:
    """The failure when it ended without a result."""
    if (wrong := misused("claude", stderr)) is not None:
        return wrong
    if "native binary not installed" in stderr or _MISCONFIGURED.search(stderr):
        code = ErrorCode.NOT_FOUND
    elif end.code == 0:
        code = ErrorCode.MALFORMED_OUTPUT
    elif end.code < 0 or end.code > 128:
        code = ErrorCode.CRASHED
    else:
        code = code_from_text(stderr, ErrorCode.CRASHED)
    return failure(code, stderr or f"it ended without a result (exit {end.code})")


def session_is_lost(words: str) -> bool:
    """Whether these words say that there is no such session, or no such turn in it. The model was not asked then."""
    return _SESSION_LOST.search(words) is not None
