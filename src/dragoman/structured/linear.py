"""Regular expressions whose time is linear in the text, whatever the pattern."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema

MAX_PATTERN = 2000
"""Characters of a pattern."""


class PatternError(ValueError):
    """The pattern cannot be used; the message says why."""


@lru_cache(maxsize=512)
def searcher(pattern: str) -> Callable[[str], bool]:
    """Whether `pattern` is found anywhere in a text, as a function of the text.

    Python's own matching can take for ever on a text that a model wrote, and nothing can stop it. This one cannot:
    it is the engine that Pydantic uses, which has no look-around and no back-references.

    Raises:
        PatternError: the pattern is too long, is not a pattern, or needs what cannot be done in linear time.
    """
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"it has {len(pattern):,} characters; at most {MAX_PATTERN:,} are allowed")
    try:
        validator = SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex", strict=True))
    except SchemaError as error:
        raise PatternError(_reason(str(error))) from None
    return validator.isinstance_python


def _reason(message: str) -> str:
    if "look-around" in message or "look-ahead" in message or "look-behind" in message:
        return "it looks ahead or behind, which can take for ever; write it without (?=, (?!, (?<= and (?<!"
    if "backreferences are not supported" in message:
        return "it refers back to a group, which can take for ever; write it without \\1"
    if "size limit" in message:
        return "it repeats too much; use smaller counts"
    lines = [line.strip() for line in message.splitlines() if line.strip().startswith("error:")]
    return lines[-1].removeprefix("error:").strip() if lines else "it is not a regular expression"
