"""The MCP face: every provider of this machine as a tool, over stdin and stdout."""

from dragoman.server.server import DragomanServer
from dragoman.server.stdio import run, serve_stdio

__all__ = ["DragomanServer", "run", "serve_stdio"]
