"""Connections that read: they never write and take no lock that a writer waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dragoman.store.errors import StoreError, explain

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")


class Reader:
    """A connection of its own, for one thread at a time; it is opened by the first read.

    Short reads take some microseconds: what they need stands in pages that SQLite keeps in memory. `patience_s` is how
    long a read waits for a program that locked the file as a whole.
    """

    def __init__(self, path: Path, patience_s: float) -> None:
        self._path = path
        self._patience_s = patience_s
        self._db: sqlite3.Connection | None = None
        self._turn = threading.Lock()
        self._closed = False

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What `query` finds; all that it reads is of one moment.

        Raises:
            StoreError: it cannot be read.
        """
        import sqlite3

        with self._turn:
            try:
                db = self._db = self._db or self._connect()
                db.execute("BEGIN")
                try:
                    return query(db)
                finally:
                    db.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise explain(self._path, error) from error

    def version(self) -> int:
        """A number that is another one after any other connection changed the file.

        Raises:
            StoreError: it cannot be read.
        """
        import sqlite3

        with self._turn:
            try:
                db = self._db = self._db or self._connect()
                version: int = db.execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.Error as error:
                raise explain(self._path, error) from error
            return version

    def close(self, within_s: float | None = None) -> None:
        """Close the connection; waits for the read that is under way, or so long, and then leaves it to that."""
        self._closed = True
        if self._turn.acquire(timeout=-1 if within_s is None else within_s):
            try:
                if self._db is not None:
                    self._db.close()
                    self._db = None
            finally:
                self._turn.release()

    def _connect(self) -> sqlite3.Connection:
        import sqlite3

        if self._closed:  # by another thread, while this read waited for its turn
            raise StoreError(self._path, "the store is closed", "open it again")
        return sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=self._patience_s,
            isolation_level=None,
            check_same_thread=False,
        )
