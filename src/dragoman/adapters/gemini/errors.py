"""From what gemini says of a failure to our codes and what to do next. Facts measured with 0.61.0 and 0.30.0."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dragoman.adapters.acp.errors import body_of, code_of, retry_after
from dragoman.adapters.classify import code_from_text, misused
from dragoman.adapters.json_lines import items, mapping
from dragoman.schemas import ErrorCode, ErrorInfo

_LOG_IN = "run `gemini` and choose how to log in"
_REPHRASE = "ask again, rephrase it, or name another `model`"
_NEXT_STEPS: Mapping[ErrorCode, str] = {
    ErrorCode.AUTH: _LOG_IN,
    ErrorCode.QUOTA: "wait until the quota is renewed, name another `model`, or ask another provider",
}
_PRECISE: tuple[tuple[str, ErrorCode], ...] = (
    (r"exhausted your (daily )?quota|daily quota", ErrorCode.QUOTA),
    (r"api key not valid|api_key_invalid|api key (is missing|expired)", ErrorCode.AUTH),
    (
        r"fetch failed|\bterminated\b|incomplete json segment|socket hang up|without a finish reason",
        ErrorCode.NETWORK,
    ),
    (r"is not found for api version|model.{0,60}not found", ErrorCode.BAD_REQUEST),
    (r"exceeds the maximum number of tokens|input token count", ErrorCode.CONTEXT_LENGTH),
    (r"blocked due to", ErrorCode.REFUSED),
    (r"returned an empty response", ErrorCode.MALFORMED_OUTPUT),
)
_BY_EXIT = {
    41: ErrorCode.AUTH,
    42: ErrorCode.BAD_REQUEST,
    44: ErrorCode.POLICY,
    52: ErrorCode.INTERNAL,
    53: ErrorCode.OUTPUT_LIMIT,
    55: ErrorCode.POLICY,
}
_STATUSES = (400, 401, 403, 404, 408, 429, 499, 500, 502, 503, 504, 529)
_UNREAD = "No input provided via stdin"
"""It gives its input half a second, and on a busy machine that is over before it looks. No prompt of ours is empty."""
SHOWN_LINES = 10
"""How many of its last lines tell of an end."""
_SIGN_IN_PROMPT = "Please visit the following URL to authorize"
_NOISE = re.compile(r"\[STARTUP\]|Ripgrep is not available|Loaded cached|True color|Basic terminal|^\s*at ")


def failure(number: int | None, said: str) -> ErrorInfo:
    """The failure behind an HTTP status, which may be missing or wrong, and gemini's words."""
    words, told = body_of(said)
    words = words or "gemini failed without saying why"
    number = told if number is None else number
    code = next((code for pattern, code in _PRECISE if re.search(pattern, words, re.IGNORECASE)), None)
    code = code_of(number, words) if code is None else code
    step = _NEXT_STEPS.get(code)
    if code is ErrorCode.BAD_REQUEST and "not found" in words:
        step = "name another `model`, such as flash or pro, or leave it out"
    return ErrorInfo.of(code, words, next_step=step, retry_after_s=retry_after(words))


def status_of(exit_code: int) -> int | None:
    """The HTTP status behind an exit code, of which the operating system kept the last eight bits."""
    return next((status for status in _STATUSES if status % 256 == exit_code), None) if exit_code > 1 else None


def exited(code: int, stderr: str, *, serves: bool = False) -> ErrorInfo:
    """The failure when it ended in mid-turn. 0 is no success: it ends so on a signal, too.

    `serves`: it was to stay when the turn is over, so that 0 does not mean that only its words were lost.
    """
    if (wrong := misused("gemini", stderr)) is not None:
        return wrong
    lines = [line for line in stderr.splitlines() if not _NOISE.search(line)]
    words = "\n".join(lines[-SHOWN_LINES:]) if code > 0 else ""
    words = words or f"gemini ended in mid-turn (exit {code})"
    if _UNREAD in words:
        return ErrorInfo.of(ErrorCode.CRASHED, words, next_step="the machine is busy: ask again when it is less so")
    if code in _BY_EXIT:
        kind = _BY_EXIT[code]
        return ErrorInfo.of(kind, words, next_step=_NEXT_STEPS.get(kind))
    if (status := status_of(code)) is not None:
        return failure(status, words)
    if code == 1:
        kind = next((kind for pattern, kind in _PRECISE if re.search(pattern, words, re.IGNORECASE)), None)
        return ErrorInfo.of(
            kind := kind or code_from_text(words, ErrorCode.CRASHED), words, next_step=_NEXT_STEPS.get(kind)
        )
    return ErrorInfo.of(ErrorCode.MALFORMED_OUTPUT if code == 0 and not serves else ErrorCode.CRASHED, words)


def flaw(reason: str, result: Mapping[str, Any], *, answered: bool) -> ErrorInfo | None:
    """What is wrong with a turn that ended as if all were well.

    A stream that broke off ends the turn like a good one, but no model is said to have been used.
    """
    quota = mapping(mapping(result.get("_meta")).get("quota"))
    if reason == "max_tokens" and not answered:
        return ErrorInfo.of(ErrorCode.CONTEXT_LENGTH, "the prompt is longer than the model's context")
    if reason != "end_turn" or (answered and (not quota or items(quota.get("model_usage")))):
        return None
    if answered:
        return ErrorInfo.of(ErrorCode.NETWORK, "the answer broke off: its stream ended before its end")
    words = "gemini ended the turn without an answer: it was empty, was blocked, or its stream broke off"
    return ErrorInfo.of(ErrorCode.MALFORMED_OUTPUT, words, next_step=_REPHRASE)


def unanswered(warning: str, models: object) -> ErrorInfo:
    """The failure of a run that ended well but said nothing. `models` are those that it says it has asked."""
    if models == {} and not warning:
        return ErrorInfo.of(ErrorCode.CONTEXT_LENGTH, "no model was asked: the prompt is longer than its context")
    words = warning or "gemini ended without an answer: it was empty, or was blocked"
    return ErrorInfo.of(ErrorCode.MALFORMED_OUTPUT, words, next_step=_REPHRASE)


def stray(line: str) -> ErrorInfo | None:
    """Without a login it asks for one on the wire of the protocol, and would wait."""
    if _SIGN_IN_PROMPT in line:
        return ErrorInfo.of(
            ErrorCode.AUTH, "nobody is logged in to gemini, or the login has expired", next_step=_LOG_IN
        )
    return None
