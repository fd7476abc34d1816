"""When the file cannot be used: which, why, and what to do."""

from __future__ import annotations

from pathlib import Path

_ELSEWHERE = "or set DRAGOMAN_HOME to another folder"
_NEXT_STEPS = {
    "SQLITE_CORRUPT": f"move the file away to start a new one, {_ELSEWHERE}",
    "SQLITE_NOTADB": f"move the file away to start a new one, {_ELSEWHERE}",
    "SQLITE_FULL": f"free some space on the disk, {_ELSEWHERE}",
    "SQLITE_READONLY": f"make the file and its folder writable, {_ELSEWHERE}",
    "SQLITE_CANTOPEN": f"make the folder writable, {_ELSEWHERE}",
    "SQLITE_PERM": f"make the file and its folder writable, {_ELSEWHERE}",
    "SQLITE_IOERR": f"see that the disk is sound and not full, {_ELSEWHERE}",
    "SQLITE_BUSY": "another program holds the file; end it, or wait",
    "SQLITE_LOCKED": "another program holds the file; end it, or wait",
}


class StoreError(Exception):
    """The store cannot be read or written. Calls work without it; they are just not kept."""

    def __init__(self, path: Path, cause: str, next_step: str) -> None:
        super().__init__(f"{str(path)!r}: {cause}; {next_step}")
        self.path = path
        self.cause = cause
        self.next_step = next_step

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.cause, self.next_step)


def explain(path: Path, error: Exception) -> StoreError:
    """What SQLite or the system said, with what to do about it."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, OSError):
        return StoreError(path, error.strerror or str(error), _NEXT_STEPS["SQLITE_CANTOPEN"])
    # Extended names such as SQLITE_IOERR_WRITE begin with the plain one.
    name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
    return StoreError(path, str(error) or repr(error), _NEXT_STEPS.get(name, "please report this as a fault"))
