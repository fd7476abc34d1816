"""From a provider's HTTP status or words to an error code: facts first, text last. Shared by the adapters."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dragoman.schemas import ErrorCode

_BY_STATUS = {
    400: ErrorCode.BAD_REQUEST,
    401: ErrorCode.AUTH,
    402: ErrorCode.QUOTA,
    403: ErrorCode.AUTH,
    404: ErrorCode.BAD_REQUEST,
    407: ErrorCode.NETWORK,
    408: ErrorCode.NETWORK,
    413: ErrorCode.PROMPT_TOO_LARGE,
    422: ErrorCode.BAD_REQUEST,
    429: ErrorCode.RATE_LIMITED,
    503: ErrorCode.OVERLOADED,
    529: ErrorCode.OVERLOADED,
}

# The order matters: a quota message often says "rate limit" too, a context message often says "400".
_BY_TEXT: Sequence[tuple[ErrorCode, re.Pattern[str]]] = tuple(
    (code, re.compile(pattern, re.IGNORECASE))
    for code, pattern in (
        (ErrorCode.QUOTA, r"quota|(?<!not your )usage limit|credit balance|out of credits|billing"),
        (ErrorCode.CONTEXT_LENGTH, r"context.{0,12}(length|window|size)|prompt is too long|too many tokens"),
        (ErrorCode.PROMPT_TOO_LARGE, r"exceeds the maximum length|request too large|stdin input exceeds"),
        (ErrorCode.RATE_LIMITED, r"rate.?limit|too many requests|\b429\b"),
        (ErrorCode.AUTH, r"not logged in|unauthorized|authentication|invalid api key|no key found|\b40[13]\b|log ?in"),
        (ErrorCode.OVERLOADED, r"overloaded|at capacity|high demand|\b5(03|29)\b"),
        (ErrorCode.REFUSED, r"safeguards flagged|content policy|\brefusal\b"),
        (
            ErrorCode.NETWORK,
            r"connection (refused|error|reset)|econnre|enotfound|etimedout|network|stream disconnected|timed? ?out|dns",
        ),
        (ErrorCode.BAD_REQUEST, r"unknown model|model.{0,40}(not (exist|found)|may not exist)|\b4(00|04|22)\b|invalid"),
        (ErrorCode.OVERLOADED, r"internal server error|\b5\d\d\b"),
    )
)


def code_from_status(status: int) -> ErrorCode:
    """The error code for an upstream HTTP status. A server's own fault is ``overloaded``: it cannot serve now."""
    return _BY_STATUS.get(status) or (ErrorCode.OVERLOADED if status >= 500 else ErrorCode.BAD_REQUEST)


def code_from_text(text: str, default: ErrorCode) -> ErrorCode:
    """The error code that a provider's words point to, or `default`. The last resort: use a fact where there is one."""
    return next((code for code, pattern in _BY_TEXT if pattern.search(text)), default)
