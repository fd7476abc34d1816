"""Circuit breakers as every process of this machine sees them: one row for each, changed by one process at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dragoman.store.errors import explain

if TYPE_CHECKING:
    import sqlite3


class CircuitKey(NamedTuple):
    """What a circuit breaker is of. ``model`` is empty where the provider chooses."""

    provider: str
    account: str
    model: str


@dataclass(frozen=True, slots=True)
class CircuitRow:
    """A circuit as it stands in the file."""

    key: CircuitKey
    version: int
    """Higher with every change."""
    circuit: str


@dataclass(frozen=True, slots=True)
class CircuitChanged:
    """Something happened that changes a circuit, whatever other processes made of it meanwhile.

    ``change`` is called in the writer's thread with the version that it makes and what stands in the file, or None;
    what it returns is written.
    """

    key: CircuitKey
    change: Callable[[int, str | None], str]

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:  # noqa: ARG002 - a circuit is everyone's
        """The row as `change` makes it."""
        row = db.execute(f"{_SELECT} WHERE provider = ? AND account = ? AND model = ?", self.key).fetchone()
        version, circuit = (row[3], row[4]) if row else (0, None)
        db.execute(
            "INSERT OR REPLACE INTO circuits (provider, account, model, version, circuit) VALUES (?, ?, ?, ?, ?)",
            (*self.key, version + 1, self.change(version + 1, circuit)),
        )


_SELECT = "SELECT provider, account, model, version, circuit FROM circuits"


class CircuitReader:
    """Reads circuits by a connection of its own, which never writes and waits for nobody.

    A read takes some microseconds: it is one row of a page that SQLite keeps in memory. Use it in one thread.
    """

    def __init__(self, path: Path) -> None:
        import sqlite3

        try:
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0, isolation_level=None)
        except sqlite3.Error as error:
            raise explain(path, error) from error
        self._path = path
        self._error = sqlite3.Error

    def get(self, key: CircuitKey) -> CircuitRow | None:
        """The circuit of a key, if there is one.

        Raises:
            StoreError: it cannot be read.
        """
        rows = self._read(f"{_SELECT} WHERE provider = ? AND account = ? AND model = ?", key)
        return rows[0] if rows else None

    def all(self) -> list[CircuitRow]:
        """Every circuit.

        Raises:
            StoreError: it cannot be read.
        """
        return self._read(_SELECT, ())

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _read(self, query: str, values: tuple[str, ...]) -> list[CircuitRow]:
        try:
            rows = self._db.execute(query, values).fetchall()
        except self._error as error:
            raise explain(self._path, error) from error
        return [CircuitRow(CircuitKey(*key), version, circuit) for *key, version, circuit in rows]
