"""From what an agent says of a failure to our codes. ACP itself fixes one code; most agents only send words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dragoman.adapters.classify import code_from_status, code_from_text
from dragoman.adapters.json_lines import mapping, parse, text, whole
from dragoman.schemas import ErrorCode, ErrorInfo

AUTH_REQUIRED = -32000

_RETRY_AFTER = re.compile(r"retry (?:after|in) (\d+(?:\.\d+)?) ?s", re.IGNORECASE)


def words_of(error: Mapping[str, Any]) -> str:
    """All that an error says: many agents send "Internal error" and the cause in its data."""
    message, data = text(error.get("message")), error.get("data")
    more = text(data) or text(mapping(data).get("details")) or text(mapping(data).get("message"))
    if not more or more in message:
        return body_of(message)[0]
    return body_of(more)[0] if message.lower() in ("", "internal error") else f"{message}: {more}"


def body_of(words: str) -> tuple[str, int | None]:
    """The words of an API's error with their HTTP status, where an agent passes on all of its JSON; else the words."""
    start = words.find("{")
    if start < 0:
        return words, None
    body = mapping(parse(words[start:].rstrip("]. \n").encode("utf-8", "replace")).get("error"))
    message, name = text(body.get("message")), text(body.get("status"))
    return (f"{message} ({name})" if message and name else message or words), whole(body.get("code"))


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
        # 500 is also what an agent sends when it knows nothing better.
        return code_from_text(words, ErrorCode.OVERLOADED) if number == 500 else code_from_status(number, words)
    return code_from_text(words, ErrorCode.INTERNAL)


def retry_after(words: str) -> float | None:
    """How many seconds to wait, where the words tell."""
    found = _RETRY_AFTER.search(words)
    return float(found[1]) if found else None
