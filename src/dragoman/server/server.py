"""The MCP server over an engine."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from difflib import get_close_matches
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import server as sdk
from mcp.server.stdio import stdio_server
from mcp_types import CallToolResult, GetPromptResult, InputRequiredResult, Tool

from dragoman import __version__
from dragoman.engine import Engine
from dragoman.schemas import ErrorCode, LLMError, error_of
from dragoman.server.arguments import check
from dragoman.server.callers import Callers, RequestContext, ToolCall
from dragoman.server.changes import ToolChanges
from dragoman.server.completions import add_completions
from dragoman.server.departures import Departure, stream
from dragoman.server.desk import Desk
from dragoman.server.icon import ICON
from dragoman.server.prompts import add_prompts, invalid
from dragoman.server.resources import PROVIDERS, add_resources
from dragoman.server.results import error_result
from dragoman.server.tasks import Tasks
from dragoman.server.tools import INSTRUCTIONS, ServedTool, served_tools
from dragoman.server.unreadable import Answered
from dragoman.server.withdrawals import Withdrawals

Lifespan = Callable[[MCPServer[Departure | None]], AbstractAsyncContextManager[Departure | None]]


@asynccontextmanager
async def _connection(_: MCPServer[Departure | None]) -> AsyncGenerator[Departure | None]:
    yield stream.get()


@contextmanager
def _log_of_ours() -> Generator[None]:
    """The SDK would set up a log, which is there already, and import Rich for it: a thirtieth of the start."""
    names = sdk.__dict__
    configure = names["configure_logging"]
    names["configure_logging"] = lambda _level="INFO": None
    try:
        yield
    finally:
        names["configure_logging"] = configure


class DragomanServer(MCPServer[Departure | None]):
    """Tools are told and called here and not through the SDK's registry, which drops unknown arguments silently.

    The engine is the caller's: open it around the server, since a lifespan ends with its connection on stdio and SSE.
    """

    def __init__(self, engine: Engine, lifespan: Lifespan = _connection) -> None:
        self._callers = Callers(engine.configuration.server, secrets.token_hex(8))
        withdrawals = Withdrawals()
        self._served = served_tools(engine, Desk(engine, withdrawals))
        self._changes = ToolChanges(engine.providers.present, PROVIDERS)
        with _log_of_ours():
            super().__init__(
                "dragoman",
                title="Dragoman",
                version=__version__,
                instructions=INSTRUCTIONS,
                icons=[ICON],
                log_level="WARNING",
                subscriptions=self._changes.bus,
                extensions=[Tasks(engine, self._callers, self._takes_long)],
                middleware=[self._changes.remember, withdrawals.hear],
                lifespan=lifespan,
            )
        self._changes.announce(self._lowlevel_server)
        add_resources(self, engine, self._callers)
        add_prompts(self, engine)
        add_completions(self, engine)

    async def watch(self) -> None:
        """Tell clients when a provider appears or goes. Never returns: run it beside the server."""
        await self._changes.watch()

    async def run_lines(
        self, stdin: anyio.AsyncFile[str] | None = None, stdout: anyio.AsyncFile[str] | None = None
    ) -> None:
        """Serve one client over these, which are the caller's to keep for it; None: standard input and output."""
        async with stdio_server(stdin, stdout) as (read, write):
            options = self._lowlevel_server.create_initialization_options()
            await self._lowlevel_server.run(Answered(read, write), write, options)

    async def list_tools(self) -> list[Tool]:
        """A tool for every provider whose program is there, and those that are always there. Starts no process."""
        return [tool for served in self._served for tool in served.listed()]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: RequestContext | None = None
    ) -> CallToolResult:
        """Do what a tool does. A failure is a result too, so that the model that called can read it."""
        caller = self._callers.of(context)
        try:
            served, tool = self._find(name) or (None, None)
            if served is None or tool is None:
                raise await self._unknown(name)
            given = check(name, arguments, tool.input_schema)
            return await served.call(ToolCall(name, given, caller))
        except LLMError as error:
            return error_result(error.info, caller.answer_bytes)

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: RequestContext | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """What the person's agent is to do.

        Raises:
            MCPError: there is no such prompt, or it lacks an argument. To the SDK that would be a fault of ours.
        """
        prompts = {prompt.name: prompt for prompt in await self.list_prompts()}
        if name not in prompts:
            raise invalid(f"there is no prompt {name!r}; choose one of: {', '.join(prompts)}")
        for argument in prompts[name].arguments or ():
            if argument.required and argument.name not in (arguments or {}):
                raise invalid(f"the prompt {name!r} needs the argument {argument.name!r}: {argument.description}")
        return await super().get_prompt(name, arguments, context)

    def _find(self, name: str) -> tuple[ServedTool, Tool] | None:
        return next(((served, tool) for served in self._served if (tool := served.find(name))), None)

    def _takes_long(self, name: str) -> bool:
        found = self._find(name)
        return found is not None and found[0].takes_long

    async def _unknown(self, name: str) -> Exception:
        known = [tool.name for tool in await self.list_tools()]
        nearest = get_close_matches(name, known, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        return error_of(
            ErrorCode.NOT_FOUND, f"there is no tool {name!r}{hint}", next_step=f"the tools are: {', '.join(known)}"
        )
