"""Telling clients that the list of tools changed: a CLI was installed, or went.

Both eras of MCP are told: open ``subscriptions/listen`` streams of the one, every connection of the other. Looking
starts nothing; it asks the file system for a few dozen names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated, ToolsListChanged

from dragoman.log import logger

LOOK_S = 3.0
"""How often is looked while nobody asks anything."""
GAP_S = 0.5
"""The least time between two looks, however much is asked."""
TELL_S = 5.0
"""How long a client may take to be told; one that does not read is not told."""


class ToolChanges:
    """Watches what `look` gives, and tells every client when it is not the same any more.

    `page` is the address of the resource that shows the same. `sessions` has an entry for each open connection of the
    handshake era.
    """

    def __init__(self, look: Callable[[], Sequence[str]], page: str) -> None:
        self.bus = InMemorySubscriptionBus()
        self._look = look
        self._page = page
        self.sessions: set[ServerSession] = set()
        self._asked = anyio.Event()

    def announce(self, server: Server[Any]) -> None:
        """Have the server say in its handshake that it tells of changes; the SDK says so to modern clients only."""
        plain = server.create_initialization_options

        def changing(
            notification_options: NotificationOptions | None = None,
            *rest: Any,  # noqa: ANN401 - passed on
            **named: Any,  # noqa: ANN401 - passed on
        ) -> InitializationOptions:
            options = notification_options or NotificationOptions()
            options.tools_changed = True
            return plain(options, *rest, **named)

        server.create_initialization_options = changing

    async def remember(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware: note who connects, and have it looked when something is asked."""
        if ctx.method == "notifications/initialized":
            self.sessions.add(ctx.session)
            # A session is one message's; the connection behind it says when it ends, and the SDK hands it out nowhere.
            connection = ctx.session._connection  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - see above
            connection.exit_stack.callback(self.sessions.discard, ctx.session)
        self._asked.set()
        return await call_next(ctx)

    async def watch(self) -> None:
        """Look again and again, from the first client on. Never returns."""
        await self._asked.wait()
        known = self._look()
        while True:
            await anyio.sleep(GAP_S)
            with anyio.move_on_after(LOOK_S - GAP_S):
                await self._asked.wait()
            self._asked = anyio.Event()
            try:
                found = self._look()
            except Exception as error:  # noqa: BLE001 - a strange file on PATH must not end the server
                logger.opt(exception=error).error("the providers could not be looked for")
                continue
            if found != known:
                known = found
                await self._tell()

    async def _tell(self) -> None:
        await self.bus.publish(ToolsListChanged())
        await self.bus.publish(ResourceUpdated(uri=self._page))
        async with anyio.create_task_group() as telling:
            for session in self.sessions:
                telling.start_soon(self._tell_one, session)

    async def _tell_one(self, session: ServerSession) -> None:
        with anyio.move_on_after(TELL_S):
            await session.send_tool_list_changed()
