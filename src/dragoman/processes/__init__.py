"""Owning child processes and their streams. Knows no word of LLMs."""

import sys

from dragoman.processes.capture import Captured, capture
from dragoman.processes.child import Child, Command, Detached, Ended, SpawnError, StoppedBy
from dragoman.processes.framing import LineFramer, Tail
from dragoman.processes.private import KeptFolder, PrivateFolder, empty_folder, remove_abandoned
from dragoman.processes.sweep import LINEAGE, Leftover, sweep

if sys.platform == "win32":
    from dragoman.processes.windows import Spawner, adopt, read_end, remains, stop_detached
else:
    from dragoman.processes.detached import adopt, read_end, remains, stop_detached
    from dragoman.processes.spawner import Spawner

__all__ = [
    "LINEAGE",
    "Captured",
    "Child",
    "Command",
    "Detached",
    "Ended",
    "KeptFolder",
    "Leftover",
    "LineFramer",
    "PrivateFolder",
    "SpawnError",
    "Spawner",
    "StoppedBy",
    "Tail",
    "adopt",
    "capture",
    "empty_folder",
    "read_end",
    "remains",
    "remove_abandoned",
    "stop_detached",
    "sweep",
]
