"""``ask_<provider>``: one question to one provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp_types import CallToolResult, Tool

from dragoman.adapters.base import Profile
from dragoman.engine import Engine
from dragoman.server.callers import ToolCall
from dragoman.server.desk import JOB_TOOL, Desk
from dragoman.server.tools.base import PROVIDER_ARGUMENTS, WHOLE_ANSWERS, ServedTool, hints, max_wait, request_of, tool

ASK = "ask_"


class Ask(ServedTool):
    """A tool for every provider whose program is there."""

    takes_long = True

    def __init__(self, engine: Engine, desk: Desk) -> None:
        self._engine = engine
        self._desk = desk
        self._wait = max_wait(engine.configuration.server.max_wait_s)
        self._tools: dict[str, Tool] = {}

    def listed(self) -> Sequence[Tool]:
        return [self._tool(name) for name in self._engine.providers.present()]

    def find(self, name: str) -> Tool | None:
        provider = name.removeprefix(ASK)
        known = provider != name and provider in self._engine.providers.adapters
        return self._tool(provider) if known else None

    async def call(self, call: ToolCall) -> CallToolResult:
        return await self._desk.answer(request_of(call.tool.removeprefix(ASK), call.given), call)

    def _tool(self, provider: str) -> Tool:
        if provider not in self._tools:
            self._tools[provider] = self._made(provider)
        return self._tools[provider]

    def _made(self, provider: str) -> Tool:
        profile = self._engine.providers.adapters[provider].profile
        told = hints(profile)
        return tool(
            f"{ASK}{profile.name}",
            f"Ask {profile.title}",
            f"{profile.description}{' It changes nothing.' if told.read_only_hint else ''} "
            f'Slow: status "running" and a job_id for `{JOB_TOOL}`.',
            {"prompt": {"type": "string"}, **_arguments(profile), "max_wait_s": self._wait},
            told,
            required=("prompt",),
            meta=WHOLE_ANSWERS,
        )


def _arguments(profile: Profile) -> dict[str, Any]:
    """Those that this provider takes."""
    takes = {
        "model": profile.takes_model,
        "system_prompt": profile.takes_system_prompt,
        "cwd": profile.reads_folder,
        "effort": bool(profile.efforts),
        "temperature": profile.takes_temperature,
        "max_tokens": profile.takes_max_tokens,
        "background": profile.detaches,
    }
    arguments = {name: schema for name, schema in PROVIDER_ARGUMENTS.items() if takes.get(name, True)}
    if profile.efforts:
        arguments["effort"] = {**arguments["effort"], "enum": list(profile.efforts)}
    return arguments
