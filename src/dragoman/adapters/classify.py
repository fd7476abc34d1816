"""From a provider's HTTP status or words to an error code: facts first, text last. Shared by the adapters."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dragoman.schemas import ErrorCode, ErrorInfo

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

_BAD_KEY = r"invalid api key|api[ _]key.{0,12}(not valid|invalid|missing|expired)"
_UNREACHABLE = r"connection (refused|error|reset)|econnre|enotfound|etimedout"
_BROKEN_OFF = r"socket hang up|incomplete json segment|\bterminated\b"
_USAGE = r"(unknown|unexpected|unrecognized) (option|argument)|no such option|not enough arguments|invalid choice"

# The order matters: a quota message often says "rate limit" too, a context message often says "400".
# Patterns are compiled when they are first used (`re` keeps them): a start needs none of them.
_BY_TEXT: Sequence[tuple[ErrorCode, str]] = (
    (ErrorCode.QUOTA, r"quota|(?<!not your )usage limit|credit balance|out of credits|billing"),
    (
        ErrorCode.CONTEXT_LENGTH,
        r"context.{0,12}(length|window|size)|prompt is too long|too many tokens|token count.{0,20} exceeds",
    ),
    (ErrorCode.PROMPT_TOO_LARGE, r"exceeds the maximum length|request too large|stdin input exceeds"),
    (ErrorCode.RATE_LIMITED, r"rate.?limit|too many requests|\b429\b"),
    (ErrorCode.AUTH, rf"{_BAD_KEY}|not logged in|unauthorized|authentication|no key found|\b40[13]\b|log ?in"),
    (ErrorCode.OVERLOADED, r"overloaded|at capacity|high demand|\b5(03|29)\b"),
    (ErrorCode.REFUSED, r"safeguards flagged|content policy|content_filter|blocked due to|\brefusal\b"),
    (
        ErrorCode.NETWORK,
        rf"{_UNREACHABLE}|network|stream disconnected|timed? ?out|dns|fetch failed|{_BROKEN_OFF}",
    ),
    (
        ErrorCode.BAD_REQUEST,
        rf"{_USAGE}|unknown model|model.{{0,40}}(not (exist|found)|may not exist)|\b4(00|04|22)\b|invalid",
    ),
    (ErrorCode.OVERLOADED, r"internal server error|\b5\d\d\b"),
)


# What words may say more precisely than a status: 429 is also "no quota", 400 also "too long" or "not this key".
_MORE_PRECISE = frozenset({ErrorCode.QUOTA, ErrorCode.CONTEXT_LENGTH, ErrorCode.PROMPT_TOO_LARGE, ErrorCode.REFUSED})
_USAGE_LINE = rf"(?im)^.*(?:{_USAGE}).*$"


def code_from_status(status: int, words: str = "") -> ErrorCode:
    """The error code for an upstream HTTP status. A server's own fault is ``overloaded``: it cannot serve now.

    With `words`, what they say more precisely than the status.
    """
    code = _BY_STATUS.get(status) or (ErrorCode.OVERLOADED if status >= 500 else ErrorCode.BAD_REQUEST)
    said = code_from_text(words, code)
    if said in _MORE_PRECISE:
        return said
    return ErrorCode.AUTH if status == 400 and re.search(_BAD_KEY, words, re.IGNORECASE) else code


def code_from_text(text: str, default: ErrorCode) -> ErrorCode:
    """The error code that a provider's words point to, or `default`. The last resort: use a fact where there is one."""
    return next((code for code, pattern in _BY_TEXT if re.search(pattern, text, re.IGNORECASE)), default)


def misused(provider: str, stderr: str) -> ErrorInfo | None:
    """The failure of a program that was given an option it does not know; None: it says nothing of the kind."""
    if (line := re.search(_USAGE_LINE, stderr)) is None:
        return None
    step = f"update {provider}, or correct `args` under [providers.{provider}] in the configuration"
    return ErrorInfo.of(ErrorCode.BAD_REQUEST, line[0].strip(), next_step=step)
