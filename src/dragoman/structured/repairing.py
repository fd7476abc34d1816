"""Mending of what is almost JSON: single quotes, comments, trailing commas, Python's words. Only when asked for."""

from __future__ import annotations

import json
import re

from dragoman.schemas import ErrorCode, error_of
from dragoman.structured.problems import shortened
from dragoman.structured.strict_json import NotJSONError, parse_json

MAX_CHARACTERS = 32 * 1024
MAX_NAMES = 500
"""Properties, or parentheses, of what is mended: the library's time grows with their square."""

_MARKS = re.compile(
    r"""\"(?:[^"\\\n]++|\\.)*+"|'(?:[^'\\\n]++|\\.)*+'|(?P<comment>//[^\n]*+|/\*.*?\*/|\#[^\n]*+)"""
    r"""|(?P<colon>:)|\b(?P<word>NaN|Infinity|undefined)\b""",
    re.DOTALL,
)
"""Strings, and what matters outside of them."""
_ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{4}|.)", re.DOTALL)


def mended(text: str) -> object:
    """The value that `text`, from an opening bracket to its closing one, was meant to be.

    What was cut off is not made whole, and nothing may get lost: that would be another answer.

    Raises:
        NotJSONError: it cannot be mended, or not without a guess.
        LLMError: ``not_found``: the library that mends is not installed.
    """
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    end = max(text.rfind("}"), text.rfind("]")) + 1
    body = text[start:end]
    if start < 0 or end <= start:
        raise NotJSONError("there are no brackets to mend")
    if len(body) > MAX_CHARACTERS:
        raise NotJSONError(f"it is too long to be mended (at most {MAX_CHARACTERS:,} characters)")
    if any(body.count(opening) != body.count(closing) for opening, closing in ("{}", "[]")) or _quotes(body) % 2:
        raise NotJSONError("it is not complete, and what is missing would be a guess")
    marks = [match for match in _MARKS.finditer(body) if match.lastgroup]
    if word := next((match[0] for match in marks if match.lastgroup == "word"), None):
        raise NotJSONError(f"{word} is no JSON value; use null or a number")
    names = sum(match.lastgroup == "colon" for match in marks)
    if max(names, body.count("(")) > MAX_NAMES:
        raise NotJSONError(f"it has too many properties or parentheses to be mended (at most {MAX_NAMES})")
    text = _repaired(body)
    without_comments = _MARKS.sub(lambda match: "" if match["comment"] else match[0], body)
    if _substance(text) != _substance(without_comments):
        raise NotJSONError("it could be mended only by leaving something out, or adding it")
    return parse_json(text)


def _repaired(body: str) -> str:
    try:
        from json_repair import repair_json
    except ImportError:
        raise error_of(
            ErrorCode.NOT_FOUND,
            "The library that mends JSON is not installed.",
            next_step="Install it with: pip install 'dragoman[repair]', or ask without repair.",
        ) from None
    try:
        text = repair_json(body, skip_json_loads=True, strict=True)
        json.loads(text)
    except (ValueError, RecursionError, IndexError, TypeError) as error:
        raise NotJSONError(f"it could not be mended: {shortened(str(error), 100)}") from None
    return text


def _quotes(body: str) -> int:
    return len(re.findall(r'(?<!\\)"', body))


def _substance(text: str) -> str:
    """The letters and digits, which no mending may change; noughts come and go with how a number is written."""
    plain = re.sub(r"\bNone\b", "null", _ESCAPE.sub("", text))
    return "".join(re.findall("[A-Za-z1-9]", plain)).lower()
