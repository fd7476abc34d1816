"""Circuit breakers as every process of this machine sees them: one row for each, changed by one process at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

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


def read_circuit(db: sqlite3.Connection, key: CircuitKey) -> CircuitRow | None:
    """The circuit of a key, if there is one."""
    row = db.execute(f"{_SELECT} WHERE provider = ? AND account = ? AND model = ?", key).fetchone()
    return _circuit(row) if row else None


def read_circuits(db: sqlite3.Connection) -> list[CircuitRow]:
    """Every circuit."""
    return [_circuit(row) for row in db.execute(_SELECT)]


def _circuit(row: tuple[str, str, str, int, str]) -> CircuitRow:
    *key, version, circuit = row
    return CircuitRow(CircuitKey(*key), version, circuit)
