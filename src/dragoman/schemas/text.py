"""Text that can always be written out."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_]?)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
"""Of JSON; the group: half a character that stands alone."""


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


def readable(document: str) -> str:
    """`document` with U+FFFD for each half character escaped in it, for which readers of JSON refuse the whole."""
    if "\\ud" not in document and "\\uD" not in document:
        return document
    return _ESCAPE.sub(lambda found: r"\ufffd" if found[1] else found[0], document)


Writable = Annotated[str, AfterValidator(writable)]
