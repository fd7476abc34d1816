"""Text that can always be written out."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


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
