"""What happened, kept in one SQLite file: calls, their tokens, processes. Importing this does not import SQLite."""

from dragoman.store.circuits import CircuitChanged, CircuitKey, CircuitRow
from dragoman.store.errors import StoreError
from dragoman.store.records import CallEnded, CallStarted, Orphan, OrphansEnded, ProcessEnded, ProcessStarted, Record
from dragoman.store.stats import ProviderStats
from dragoman.store.store import Store, open_store

__all__ = [
    "CallEnded",
    "CallStarted",
    "CircuitChanged",
    "CircuitKey",
    "CircuitRow",
    "Orphan",
    "OrphansEnded",
    "ProcessEnded",
    "ProcessStarted",
    "ProviderStats",
    "Record",
    "Store",
    "StoreError",
    "open_store",
]
