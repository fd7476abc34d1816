"""What is told when something cannot be kept in the state folder, or be shared through it. Calls go on without."""

from __future__ import annotations

import os
from pathlib import Path

from dragoman.config import state_folder
from dragoman.log import logger


class Alone:
    """One for each engine."""

    def __init__(self) -> None:
        self._told = False

    def tell(self, without: str, reason: object) -> None:
        """Warn that it goes on `without`. Of a folder that cannot be written at all is told once, whatever needs it."""
        if (folder := _unwritable()) is None:
            logger.warning("{}: {}", without, reason)
        elif not self._told:
            self._told = True
            logger.warning(
                "{!r} cannot be written, so nothing is kept or shared with other Dragomans of this machine; "
                "make it writable for you, or set DRAGOMAN_HOME to another folder",
                str(folder),
            )


def _unwritable() -> Path | None:
    try:
        folder = state_folder()
    except OSError as error:
        return Path(error.filename)
    return None if os.access(folder, os.W_OK) else folder
