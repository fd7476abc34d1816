"""What can be written down: one class per fact. Times are seconds since 1970, durations seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import TypeVar

from dragoman.schemas import Billing, ErrorCode, Status, Usage
from dragoman.store.identity import start_time_of_one_since

if TYPE_CHECKING:
    import sqlite3

    from dragoman.store.errors import StoreError

T_co = TypeVar("T_co", covariant=True, default=object)


class Record(Protocol[T_co]):
    """Something to write down."""

    def apply(self, db: sqlite3.Connection, server_id: int) -> T_co:
        """Write it; what it returns, `Store.write` returns. Runs in the writer's thread, within a transaction.

        Raises:
            Conflict: it does not go with what is there.
            LookupError: it speaks of something that is not there, which is a fault of ours.
        """
        ...


class Posted(Protocol):
    """What becomes of a record that nobody waits for."""

    @property
    def done(self) -> bool:
        """Whether it is known. Without an `error` it is then safe from the death of this process."""
        ...

    @property
    def error(self) -> StoreError | None:
        """Why it is not kept."""
        ...


@dataclass(frozen=True, slots=True)
class Together:
    """Several records, of which all are written or none. What each returns."""

    records: tuple[Record[Any], ...]

    def apply(self, db: sqlite3.Connection, server_id: int) -> tuple[Any, ...]:
        """One after the other."""
        return tuple(record.apply(db, server_id) for record in self.records)


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call began. ``provider`` and ``model`` may still be open."""

    id: str
    face: str
    provider: str | None = None
    model: str | None = None
    depth: int = 0
    unless_there: bool = False
    """An earlier server may have written it down, or was killed before it could."""
    started_at: float = field(default_factory=time.time)

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:
        """A new row, ``running`` until its `CallEnded` or the end of this server."""
        insert = "INSERT OR IGNORE" if self.unless_there else "INSERT"
        db.execute(
            f"{insert} INTO calls (id, server_id, provider, model, face, depth, status, started_at)"
            " VALUES (?, ?, ?, ?, ?, ?, 'running', ?)",
            (self.id, server_id, self.provider, self.model, self.face, self.depth, self.started_at),
        )


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call ended. ``provider`` and ``model`` None: as they were at its start."""

    id: str
    status: Status
    code: ErrorCode | None = None
    provider: str | None = None
    model: str | None = None
    duration_s: float | None = None
    first_output_s: float | None = None
    attempts: int = 0
    exit_code: int | None = None
    argv_shape: str | None = None
    """The command line without anything a user wrote."""
    usage: Usage | None = None
    billing: Billing = "unknown"

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:  # noqa: ARG002 - a call id is unique
        """How it went, and its tokens where they are known."""
        changed = db.execute(
            "UPDATE calls SET status = ?, code = ?, provider = coalesce(?, provider), model = coalesce(?, model),"
            " duration_s = ?, first_output_s = ?, attempts = ?, exit_code = ?, argv_shape = ? WHERE id = ?",
            (
                *(self.status, self.code and self.code.value, self.provider, self.model, self.duration_s),
                *(self.first_output_s, self.attempts, self.exit_code, self.argv_shape, self.id),
            ),
        )
        if changed.rowcount == 0:
            raise LookupError(f"call {self.id!r} has no start")
        if (usage := self.usage) is not None:
            db.execute(
                "INSERT OR REPLACE INTO usage (call_id, input_tokens, cached_input_tokens, output_tokens, cost_usd,"
                " billing) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    *(self.id, usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, usage.cost_usd),
                    self.billing,
                ),
            )


@dataclass(frozen=True, slots=True)
class ProcessStarted:
    """A child process of a call runs. Its start time, by which it is told from a later process with the same pid, is
    looked up when it is written: reading it of a process that is just being started costs half a millisecond."""

    pid: int
    call_id: str
    started_at: float = field(default_factory=time.time)
    start_time: int | None = None
    folder: str | None = None
    """The private folder it was given, which goes with it."""

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:
        """A new row, without an end."""
        db.execute(
            "INSERT INTO processes (pid, start_time, call_id, server_id, started_at, folder) VALUES (?, ?, ?, ?, ?, ?)",
            (
                self.pid,
                start_time_of_one_since(self.pid, self.started_at) if self.start_time is None else self.start_time,
                self.call_id,
                server_id,
                self.started_at,
                self.folder,
            ),
        )


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """A child process of this server is gone."""

    pid: int
    if_there: bool = False
    """An earlier server started it, and may have told its end or never its start."""
    ended_at: float = field(default_factory=time.time)

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:
        """The end of the one row of this server and pid that has none."""
        changed = db.execute(
            "UPDATE processes SET ended_at = ? WHERE server_id = ? AND pid = ? AND ended_at IS NULL",
            (self.ended_at, server_id, self.pid),
        )
        if changed.rowcount == 0 and not self.if_there:
            raise LookupError(f"process {self.pid} has no start")


@dataclass(frozen=True, slots=True)
class OrphansEnded:
    """What dead servers left running is gone: these rows of `Store.orphans`."""

    rows: tuple[int, ...]
    ended_at: float = field(default_factory=time.time)

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:  # noqa: ARG002 - they are other servers'
        """Their end."""
        db.executemany("UPDATE processes SET ended_at = ? WHERE id = ?", [(self.ended_at, row) for row in self.rows])


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process that a server wrote down and did not live to see the end of. It may have ended all the same."""

    row: int
    pid: int
    start_time: int | None
    call_id: str
    folder: str | None
    is_of_this_boot: bool
    """Whether its pid can still mean it."""
