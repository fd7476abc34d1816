"""The floor: an `MCPServer` with one tool that does nothing; with `--with-dependencies` it imports what we need."""

import sys

if "--with-dependencies" in sys.argv:
    import loguru
    import platformdirs
    import pydantic
    import tenacity
    import typer

    assert all((loguru, platformdirs, pydantic, tenacity, typer))

from mcp.server import MCPServer

server = MCPServer("empty", log_level="WARNING")


@server.tool()
async def noop() -> str:
    """Do nothing."""
    return "done"


if __name__ == "__main__":
    server.run("stdio")
