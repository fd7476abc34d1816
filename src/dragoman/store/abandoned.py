"""What servers that are gone left running."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dragoman.store.history import NUMBER_BITS
from dragoman.store.identity import Identity
from dragoman.store.jobs import JobRow, read_detached
from dragoman.store.records import Orphan

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True)
class Abandoned:
    """What is to be looked after."""

    orphans: tuple[Orphan, ...] = ()
    """Processes of calls that nobody works on any more."""
    jobs: tuple[JobRow, ...] = ()
    """Detached jobs: their shepherds may live, and whoever says `JobAdopted` takes them over."""


@dataclass(frozen=True, slots=True)
class TakeStock:
    """What a server that is gone left running is ``interrupted``, but for detached jobs; `Store.take_stock` says it."""

    def apply(self, db: sqlite3.Connection, server_id: int) -> Abandoned:  # noqa: ARG002 - it is about the others
        """What is left of them."""
        return take_stock(db)


# Of a server that is gone, or that goes. What belongs to a detached job stays as it is until that has ended.
_DETACHED = "(SELECT id FROM jobs WHERE detached = 1 AND status = 'running')"


def interrupt(db: sqlite3.Connection, server_id: int) -> None:
    """Whatever this server left running, but for detached jobs, is ``interrupted``."""
    of = (server_id,)
    calls = f"server_id = ? AND status = 'running' AND id NOT IN {_DETACHED}"
    db.execute(f"UPDATE calls SET status = 'interrupted' WHERE {calls}", of)  # noqa: S608 - our own words
    turns = f"server_id = ? AND status = 'running' AND call_id NOT IN {_DETACHED}"
    db.execute(f"INSERT INTO turns_to_index SELECT id FROM turns WHERE {turns}", of)  # noqa: S608 - our own words
    # Whoever was asked may have kept the question and half an answer, of which nobody is to be told.
    broken_off = f"SELECT id >> {NUMBER_BITS} FROM turns WHERE {turns}"  # noqa: S608 - our own words
    db.execute(f"UPDATE sessions SET dirty = 1 WHERE conversation IN ({broken_off})", of)  # noqa: S608 - our own words
    db.execute(f"UPDATE turns SET status = 'interrupted' WHERE {turns}", of)  # noqa: S608 - our own words
    db.execute(
        "UPDATE jobs SET status = 'interrupted', ended_at = ? WHERE server_id = ? AND status = 'running'"
        " AND detached = 0",
        (time.time(), server_id),
    )


def leave(db: sqlite3.Connection, server_id: int) -> None:
    """This server closes its store. Its detached jobs can be adopted at once, even if its process lives on."""
    interrupt(db, server_id)
    db.execute(
        "UPDATE servers SET pid = 0, start_time = 0"
        " WHERE id = ? AND id IN (SELECT server_id FROM jobs WHERE status = 'running')",
        (server_id,),
    )


def take_stock_at_opening(db: sqlite3.Connection) -> Abandoned:
    """`take_stock`, in a transaction if there is anything to write: opening waits for nobody without need."""
    if not _gone(db):
        return Abandoned()
    db.execute("BEGIN IMMEDIATE")
    try:
        found = take_stock(db)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return found


def take_stock(db: sqlite3.Connection) -> Abandoned:
    """Interrupt what nobody works on any more; what is left of it. Runs within a transaction."""
    orphans: list[Orphan] = []
    jobs: list[JobRow] = []
    for server_id, identity in _gone(db):
        interrupt(db, server_id)
        jobs += read_detached(db, server_id)
        rows = db.execute(
            "SELECT id, pid, start_time, call_id, folder FROM processes"  # noqa: S608 - our own words
            f" WHERE server_id = ? AND ended_at IS NULL AND call_id NOT IN {_DETACHED}",
            (server_id,),
        )
        orphans += [
            Orphan(row, pid, start, call_id, folder, identity.is_of_this_boot())
            for row, pid, start, call_id, folder in rows
        ]
    return Abandoned(tuple(orphans), tuple(jobs))


def _gone(db: sqlite3.Connection) -> list[tuple[int, Identity]]:
    """Servers that have ended and left something."""
    servers = db.execute(
        "SELECT id, pid, start_time, boot_id, pid_namespace FROM servers"
        " WHERE id IN (SELECT server_id FROM calls WHERE status = 'running')"
        " OR id IN (SELECT server_id FROM turns WHERE status = 'running')"
        " OR id IN (SELECT server_id FROM jobs WHERE status = 'running')"
        " OR id IN (SELECT server_id FROM processes WHERE ended_at IS NULL)"
    )
    found = [(server_id, Identity(*fields)) for server_id, *fields in servers]
    return [(server_id, identity) for server_id, identity in found if identity.is_gone()]
