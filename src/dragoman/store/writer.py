"""The one connection that writes, in a thread of its own, so that no event loop ever waits for a disk.

Records are queued. Whatever waits is written in one transaction. If one of them does not fit, they are written again,
each with its own savepoint, so that it takes no other with it. SQLite before 3.51.3 can damage a file when two
connections of one process write.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from dragoman.store.abandoned import Abandoned, leave, take_stock_at_opening
from dragoman.store.errors import Conflict, StoreError, explain
from dragoman.store.identity import Identity
from dragoman.store.migrations import check_version, migrate
from dragoman.store.records import Record
from dragoman.store.retention import tidy
from dragoman.store.search import prepare_index

if TYPE_CHECKING:
    import sqlite3

BUSY_TIMEOUT_S = 5.0
"""How long a transaction waits for another process's."""
BATCH = 1000
GATHER_S = 0.02
"""How long records that nobody waits for are gathered. Waking this thread for each would cost the caller more than the
record is worth: the two take the interpreter from each other."""

Later = Callable[[float, Callable[[], None]], object]
"""Calls something after so many seconds, in the thread that puts the records."""


class Job:
    """One record on its way. `done` is set after the commit, with what it gave, or after the failure in `error`.

    From then on it holds its record no more, which may be an answer of megabytes.
    """

    __slots__ = ("done", "error", "record", "result", "waited")

    def __init__(self, record: Record | None, *, waited: bool) -> None:
        self.record = record
        self.waited = waited
        self.done = False
        self.error: StoreError | None = None
        self.result: object = None


class Writer(threading.Thread):
    """Opens the file when started: `opened` is done then. After `stop` it writes what is queued and ends.

    Records are put, and the end is, by one other thread. Both are called in this one: `tell` after jobs that are
    waited for were done, `on_error` with the first error of a job that nobody waits for.
    """

    def __init__(
        self, path: Path, tell: Callable[[], object], on_error: Callable[[StoreError], None], later: Later
    ) -> None:
        super().__init__(name="dragoman-store", daemon=True)
        self.path = path
        self.opened = Job(None, waited=True)
        self._tell = tell
        self._later = later
        self._queue: deque[Job] = deque()
        self._quiet = threading.Lock()
        """Held while this thread has nothing to do: it waits for it, and whoever has something for it lets it go."""
        self._quiet.acquire()
        self._gathers = False
        self._stopped = False
        self.is_through = False
        """Whether all that was queued is written, or cannot be: nothing is left but to close the file."""
        self._insists_until = -math.inf
        self._on_error = on_error
        self._reported = False
        self._server_id: int | None = None
        self.abandoned = Abandoned()
        self._tidies = True

    def put(self, record: Record, *, waited: bool) -> Job:
        """Queue a record."""
        job = Job(record, waited=waited)
        self._queue.append(job)
        if waited:
            self._wake()
        elif not self._gathers:
            self._gathers = True
            self._later(GATHER_S, self._gathered)
        return job

    def want(self, job: Job) -> None:
        """Somebody waits for a record that nobody waited for: write it now."""
        # Then it is looked whether it is done, which is set before it is looked whether somebody waits.
        job.waited = True
        self._wake()

    def insist(self) -> None:
        """From now on try again, and until `stop` says, what another program kept from being written."""
        self._insists_until = math.inf

    def stop(self, within_s: float = 0.0) -> None:
        """Queue the end; what another program keeps from being written is tried for so long."""
        self._insists_until = time.monotonic() + within_s
        self._stopped = True
        self._wake()

    def _gathered(self) -> None:
        self._gathers = False
        if self._queue:
            self._wake()

    def _wake(self) -> None:
        # Nobody else lets it go, so it cannot be free by then.
        if self._quiet.locked():
            self._quiet.release()

    def run(self) -> None:
        """The thread."""
        db = self._try_open()
        self._answer([self.opened])
        if db is not None:
            with contextlib.closing(db):
                self._serve(db)
                self.is_through = True

    def _try_open(self) -> sqlite3.Connection | None:
        try:
            return self._open()
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            self.opened.error = explain(self.path, error)
            return None

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            # By its path: closing a descriptor of the file would drop the locks other connections of ours have on it.
            if self.path.stat().st_mode & 0o077:
                self.path.chmod(0o600)
        db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous = NORMAL")
            if self.path.stat().st_size == 0:
                # Only a file without tables takes it: pages that are not needed any more can then be given back.
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            check_version(db, self.path)
            # First of all: what goes to a WAL does not wait for the disk, which may take a second each time.
            _switch_to_wal(db)
            migrate(db, self.path)
            db.execute("PRAGMA foreign_keys = ON")
            prepare_index(db)
            self.abandoned = take_stock_at_opening(db)
        except BaseException:
            db.close()
            raise
        return db

    def _serve(self, db: sqlite3.Connection) -> None:
        untidied = 0
        while not self._stopped or self._queue:
            was_woken = self._quiet.acquire(timeout=GATHER_S if untidied else -1)
            while batch := self._next_batch():
                self._commit(db, batch)
                self._answer(batch)
                untidied += len(batch)
            if not self._stopped and untidied and (not was_woken or untidied >= BATCH):
                self._tidy(db, all_of_it=True)
                untidied = 0
        if self._server_id is not None:
            self._tidy(db, all_of_it=False)
            # While another program holds the file, nobody waits for this thread.
            while _is_busy(self._leave(db, self._server_id)):
                pass

    def _leave(self, db: sqlite3.Connection, server_id: int) -> Exception | None:
        try:
            db.execute("BEGIN IMMEDIATE")
            leave(db, server_id)
            # The process may live on, but what it left is free to be taken over: no process began at 0.
            db.execute("UPDATE servers SET start_time = 0 WHERE id = ?", (server_id,))
            db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - what is left running is put right by the next one who opens the file
            return error
        return None

    def _next_batch(self) -> list[Job]:
        """What is to be written together."""
        return [self._queue.popleft() for _ in range(min(len(self._queue), BATCH))]

    def _tidy(self, db: sqlite3.Connection, *, all_of_it: bool) -> None:
        try:
            while self._tidies and tidy(db) and all_of_it and not self._queue:
                pass
        except Exception as error:  # noqa: BLE001 - nobody waits for it, and the next server may do better
            self._tidies = _is_busy(error)

    def _commit(self, db: sqlite3.Connection, batch: Sequence[Job]) -> None:
        while (error := self._try_to_commit(db, batch)) is not None:
            # At the end there is nobody who could do it later.
            if not (_is_busy(error) and time.monotonic() < self._insists_until):
                for job in batch:
                    job.error = job.error or explain(self.path, error)
                return

    def _try_to_commit(self, db: sqlite3.Connection, batch: Sequence[Job]) -> Exception | None:
        try:
            try:
                self._write(db, batch)
            except Exception:
                # A full disk or a damaged file ends the whole transaction, and every record of it fails.
                if not db.in_transaction:
                    raise
                db.execute("ROLLBACK")
                self._write(db, batch, apart=True)
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            with contextlib.suppress(Exception):  # SQLite may have rolled back by itself
                db.execute("ROLLBACK")
            return error
        return None

    def _write(self, db: sqlite3.Connection, batch: Sequence[Job], *, apart: bool = False) -> None:
        """Write a batch, all or nothing; `apart`: all but the records that do not fit."""
        db.execute("BEGIN IMMEDIATE")
        server_id = self._server_id or _register(db)
        for job in batch:
            assert job.record is not None  # noqa: S101 - only `opened` has none, and it is never queued
            if apart:
                self._write_apart(db, job, job.record, server_id)
            else:
                job.result = job.record.apply(db, server_id)
        db.execute("COMMIT")
        self._server_id = server_id

    def _write_apart(self, db: sqlite3.Connection, job: Job, record: Record, server_id: int) -> None:
        db.execute("SAVEPOINT record")
        try:
            job.result = record.apply(db, server_id)
        except Conflict as conflict:
            conflict.path = self.path
            db.execute("ROLLBACK TO record")
            job.error = conflict
        except Exception as error:
            if not db.in_transaction:
                raise
            db.execute("ROLLBACK TO record")
            job.error = StoreError(self.path, f"{record!r} was not kept: {error}", "please report this as a fault")
        db.execute("RELEASE record")

    def _answer(self, batch: Sequence[Job]) -> None:
        for job in batch:
            job.done, job.record = True, None
            if job.error is not None and not job.waited and not self._reported:
                self._reported = True
                with contextlib.suppress(Exception):  # a caller's fault must not end this thread
                    self._on_error(job.error)
        if any(job.waited for job in batch):
            with contextlib.suppress(Exception):  # the event loop is closed: nobody waits any more
                self._tell()


def _is_busy(error: Exception | None) -> bool:
    """Whether another program was in the way."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_BUSY"


def _switch_to_wal(db: sqlite3.Connection) -> None:
    """Two processes that open a new file at once: SQLite refuses this one switch at once instead of waiting."""
    import sqlite3

    give_up = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > give_up:
                raise
            time.sleep(0.005)  # SQLite waits for no other process here, and nothing tells
        else:
            return


def _register(db: sqlite3.Connection) -> int:
    row = db.execute(
        "INSERT INTO servers (pid, start_time, boot_id, pid_namespace) VALUES (?, ?, ?, ?)", astuple(Identity.own())
    )
    assert row.lastrowid is not None  # noqa: S101 - an insert has one
    return row.lastrowid
