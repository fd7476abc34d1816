"""A client whose connection breaks has not cancelled what it asked, in the era of the `initialize` handshake.

There `notifications/cancelled` alone ends a request; so the call goes on, as a job that can be collected over another
connection. (Since 2026-07-28 a client cancels by ending the connection, and over stdin it always did.)
"""

from __future__ import annotations

import secrets
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_KEY = "dragoman.departure"


@dataclass(frozen=True)
class Departure:
    """The end of the connection that a request came over, or will be answered over."""

    carries_others: bool = False
    """The requests of other connections are answered over this one. The SDK cancels them with it."""
    gone: anyio.Event = field(default_factory=anyio.Event)
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def cancelled(self) -> bool:
        """A request that was just cancelled was so by the departure, and not by its client."""
        return self.carries_others and self.gone.is_set()


stream: ContextVar[Departure | None] = ContextVar("stream", default=None)
"""The departure of the SSE stream that is being opened. For the server's lifespan, which begins with such a stream."""


class Departures:
    """ASGI middleware that notes when a client goes away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        departure = Departure(carries_others=scope["method"] == "GET")

        async def watched() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                departure.gone.set()
            return message

        stream.set(departure)
        await self._app({**scope, _KEY: departure}, watched, send)


def departure_of(request: ServerRequestContext[Departure | None, Any] | None) -> Departure | None:
    """What to heed for a request; None when its connection's end is its own."""
    if request is None or request.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
        return None
    return request.lifespan_context or (request.request.scope.get(_KEY) if request.request else None)
