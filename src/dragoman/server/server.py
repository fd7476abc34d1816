"""The MCP server over an engine: its tools, and what each does."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from difflib import get_close_matches
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, Tool
from pydantic import ValidationError

from dragoman import __version__
from dragoman.engine import Call, Engine
from dragoman.schemas import ErrorCode, ErrorInfo, LLMError, LLMRequest, LLMResponse, error_from
from dragoman.server.arguments import check, wrong
from dragoman.server.changes import ToolChanges
from dragoman.server.departures import Departure, departure_of, stream
from dragoman.server.icon import ICON
from dragoman.server.progress import narrate
from dragoman.server.resources import ALL, add_resources
from dragoman.server.results import error_result, jobs_result, providers_result, reply_result
from dragoman.server.tools import ASK, INSTRUCTIONS, JOB, PROVIDERS, ask_tool, job_tool, providers_tool

PROMPT_SHOWN = 80
"""How many characters of its prompt tell one job from another."""


Lifespan = Callable[[MCPServer[Departure | None]], AbstractAsyncContextManager[Departure | None]]
RequestContext = Context[Departure | None, Any]


@asynccontextmanager
async def _connection(_: MCPServer[Departure | None]) -> AsyncGenerator[Departure | None]:
    yield stream.get()


class DragomanServer(MCPServer[Departure | None]):
    """Tools are told and called here and not through the SDK's registry, which drops unknown arguments silently.

    The engine is the caller's: open it around the server, since a lifespan ends with its connection on stdio and SSE.
    """

    def __init__(self, engine: Engine, lifespan: Lifespan = _connection) -> None:
        self._changes = ToolChanges(engine.providers.present, ALL)
        super().__init__(
            "dragoman",
            title="Dragoman",
            version=__version__,
            instructions=INSTRUCTIONS,
            icons=[ICON],
            log_level="WARNING",
            subscriptions=self._changes.bus,
            middleware=[self._changes.remember],
            lifespan=lifespan,
        )
        self._changes.announce(self._lowlevel_server)
        add_resources(self, engine)
        self._engine = engine
        self._max_wait_s = engine.configuration.server.max_wait_s
        self._jobs = engine.jobs

    async def watch(self) -> None:
        """Tell clients when a provider appears or goes. Never returns: run it beside the server."""
        await self._changes.watch()

    async def list_tools(self) -> list[Tool]:
        """A tool for every provider whose program is there, and the two that are always there. Starts no process."""
        adapters = self._engine.providers.adapters
        asks = [ask_tool(adapters[name].profile, self._max_wait_s) for name in self._engine.providers.present()]
        return [*asks, job_tool(self._max_wait_s), providers_tool()]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: RequestContext | None = None
    ) -> CallToolResult:
        """Do what a tool does. A failure is a result too, so that the model that called can read it."""
        try:
            if name == JOB:
                return await self._job(check(name, arguments, job_tool(None).input_schema), context)
            if name == PROVIDERS:
                deep = check(name, arguments, providers_tool().input_schema).get("deep", False)
                return providers_result(await self._engine.providers.statuses(deep=deep))
            return await self._ask(name, arguments, context)
        except LLMError as error:
            return error_result(error.info)

    async def _ask(self, name: str, arguments: Mapping[str, Any], context: RequestContext | None) -> CallToolResult:
        provider = name.removeprefix(ASK)
        adapter = self._engine.providers.adapters.get(provider)
        if adapter is None or provider == name:
            raise await self._unknown(name)
        given = check(name, arguments, ask_tool(adapter.profile, None).input_schema)
        call = self._engine.submit(_request(provider, given), face="mcp")
        departure = departure_of(context)
        try:
            reply = await self._wait(call, given.get("max_wait_s", self._max_wait_s), context, departure)
        except BaseException:
            # The client cancelled the request, or went away in a way that cancels it, and nobody was told of a job.
            if departure is None or not departure.cancelled:
                call.cancel()
            raise
        finally:
            if departure is not None and departure.gone.is_set():
                self._jobs.add(call)
        if reply is not None:
            return reply_result(reply)
        self._jobs.add(call)
        return reply_result(_running(call))

    async def _job(self, given: Mapping[str, Any], context: RequestContext | None) -> CallToolResult:
        if given["action"] == "list":
            return jobs_result([_listed(call) for call in self._jobs.here()])
        call = self._called(given.get("job_id"))
        if given["action"] == "cancel":
            call.cancel()
            await call.outcome()
        elif given["action"] == "wait":
            # Giving up this wait leaves the job alone: it was handed out, and others may wait for it.
            await self._wait(call, given.get("max_wait_s", self._max_wait_s), context)
        reply = call.reply
        return reply_result(_running(call) if reply is None else reply.model_copy(update={"job_id": call.id}))

    async def _wait(
        self,
        call: Call,
        max_wait_s: float | None,
        context: RequestContext | None,
        departure: Departure | None = None,
    ) -> LLMResponse | None:
        """The reply, or None when it is not there in time. Tells the client what happens meanwhile."""
        with anyio.move_on_after(max_wait_s):
            async with anyio.create_task_group() as telling:
                if context is not None:
                    telling.start_soon(narrate, call, context.report_progress)
                if departure is not None:
                    telling.start_soon(self._keep, call, departure)
                await call.outcome()
                telling.cancel_scope.cancel()
        return call.reply

    async def _keep(self, call: Call, departure: Departure) -> None:
        """Make a job of a call whose client goes away. It may still cancel the request, over another connection."""
        await departure.gone.wait()
        self._jobs.add(call)

    def _called(self, job_id: str | None) -> Call:
        if job_id is None:
            raise wrong("this action needs the argument 'job_id'", "give a job_id, or use action 'list' to see them")
        call = self._jobs.running_here(job_id)
        if call is None:
            raise error_from(
                ErrorInfo.of(
                    ErrorCode.NOT_FOUND,
                    f"there is no job {job_id!r}; jobs end with the server, and old answers are forgotten",
                    next_step="use action 'list' to see the jobs there are, or ask again",
                )
            )
        return call

    async def _unknown(self, name: str) -> Exception:
        known = [tool.name for tool in await self.list_tools()]
        nearest = get_close_matches(name, known, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        return error_from(
            ErrorInfo.of(
                ErrorCode.NOT_FOUND, f"there is no tool {name!r}{hint}", next_step=f"the tools are: {', '.join(known)}"
            )
        )


def _request(provider: str, given: Mapping[str, Any]) -> LLMRequest:
    fields = {key: given[key] for key in ("prompt", "model", "system_prompt", "cwd") if key in given}
    timeouts = {"call": given["timeout_s"]} if "timeout_s" in given else {}
    try:
        return LLMRequest.model_validate({"provider": provider, "timeouts": timeouts, **fields})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise wrong(
            f"{name}: {first['msg'].removeprefix('Value error, ')}", f"correct {name!r} and call again"
        ) from error


def _running(call: Call) -> LLMResponse:
    elapsed = time.monotonic() - call.created
    collect = (
        f"{call.request.provider} is still working ({elapsed:.0f} s so far). For the answer call the tool `{JOB}` with "
        f'action "wait" and job_id "{call.id}".'
    )
    return LLMResponse(
        status="running",
        provider=call.request.provider,
        duration_s=round(elapsed, 3),
        job_id=call.id,
        notices=(collect,),
        call_id=call.id,
    )


def _listed(call: Call) -> dict[str, Any]:
    prompt = " ".join(call.request.prompt.split())
    return {
        "job_id": call.id,
        "status": call.reply.status if call.reply else "running",
        "provider": call.request.provider,
        "age_s": round(time.monotonic() - call.created, 1),
        "prompt": prompt if len(prompt) <= PROMPT_SHOWN else f"{prompt[:PROMPT_SHOWN]}…",
    }
