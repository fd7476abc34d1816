"""From what an agent says of a failure to our codes. ACP itself fixes one code; most agents only send words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dragoman.adapters.classify import code_from_status, code_from_text
from dragoman.adapters.json_lines import mapping, text, whole
from dragoman.schemas import ErrorCode, ErrorInfo

AUTH_REQUIRED = -32000

_RETRY_AFTER = re.compile(r"retry (?:after|in) (\d+(?:\.\d+)?) ?s", re.IGNORECASE)
_MORE_PRECISE = frozenset({ErrorCode.QUOTA, ErrorCode.CONTEXT_LENGTH, ErrorCode.PROMPT_TOO_LARGE, ErrorCode.REFUSED})
"""What an agent's words may say more precisely than a status: 429 is also "no quota", 400 also "too long"."""


def words_of(error: Mapping[str, Any]) -> str:
    """All that an error says: many agents send "Internal error" and the cause in its data."""
    message, data = text(error.get("message")), error.get("data")
    more = text(data) or text(mapping(data).get("details")) or text(mapping(data).get("message"))
    if not more or more in message:
        return message
    return more if message.lower() in ("", "internal error") else f"{message}: {more}"


def explain(name: str, error: Mapping[str, Any]) -> ErrorInfo:
    """The failure that an answer with an error tells of."""
    words = words_of(error) or f"{name} failed without saying why"
    code = code_of(whole(error.get("code")), words)
    step = f"log in to {name} with its own command" if code is ErrorCode.AUTH else None
    return ErrorInfo.of(code, words, next_step=step, retry_after_s=retry_after(words))


def code_of(number: int | None, words: str) -> ErrorCode:
    """The code for a JSON-RPC error; some agents send the upstream HTTP status as its number."""
    if number == AUTH_REQUIRED:
        return ErrorCode.AUTH
    if number is not None and 400 <= number < 600:
        code = code_from_status(number)
        said = code_from_text(words, code)
        return said if said in _MORE_PRECISE else code
    return code_from_text(words, ErrorCode.INTERNAL)


def retry_after(words: str) -> float | None:
    """How many seconds to wait, where the words tell."""
    found = _RETRY_AFTER.search(words)
    return float(found[1]) if found else None
