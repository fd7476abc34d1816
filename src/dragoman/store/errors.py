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

    @property
    def told(self) -> str:
        """What happened, without the next step."""
        return f"{str(self.path)!r}: {self.cause}"

    @property
    def is_damage(self) -> bool:
        """Whether SQLite found the file damaged."""
        return getattr(self.__cause__, "sqlite_errorname", "").startswith("SQLITE_CORRUPT")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.cause, self.next_step)


class Conflict(StoreError):  # noqa: N818 - the standard word
    """What was to be written does not go with what another caller did meanwhile. Nothing of it was written."""

    def __init__(self, cause: str, next_step: str, path: Path = Path()) -> None:
        super().__init__(path, cause, next_step)
        self.args = (f"{cause}; {next_step}",)  # the file is sound, and none of the caller's business

    @property
    def told(self) -> str:
        """See `StoreError.told`."""
        return self.cause

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.cause, self.next_step, self.path)


class ConversationGone(Conflict):
    """There is no such conversation, or it was deleted or reset while its turn ran."""


class ConversationExists(Conflict):
    """There is a conversation of this name already."""


class JobGone(Conflict):
    """There is no such job, or it has ended, or another server has it."""


class KeyTaken(Conflict):
    """The idempotency key was used before, in the same scope."""

    def __init__(self, job_id: str, digest: str | None) -> None:
        super().__init__(f"the idempotency key is that of job {job_id!r}", "fetch that job, or use another key")
        self.job_id = job_id
        """The job that has it."""
        self.digest = digest
        """What that job was asked, as `JobStarted.digest` told."""

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.job_id, self.digest)


def explain(path: Path, error: Exception) -> StoreError:
    """What SQLite or the system said, with what to do about it."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, OSError):
        return StoreError(path, error.strerror or str(error), _NEXT_STEPS["SQLITE_CANTOPEN"])
    # Extended names such as SQLITE_IOERR_WRITE begin with the plain one.
    name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
    return StoreError(path, str(error) or repr(error), _NEXT_STEPS.get(name, "please report this as a fault"))
