"""Owning child processes and their streams. Knows no word of LLMs."""

import sys

from dragoman.processes.capture import Captured, capture
from dragoman.processes.child import Child, Command, SpawnError
from dragoman.processes.framing import LineFramer, Tail
from dragoman.processes.private import PrivateFolder, empty_folder
from dragoman.processes.sweep import Leftover, sweep

if sys.platform == "win32":
    from dragoman.processes.windows import Spawner
else:
    from dragoman.processes.spawner import Spawner

__all__ = [
    "Captured",
    "Child",
    "Command",
    "Leftover",
    "LineFramer",
    "PrivateFolder",
    "SpawnError",
    "Spawner",
    "Tail",
    "capture",
    "empty_folder",
    "sweep",
]
