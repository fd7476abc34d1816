"""``dragoman serve``."""

from __future__ import annotations

import gc
import sys

from dragoman.cli import output
from dragoman.cli.common import Common, Transport
from dragoman.cli.exits import FAILURE, USAGE

WAITING = (
    "dragoman serves MCP over stdin and stdout and waits for a client; Ctrl-C ends it. Clients start it by themselves "
    "once it is registered, such as: dragoman install claude-code"
)


def serve(common: Common, transport: Transport) -> int:
    """Serve until the client leaves, or over HTTP until a signal to stop comes."""
    # Thousands of model classes are built now and none of them is garbage; looking for some costs a tenth of the start.
    gc.disable()
    try:
        loaded = common.load(transport.overrides())
        common.warn(loaded)
        if loaded.configuration.server.transport == "stdio" and sys.stdin.isatty():
            output.remark(WAITING)
        from dragoman.server import HostRefusedError, ListenError, address_of, run

        gc.freeze()
    finally:
        gc.enable()
    try:
        if transport.host is not None:
            address_of(transport.host)  # over stdio nobody else would say that it cannot be
        return run(loaded.configuration, ready=_tell)
    except ListenError as error:
        output.complain(str(error))
        output.suggest(error.next_step)
        return USAGE if isinstance(error, HostRefusedError) else FAILURE


def _tell(url: str) -> None:
    output.remark(f"dragoman serves MCP at {url} (Ctrl-C ends it)")
