"""The extension ``io.modelcontextprotocol/tasks``: for clients that know it, a call that takes long is a task.

A task is a job under another name, so it lives on disk, and any server of this machine can be asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    RequestParams,
    TextContent,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from dragoman.engine import Engine, Job
from dragoman.schemas import ErrorCode, LLMError, LLMResponse
from dragoman.server.callers import Callers
from dragoman.server.desk import Claim, claim, result_of

POLL_MS = 1000
NAME_HEADER = "mcp-name"

_ENDED = {"completed": "completed", "failed": "completed", "interrupted": "completed", "cancelled": "cancelled"}
"""A provider's failure is the result of a tool that ran; ``failed`` is for faults of this server."""


class TaskParams(RequestParams):
    """Which task."""

    task_id: str


class Tasks(Extension):
    """Turns the calls of tools that may take long into tasks, and serves what is asked about those."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self, engine: Engine, callers: Callers, takes_long: Callable[[str], bool]) -> None:
        self._engine = engine
        self._callers = callers
        self._takes_long = takes_long

    def methods(self) -> Sequence[MethodBinding]:
        """What a client may ask about a task."""
        modern = frozenset(MODERN_PROTOCOL_VERSIONS)
        return [
            MethodBinding("tasks/get", TaskParams, self._get, modern),
            MethodBinding("tasks/update", TaskParams, self._update, modern),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, modern),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Give a task instead of the answer, to a client that declared the extension with this request."""
        declared = ctx.session.client_capabilities and ctx.session.client_capabilities.extensions
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        if not modern or self.identifier not in (declared or {}) or not self._takes_long(params.name):
            return await call_next(ctx)
        claimed = Claim()
        token = claim.set(claimed)
        try:
            result = await call_next(ctx)
        finally:
            claim.reset(token)
        return result if claimed.job is None else {**_task(claimed.job, claimed.job.reply()), "resultType": "task"}

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        job = await self._find(ctx, params)
        reply = job.reply()
        task = _task(job, reply)
        if task["status"] in ("completed", "failed"):
            result = result_of(reply, self._callers.of(Context(request_context=ctx)))
            if task["status"] == "completed":
                task["result"] = result.model_dump(by_alias=True, mode="json", exclude_none=True)
            else:
                task["error"] = _error(result)
        return {**task, "resultType": "complete"}

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        # No task asks its client for anything, so no answer is waited for.
        await self._find(ctx, params)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        job = await self._find(ctx, params)
        if job.reply().status == "running":
            await job.cancel()
        return {"resultType": "complete"}

    async def _find(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> Job:
        require_client_extension(ctx, self.identifier)
        # Some clients send none for these methods.
        if ctx.request is not None and ctx.request.headers.get(NAME_HEADER, params.task_id) != params.task_id:
            raise MCPError(code=HEADER_MISMATCH, message=f"the header {NAME_HEADER} does not name the task")
        try:
            return await self._engine.jobs.find(params.task_id)
        except LLMError as error:
            raise MCPError(code=INVALID_PARAMS, message=error.message) from error


def _task(job: Job, reply: LLMResponse) -> dict[str, Any]:
    status = "working" if reply.status == "running" else _ENDED[reply.status]
    if reply.error is not None and reply.error.code is ErrorCode.INTERNAL:
        status = "failed"
    info = job.info
    task: dict[str, Any] = {
        "taskId": job.id,
        "status": status,
        "createdAt": _time(info.created_at),
        "lastUpdatedAt": _time(info.ended_at or info.created_at),
        "ttlMs": None,
        "pollIntervalMs": POLL_MS,
    }
    if status == "working":
        task["statusMessage"] = f"{info.provider or 'the provider'} is working ({reply.duration_s:.0f} s so far)"
    return task


def _error(result: CallToolResult) -> dict[str, Any]:
    """A result as a fault of this server. As in a result, a reader of either half has it all."""
    said = [block.text for block in result.content if isinstance(block, TextContent)]
    return {"code": INTERNAL_ERROR, "message": "\n\n".join(said), "data": result.structured_content}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
