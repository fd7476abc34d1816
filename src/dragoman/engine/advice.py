"""What a person does next, for failures that were made without saying so."""

from __future__ import annotations

import errno

from dragoman.log import redact
from dragoman.schemas import ErrorInfo
from dragoman.schemas.errors import ADVICE
from dragoman.schemas.text import plain

__all__ = ["ADVICE", "advised", "said_by_system", "tellable"]

MESSAGE_CHARS = 4000
"""How much of a CLI's own words is told."""
_WRITABLE = "make it writable for you, or choose another place"
_SPACE = "free some space on the disk"
_SYSTEM = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "raise the limit on the size of files (`ulimit -f`)",
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.EROFS: _WRITABLE,
    errno.ENOENT: "see that the name is right and that its folder is there",
    errno.ENOTDIR: "see that the name is right and that its folder is there",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`), or ask less at once",
    errno.ENFILE: "end some programs: this machine has too many files open",
}


def tellable(words: str) -> str:
    """A CLI's own words without colours and secrets, and not endless."""
    # Redacted before it is cut to its length: half a key has no recognisable shape.
    words = redact(plain(words[: 4 * MESSAGE_CHARS])).strip()
    return words if len(words) <= MESSAGE_CHARS else f"{words[:MESSAGE_CHARS]}…"


def advised(error: ErrorInfo) -> ErrorInfo:
    """The failure with a next step."""
    return error if error.next_step else error.model_copy(update={"next_step": ADVICE[error.code]})


def said_by_system(error: OSError) -> tuple[str, str | None]:
    """What the system refused, with the file it was about, and what to do; None: nothing that is known."""
    reason = error.strerror or str(error)
    about = "" if error.filename is None else f"{str(error.filename)!r}: "
    return f"{about}{reason}", None if error.errno is None else _SYSTEM.get(error.errno)
