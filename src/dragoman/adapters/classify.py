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


def _status(number: str) -> str:
    """A status among other words: no part of an address, of a place in a file or of a measure."""
    measure = r"\s*(?:[kmg]i?b|m?s|seconds|tokens|bytes)\b"
    return rf"(?<!\d:)(?<![.,\d])(?<!line )(?<!port )\b{number}\b(?![.,:]\d|{measure})"


_BAD_KEY = r"invalid api key|api[ _]key.{0,12}(not valid|invalid|missing|expired)"
_STALE = r"token.{0,12}expired|expired.{0,12}token|(organization|account).{0,12}(disabled|suspended)"
_LIMIT = r"hit your (?!rate).{0,20}limit|\b(hour|session|weekly|daily|monthly|plan|spend(ing)?) limit"
_EMPTY = r"credit balance|payment required|(out of|insufficient) (credits?|funds|balance)"
_ASKED = r"not logged in|\blog ?in\b|no key found"
_UNREACHABLE = (
    r"connection (refused|error|reset)|econnre|enotfound|etimedout|eai_again|e(host|net)unreach|no route to host"
)
_INTERCEPTED = r"certificate|\b(ssl|tls)\b|proxy authentication"
_BROKEN_OFF = r"socket hang up|incomplete json segment|\bterminated\b|broken pipe|\bepipe\b"
_USAGE = r"(unknown|unexpected|unrecognized) (option|argument)|no such option|not enough arguments|invalid choice"

# The order matters: a quota message often says "rate limit" too, a context message often says "400".
# Patterns are compiled when they are first used (`re` keeps them): a start needs none of them.
_BY_TEXT: Sequence[tuple[ErrorCode, str]] = (
    (
        ErrorCode.QUOTA,
        rf"(?<!disk )quota(?!tion)|(?<!not your )usage limit|{_LIMIT}|{_EMPTY}|billing",
    ),
    (
        ErrorCode.CONTEXT_LENGTH,
        r"context.{0,12}(length|window|size)|(prompt|input)( is)? too long|too many tokens|token count.{0,20} exceeds",
    ),
    (ErrorCode.PROMPT_TOO_LARGE, r"exceeds the maximum length|request too large|stdin input exceeds"),
    (ErrorCode.RATE_LIMITED, rf"rate.?limit|too many (concurrent )?requests|resource.?exhausted|{_status('429')}"),
    (
        ErrorCode.AUTH,
        rf"{_BAD_KEY}|{_STALE}|{_ASKED}|unauthorized|(?<!proxy )authentication|{_status('40[13]')}",
    ),
    (
        ErrorCode.OVERLOADED,
        rf"overloaded|at capacity|high demand|(service|temporarily) unavailable|bad gateway|{_status('5(03|29)')}",
    ),
    (
        ErrorCode.REFUSED,
        r"safeguards flagged|content (policy|was flagged)|usage polic|content_filter|blocked due to|\brefusal\b",
    ),
    (
        ErrorCode.NETWORK,
        rf"{_UNREACHABLE}|{_INTERCEPTED}|network|stream disconnected|timed? ?out|\bdns\b|fetch failed|{_BROKEN_OFF}",
    ),
    (
        ErrorCode.BAD_REQUEST,
        rf"{_USAGE}|unknown model|model.{{0,40}}(not[ _](exist|found)|may not exist)|{_status('4(00|04|22)')}|invalid",
    ),
    (ErrorCode.OVERLOADED, rf"internal server error|{_status('5[0-9]{2}')}"),
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
