"""Why a client took a request back. One that ran out of patience has not lost interest in the answer."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

from dragoman.server.callers import session_of

HEARD_S = 0.05
"""How long the reason may come after the request was cancelled: the SDK tells of both in the same breath."""
REMEMBERED = 100

_TIME_RAN_OUT = re.compile(r"\btim(e|ed)[\s-]?out\b", re.IGNORECASE)
"""What the SDKs for TypeScript, Python and Rust write when a client's time limit ends a request."""


class Withdrawals:
    """The reasons that came with ``notifications/cancelled``."""

    def __init__(self) -> None:
        self._reasons: OrderedDict[tuple[str | None, str], str] = OrderedDict()
        self._heard = anyio.Event()

    async def hear(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware: note the reasons."""
        if ctx.method == "notifications/cancelled" and ctx.params is not None:
            self._reasons[session_of(ctx), str(ctx.params.get("requestId"))] = str(ctx.params.get("reason", ""))
            if len(self._reasons) > REMEMBERED:
                self._reasons.popitem(last=False)
            self._heard.set()
            self._heard = anyio.Event()
        return await call_next(ctx)

    async def time_ran_out(self, ctx: ServerRequestContext[Any, Any]) -> bool:
        """Whether a request that was just cancelled was so by its client's time limit."""
        key = (session_of(ctx), str(ctx.request_id))
        with anyio.CancelScope(shield=True), anyio.move_on_after(HEARD_S):
            while key not in self._reasons:
                await self._heard.wait()
        return _TIME_RAN_OUT.search(self._reasons.pop(key, "")) is not None
