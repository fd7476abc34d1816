"""From codex's typed errors to ours: its own name first, then the HTTP status inside, then its words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from dragoman.adapters.classify import code_from_status, code_from_text
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
_NEXT_STEPS: Mapping[ErrorCode, str] = {ErrorCode.AUTH: "run `codex login`"}

FALLBACK_RETRIES = 6
"""codex tries a WebSocket up to five times before it falls back to plain HTTPS, which works where those are blocked."""


def error_code(info: object, words: str) -> ErrorCode:
    """The code for a ``codexErrorInfo``: a name, or an object with one name that may hold an HTTP status."""
    name, status = _name_and_status(info)
    if name in _BY_NAME:
        return _BY_NAME[name]
    if status is not None:
        return code_from_status(status)
    if "max_output_tokens" in words:
        return ErrorCode.OUTPUT_LIMIT
    if "content_filter" in words:
        return ErrorCode.REFUSED
    return code_from_text(words, ErrorCode.NETWORK if name in _CONNECTION else ErrorCode.INTERNAL)


def error_info(code: ErrorCode, words: str) -> ErrorInfo:
    """The failure, with codex's own words."""
    return ErrorInfo.of(code, words or "codex failed without saying why", next_step=_NEXT_STEPS.get(code))


def tolerated_retries(code: ErrorCode, words: str) -> int:
    """How many of codex's own retries to sit through before the turn is given up with their cause.

    Each of them stands for up to five requests already. What the fallback to HTTPS may cure is let go further.
    """
    if code is not ErrorCode.NETWORK:
        return 0 if code is not ErrorCode.INTERNAL else FALLBACK_RETRIES
    return 1 if "refused" in words.lower() or "dns" in words.lower() else FALLBACK_RETRIES


def _name_and_status(info: object) -> tuple[str, int | None]:
    if isinstance(info, str):
        return info, None
    if isinstance(info, dict):
        for name, detail in cast("Mapping[str, Any]", info).items():
            status = cast("Mapping[str, Any]", detail).get("httpStatusCode") if isinstance(detail, dict) else None
            return name, status if isinstance(status, int) else None
    return "", None
