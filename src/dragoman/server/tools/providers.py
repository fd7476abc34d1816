"""``providers``: who can be asked."""

from __future__ import annotations

from collections.abc import Sequence

from mcp_types import CallToolResult, Tool, ToolAnnotations

from dragoman.engine import Engine
from dragoman.server.callers import ToolCall
from dragoman.server.results import providers_result
from dragoman.server.tools.base import ServedTool, tool


class Providers(ServedTool):
    """Every one that Dragoman knows."""

    def __init__(self, engine: Engine) -> None:
        self._providers = engine.providers
        self._tool = tool(
            "providers",
            "Providers",
            "Which LLM CLIs are on this machine, whether each is ready, and what to do when it is not.",
            {"deep": {"type": "boolean", "description": "Run each CLI for its version and ask for its login anew."}},
            ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False),
        )

    def listed(self) -> Sequence[Tool]:
        return [self._tool]

    async def call(self, call: ToolCall) -> CallToolResult:
        return providers_result(await self._providers.statuses(deep=call.given.get("deep", False)))
