"""Jobs: calls that were handed out by id, so that their answer can be fetched later, also by another server."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dragoman.schemas import Status
from dragoman.schemas.text import writable
from dragoman.store.errors import JobGone, KeyTaken
from dragoman.store.identity import start_time
from dragoman.store.long import if_short, update, write_if_long

if TYPE_CHECKING:
    import sqlite3

EXCERPT_CHARS = 200


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job without its request and its reply. Times are seconds since 1970."""

    id: str
    """That of its call."""
    server_id: int
    """Whose it is; another one's with `JobAdopted`."""
    conversation_id: str | None
    provider: str | None
    face: str
    status: Status
    created_at: float
    ended_at: float | None
    deadline: float | None
    """When it is over at the latest."""
    prompt: str
    """How it begins."""
    scope: str | None
    key: str | None
    digest: str | None
    detached: bool
    """Whether it goes on when its server ends."""
    folder: str | None
    """Where a detached one writes."""
    shepherd_pid: int | None
    """Who watches over a detached one. Together with `shepherd_start` it means no other process."""
    shepherd_start: int | None
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A call begins that can be fetched by its id."""

    id: str
    face: str
    prompt: str = field(repr=False)
    """Only its beginning is kept."""
    provider: str | None = None
    conversation_id: str | None = None
    request: str | None = field(default=None, repr=False)
    """All of it, in JSON."""
    deadline: float | None = None
    scope: str = ""
    """Among whom the key is unique."""
    key: str | None = None
    """The idempotency key."""
    digest: str | None = None
    """What tells whether the arguments of a second call with this key are the same."""
    instead_of: str | None = None
    """The job that has the key and gives it up, such as a failed one."""
    detached: bool = False
    folder: str | None = None
    created_at: float = field(default_factory=time.time)

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:
        """A new row, ``running`` until its `JobEnded` or, unless it is detached, the end of this server.

        Raises:
            KeyTaken: another job has the key.
        """
        scope, key = writable(self.scope), self.key and writable(self.key)
        if key is not None:
            row = db.execute("SELECT id, digest FROM jobs WHERE scope = ? AND key = ?", (scope, key)).fetchone()
            if row is not None and row[0] != self.instead_of:
                raise KeyTaken(*row)
            db.execute("UPDATE jobs SET key = NULL WHERE scope = ? AND key = ?", (scope, key))
        request = self.request and writable(self.request)
        added = db.execute(
            "INSERT INTO jobs (id, server_id, conversation_id, provider, face, status, created_at, deadline, prompt,"
            " scope, key, digest, detached, folder, request)"
            " VALUES (?, ?, ?, ?, ?, 'running', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self.id, server_id, self.conversation_id, self.provider, self.face, self.created_at, self.deadline),
                *(_excerpt(self.prompt), scope, key, self.digest, self.detached, self.folder and writable(self.folder)),
                request and if_short(request),
            ),
        )
        assert added.lastrowid is not None  # noqa: S101 - there is one after an INSERT
        write_if_long(db, "jobs", "request", added.lastrowid, request or "")


@dataclass(frozen=True, slots=True)
class JobDetached:
    """A job is in the hands of a shepherd that outlives this server. Its start time is looked up when it is written."""

    id: str
    shepherd_pid: int
    shepherd_start: int | None = None
    folder: str | None = None

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:
        """Who has it, and where it writes.

        Raises:
            JobGone: it does not run here.
        """
        start = start_time(self.shepherd_pid) if self.shepherd_start is None else self.shepherd_start
        changed = db.execute(
            "UPDATE jobs SET detached = 1, shepherd_pid = ?, shepherd_start = ?, folder = coalesce(?, folder)"
            " WHERE id = ? AND server_id = ? AND status = 'running'",
            (self.shepherd_pid, start, self.folder and writable(self.folder), self.id, server_id),
        )
        _check(changed.rowcount, self.id)


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job has its reply. The first end counts: a later one is let go."""

    id: str
    status: Status
    reply: str | None = field(default=None, repr=False)
    """All of it but its text, in JSON."""
    provider: str | None = None
    """None: as at its start."""
    ended_at: float = field(default_factory=time.time)
    text: str = field(default="", repr=False)
    """The text of the reply."""

    def apply(self, db: sqlite3.Connection, server_id: int) -> bool:  # noqa: ARG002 - whoever cancels it may end it
        """The reply; whether this was the first end.

        Raises:
            JobGone: there is no such job.
        """
        text = writable(self.text)
        changed = update(
            db,
            "UPDATE jobs SET status = ?, ended_at = ?, provider = coalesce(?, provider), reply = ?, text = ?"
            " WHERE id = ? AND status IN ('running', 'interrupted') AND reply IS NULL",
            (
                *(self.status, self.ended_at, self.provider, self.reply and writable(self.reply)),
                *(if_short(text), self.id),
            ),
        )
        row = db.execute("SELECT number FROM jobs WHERE id = ?", (self.id,)).fetchone()
        _check(row is not None, self.id)
        if changed.rowcount == 1:
            write_if_long(db, "jobs", "text", row[0], text)
        return changed.rowcount == 1


@dataclass(frozen=True, slots=True)
class JobCancelRequested:
    """Somebody wants a job to end. Its server sees `JobRow.cancel_requested`."""

    id: str

    def apply(self, db: sqlite3.Connection, server_id: int) -> bool:  # noqa: ARG002 - anyone may
        """Whether it runs.

        Raises:
            JobGone: there is no such job.
        """
        row = db.execute("SELECT status FROM jobs WHERE id = ?", (self.id,)).fetchone()
        _check(row is not None, self.id)
        db.execute("UPDATE jobs SET cancel_requested = 1 WHERE id = ? AND status = 'running'", (self.id,))
        return row[0] == "running"


@dataclass(frozen=True, slots=True)
class JobAdopted:
    """This server takes a detached job over, with its call, turn and processes, from one that is gone."""

    id: str
    server_id: int
    """That of the `JobRow`: of two servers that want it at once, one gets it."""

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:
        """All its rows are this server's.

        Raises:
            JobGone: another server has it, or it ended.
        """
        changed = db.execute(
            "UPDATE jobs SET server_id = ? WHERE id = ? AND server_id = ? AND status = 'running'",
            (server_id, self.id, self.server_id),
        )
        _check(changed.rowcount, self.id)
        moved = (server_id, self.server_id, self.id)
        db.execute("UPDATE turns SET server_id = ? WHERE server_id = ? AND call_id = ? AND status = 'running'", moved)
        db.execute("UPDATE calls SET server_id = ? WHERE server_id = ? AND id = ?", moved)
        db.execute("UPDATE processes SET server_id = ? WHERE server_id = ? AND call_id = ? AND ended_at IS NULL", moved)


def _check(there: int, job_id: str) -> None:
    if not there:
        raise JobGone(f"job {job_id!r} is not there, has ended, or is another server's", "list the jobs")


def _excerpt(prompt: str) -> str:
    words = " ".join(writable(prompt[: 2 * EXCERPT_CHARS]).split())
    return words if len(words) <= EXCERPT_CHARS else f"{words[: EXCERPT_CHARS - 1]}…"


_SELECT = (
    "SELECT id, server_id, conversation_id, provider, face, status, created_at, ended_at, deadline, prompt, scope, key,"
    " digest, detached, folder, shepherd_pid, shepherd_start, cancel_requested FROM jobs"
)


def read_job(db: sqlite3.Connection, job_id: str) -> JobRow | None:
    """A job, if there is one."""
    return _first(db, "id = ?", writable(job_id))


def read_job_by_key(db: sqlite3.Connection, scope: str, key: str) -> JobRow | None:
    """The job that has an idempotency key, if there is one."""
    return _first(db, "scope = ? AND key = ?", writable(scope), writable(key))


def read_jobs(db: sqlite3.Connection, limit: int, skip: int) -> list[JobRow]:
    """Jobs, the newest first."""
    return [_job(row) for row in db.execute(f"{_SELECT} ORDER BY number DESC LIMIT ? OFFSET ?", (limit, skip))]


def read_detached(db: sqlite3.Connection, server_id: int) -> list[JobRow]:
    """The detached jobs of a server that run."""
    query = f"{_SELECT} WHERE server_id = ? AND detached = 1 AND status = 'running'"
    return [_job(row) for row in db.execute(query, (server_id,))]


def read_job_request(db: sqlite3.Connection, job_id: str) -> str | None:
    """What a job was asked, if there is one."""
    row = db.execute("SELECT CAST(request AS TEXT) FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return row[0] if row else None


def read_job_reply(db: sqlite3.Connection, job_id: str) -> tuple[str, str | None] | None:
    """The reply of a job and its text, if there is one; without a text, the reply has it."""
    row = db.execute(
        "SELECT reply, CAST(text AS TEXT) FROM jobs WHERE id = ? AND reply IS NOT NULL", (job_id,)
    ).fetchone()
    return row and (row[0], row[1])


def _first(db: sqlite3.Connection, condition: str, *values: str) -> JobRow | None:
    row = db.execute(f"{_SELECT} WHERE {condition}", values).fetchone()
    return _job(row) if row else None


def _job(row: tuple[Any, ...]) -> JobRow:
    *start, detached, folder, shepherd_pid, shepherd_start, cancel_requested = row
    return JobRow(
        *start,
        detached=bool(detached),
        folder=folder,
        shepherd_pid=shepherd_pid,
        shepherd_start=shepherd_start,
        cancel_requested=bool(cancel_requested),
    )
