"""The MCP face: every provider of this machine as a tool, over stdin and stdout or over HTTP."""

from dragoman.server.listening import HostRefusedError, ListenError, address_of
from dragoman.server.running import run
from dragoman.server.server import DragomanServer
from dragoman.server.stdio import serve_stdio

__all__ = ["DragomanServer", "HostRefusedError", "ListenError", "address_of", "run", "serve_stdio"]
