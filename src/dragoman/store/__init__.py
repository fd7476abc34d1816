"""What happened, kept in one SQLite file: calls, conversations, jobs.

Importing this imports nothing of it: a server starts without the store, which takes a tenth of its time. Whoever needs
it at once says ``from dragoman.store import ...``, the engine ``records.Name``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dragoman.store.names import *  # noqa: F403 - what it offers is said there, once


def __getattr__(name: str) -> object:
    names = import_module("dragoman.store.names")
    if name not in names.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals().update({each: getattr(names, each) for each in names.__all__})
    return globals()[name]
