"""Telling clients that the list of tools changed: a CLI was installed, or went.

Both eras of MCP are told: open ``subscriptions/listen`` streams of the one, every connection of the other. Looking
starts nothing; it asks the file system for a few dozen names.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ToolsListChanged

from dragoman.log import logger

LOOK_S = 3.0
"""How often is looked while a client is there."""
TELL_S = 1.0
CONNECTIONS = 1000
"""How many connections of the handshake era are remembered; the SDK does not say when one ends."""


class ToolChanges:
    """Watches what `look` gives, and tells every client when it is not the same any more."""

    def __init__(self, look: Callable[[], Sequence[str]]) -> None:
        self.bus = InMemorySubscriptionBus()
        self._look = look
        self._sessions: deque[ServerSession] = deque(maxlen=CONNECTIONS)
        self._arrived = anyio.Event()

    def announce(self, server: Server[Any]) -> None:
        """Have the server say in its handshake that it tells of changes; the SDK says so to modern clients only."""
        plain = server.create_initialization_options

        def changing(notification_options: NotificationOptions | None = None, *rest: Any, **named: Any) -> Any:  # noqa: ANN401
            options = notification_options or NotificationOptions()
            options.tools_changed = True
            return plain(options, *rest, **named)

        server.create_initialization_options = changing

    async def remember(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware: note who connects."""
        if ctx.method == "notifications/initialized":
            self._sessions.append(ctx.session)
        self._arrived.set()
        return await call_next(ctx)

    async def watch(self) -> None:
        """Look again and again, from the first client on. Never returns."""
        await self._arrived.wait()
        known = self._look()
        while True:
            await anyio.sleep(LOOK_S)
            found = self._look()
            if found != known:
                known = found
                await self._tell()

    async def _tell(self) -> None:
        await self.bus.publish(ToolsListChanged())
        async with anyio.create_task_group() as telling:
            for session in list(self._sessions):
                telling.start_soon(self._tell_one, session)

    async def _tell_one(self, session: ServerSession) -> None:
        try:
            # One client that does not read must not keep the news from itself for ever, nor from the others.
            with anyio.fail_after(TELL_S):
                await session.send_tool_list_changed()
        except Exception as error:  # noqa: BLE001 - each transport has its own way to say that a client is gone
            logger.debug("a client that is gone was not told of new tools: {!r}", error)
            self._sessions.remove(session)
