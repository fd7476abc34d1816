"""``dragoman serve``."""

from __future__ import annotations

import gc
import sys

from dragoman.cli import output
from dragoman.cli.common import Common, Transport
from dragoman.cli.exits import OK, USAGE

WAITING = (
    "dragoman serves MCP over stdin and stdout and waits for a client; Ctrl-C ends it. Clients start it by themselves "
    f"once it is registered, such as: claude mcp add dragoman -- {sys.executable} -m dragoman serve"
)


def serve(common: Common, transport: Transport) -> int:
    """Serve until the client leaves."""
    # Thousands of model classes are built now and none of them is garbage; looking for some costs a tenth of the start.
    gc.disable()
    try:
        loaded = common.load(transport.overrides())
        chosen = loaded.configuration.server.transport
        if chosen != "stdio":
            output.complain(f"the transport {chosen!r} is not available yet")
            output.suggest("leave out --transport, or say --transport stdio")
            return USAGE
        common.warn(loaded)
        if sys.stdin.isatty():
            output.remark(WAITING)
        from dragoman.server import run

        gc.freeze()
    finally:
        gc.enable()
    run(loaded.configuration)
    return OK
