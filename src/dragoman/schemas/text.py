"""Text that can always be written out."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_]?)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """`text` without what moves a terminal's cursor, colours it or rings its bell; lines and tabs stay."""
    return _CONTROL.sub("", _TERMINAL.sub("", text.replace("\r\n", "\n")))


def writable(text: str) -> str:
    """`text` without half characters: CLIs written in JavaScript can cut an emoji in two, and no encoder takes a half.

    Halves that belong together are joined, a single one becomes U+FFFD.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


Writable = Annotated[str, AfterValidator(writable)]
