"""MCP clients on this machine: putting Dragoman into their configuration. Importing this imports little."""

from dragoman.clients.known import CLIENTS, Client, Place
from dragoman.clients.setup import (
    Change,
    NameRefusedError,
    SetupError,
    compile_bytecode,
    config_file,
    here,
    install,
    own_command,
    uninstall,
)

__all__ = [
    "CLIENTS",
    "Change",
    "Client",
    "NameRefusedError",
    "Place",
    "SetupError",
    "compile_bytecode",
    "config_file",
    "here",
    "install",
    "own_command",
    "uninstall",
]
