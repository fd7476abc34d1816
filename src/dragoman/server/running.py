"""Serving in an event loop of its own, over the transport that is configured."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from dragoman.config import Configuration
from dragoman.log import setup_logging
from dragoman.server.stdio import serve_stdio


def run(configuration: Configuration, ready: Callable[[str], None] | None = None) -> int:
    """Serve until the client closes stdin, or over HTTP until a signal to stop comes; the exit code of the process.

    Over HTTP `ready` is called with the URL once clients can connect. Over stdio the process ends in here after a
    signal.

    Raises:
        ListenError: the address cannot be listened on.
    """
    log = configuration.log
    # Before the SDK does it in its own way.
    setup_logging(log.level, json=log.as_json, file=log.file)
    if configuration.server.transport == "stdio":
        anyio.run(serve_stdio, configuration)
        return 0
    # A server over stdio is waited for, and needs none of this.
    from dragoman.server.http import serve_http

    return anyio.run(serve_http, configuration, ready)
