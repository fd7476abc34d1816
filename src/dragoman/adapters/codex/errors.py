"""From codex's typed errors to ours: its own name first, then the HTTP status inside, then its words.

And its own retries, which cannot be configured on the built-in provider: how long they are sat through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from dragoman.adapters.classify import code_from_status, code_from_text, misused
from dragoman.adapters.json_lines import mapping, parse, text
from dragoman.schemas import ErrorCode, ErrorInfo

_BY_NAME: Mapping[str, ErrorCode] = {
    "unauthorized": ErrorCode.AUTH,
    "rateLimitExceeded": ErrorCode.RATE_LIMITED,
    "usageLimitExceeded": ErrorCode.QUOTA,
    "sessionBudgetExceeded": ErrorCode.QUOTA,
    "internalServerError": ErrorCode.OVERLOADED,
    "serverOverloaded": ErrorCode.OVERLOADED,
    "flexUnavailable": ErrorCode.OVERLOADED,
    "policyCapacityUnavailable": ErrorCode.OVERLOADED,
    "modelNotFound": ErrorCode.BAD_REQUEST,
    "badRequest": ErrorCode.BAD_REQUEST,
    "contextWindowExceeded": ErrorCode.CONTEXT_LENGTH,
    "cyberPolicy": ErrorCode.REFUSED,
    "sandboxError": ErrorCode.POLICY,
    "tooManyDenials": ErrorCode.POLICY,
    "inferenceHookDenied": ErrorCode.POLICY,
}
_CONNECTION = frozenset(
    {
        "httpConnectionFailed",
        "responseStreamConnectionFailed",
        "responseStreamDisconnected",
        "responseTooManyFailedAttempts",
    }
)
_NEXT_STEPS: Mapping[ErrorCode, str] = {
    ErrorCode.AUTH: "run `codex login`",
    ErrorCode.MALFORMED_OUTPUT: "ask again, or rephrase the question: it may have been refused",
}

_STATUS = re.compile(r"\bstatus:? (\d{3})\b")
# What the host itself says about the one who asks. A proxy that blocks WebSockets says 403, 404, 407 or 5xx.
_FINAL_STATUSES = frozenset({401, 429})
_UNREADABLE = re.compile(r"failed to read configuration|error loading (config|configuration)", re.IGNORECASE)
_UNREACHABLE = re.compile(r"connection refused|failed to lookup address", re.IGNORECASE)

UNREACHABLE_RETRIES = 1
STREAM_RETRIES = 6
"""More than codex makes: it gives up by itself after five, in 7 s."""


def error_code(info: object, words: str) -> ErrorCode:
    """The code for a ``codexErrorInfo``: a name, or an object with one name that may hold an HTTP status."""
    name, status = _name_and_status(info, words)
    if name in _BY_NAME:
        return _BY_NAME[name]
    if status is not None:
        return code_from_status(status, words)
    if "max_output_tokens" in words:
        return ErrorCode.OUTPUT_LIMIT
    if "content_filter" in words:
        return ErrorCode.REFUSED
    if words.startswith("{"):
        return code_from_text(words, ErrorCode.BAD_REQUEST)
    return code_from_text(words, ErrorCode.NETWORK if name in _CONNECTION else ErrorCode.INTERNAL)


def exited(exit_code: int, words: str, said: str, *, serves: bool = False) -> ErrorInfo:
    """The failure when it ended in mid-turn. `words` tell of it, `said` is the line of stderr that explains it.

    `serves`: it was to stay when the turn is over; it ends with 0 on a signal, too.
    """
    if (wrong := misused("codex", said)) is not None:
        return wrong
    if exit_code == 0 and not serves:
        return error_info(ErrorCode.MALFORMED_OUTPUT, words)
    code = code_from_text(said, ErrorCode.CRASHED) if 0 < exit_code < 128 else ErrorCode.CRASHED
    return error_info(code, words)


def error_info(code: ErrorCode, words: str) -> ErrorInfo:
    """The failure, with codex's own words. A refused request comes as the API's whole body: its message is taken."""
    body = parse(words.encode("utf-8", "replace"))
    words = text(mapping(body.get("error")).get("message")) or words
    step = _NEXT_STEPS.get(code)
    if _UNREADABLE.search(words):
        code, step = ErrorCode.NOT_FOUND, "correct the file that codex names"
    return ErrorInfo.of(code, words or "codex failed without saying why", next_step=step)


class Retries:
    """codex's own retries within one turn.

    The built-in provider tries a WebSocket first and falls back to HTTPS after about 6 s, which answers where a proxy
    blocks WebSockets; so what goes wrong there is sat through, unless HTTPS would meet the same. Over HTTPS each retry
    of a request that failed stands for five requests already. (Measured with codex 0.169.0.)
    """

    def __init__(self) -> None:
        self.count = 0
        self._websocket: bool | None = None

    def fell_back(self) -> None:
        """codex says that it goes on over HTTPS."""
        self.count = 0
        self._websocket = False

    def one_more(self, info: object, message: str, words: str) -> bool:
        """Count one; whether to sit through it. `message` is its title, `words` the cause."""
        if self._websocket is None:
            # It does not tell of its first retry over a WebSocket, so there the first title is "Reconnecting... 2/5".
            self._websocket = " 1/" not in message or "url: ws" in words
        self.count += 1
        return self.count <= self._tolerated(info, words)

    def _tolerated(self, info: object, words: str) -> int:
        _, status = _name_and_status(info, words)
        if status in _FINAL_STATUSES:
            return 0
        if _UNREACHABLE.search(words):
            return UNREACHABLE_RETRIES
        if self._websocket:
            return STREAM_RETRIES
        # A stream that broke stands for one request; a connection that was never made for five.
        broken = error_code(info, words) is ErrorCode.NETWORK and not words.startswith("Connection failed")
        return STREAM_RETRIES if broken else 0


def _name_and_status(info: object, words: str) -> tuple[str, int | None]:
    name, status = "", None
    if isinstance(info, str):
        name = info
    elif isinstance(info, dict):
        name, detail = next(iter(cast("Mapping[str, Any]", info).items()), ("", None))
        status = mapping(detail).get("httpStatusCode")
    if isinstance(status, int):
        return name, status
    said = _STATUS.search(words)
    return name, int(said[1]) if said else None
