"""``job``: answers that took longer than a client waits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from mcp_types import CallToolResult, Tool, ToolAnnotations

from dragoman.engine import Engine
from dragoman.schemas import JobInfo
from dragoman.server.arguments import needed
from dragoman.server.callers import ToolCall
from dragoman.server.desk import JOB_TOOL, Desk, result_of
from dragoman.server.results import lines_result
from dragoman.server.tools.base import WHOLE_ANSWERS, ServedTool, max_wait, tool

LISTED = 50


class Jobs(ServedTool):
    """Whichever server of this machine started them."""

    def __init__(self, engine: Engine, desk: Desk) -> None:
        self._jobs = engine.jobs
        self._desk = desk
        self._tool = tool(
            JOB_TOOL,
            "Jobs",
            "Answers that took longer than max_wait_s. wait: until the answer is there; result: what there is now, or "
            "another page of a long answer; cancel: end the job; list: the latest jobs, by page.",
            {
                "action": {"type": "string", "enum": ["wait", "result", "cancel", "list"]},
                "job_id": {"type": "string", "description": "For every action but list."},
                "max_wait_s": max_wait(engine.configuration.server.max_wait_s),
                "page": {"type": "integer", "minimum": 1},
            },
            # Not read-only: `cancel` throws away what was not answered yet.
            ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False),
            required=("action",),
            meta=WHOLE_ANSWERS,
        )

    def listed(self) -> Sequence[Tool]:
        return [self._tool]

    async def call(self, call: ToolCall) -> CallToolResult:
        given, caller, action = call.given, call.caller, call.given["action"]
        if action == "list":
            page = given.get("page", 1)
            return _list(await self._jobs.listed(LISTED, page=page), page)
        job = await self._jobs.find(needed(given, "job_id", "use action 'list' to see them"))
        match action:
            case "cancel":
                reply = await job.cancel()
            case "wait":
                # Giving up this wait leaves the job alone: it was handed out, and others may wait for it.
                reply = await self._desk.wait(job, caller.wait_s(given.get("max_wait_s")), caller)
            case _:
                reply = await job.so_far()
        return result_of(reply, caller, given.get("page", 1))


def _list(jobs: Sequence[JobInfo], page: int) -> CallToolResult:
    now = time.time()
    listed = [job.model_dump(mode="json", exclude_none=True) for job in jobs]
    lines = [
        f"{job.job_id}  {job.status}  {job.provider or '-'}  {now - job.created_at:.0f} s ago  {job.prompt}"
        for job in jobs
    ] or [f"There are no {'more ' if page > 1 else ''}jobs."]
    facts: dict[str, Any] = {"jobs": listed}
    if len(jobs) == LISTED:
        facts["next_page"] = page + 1
        lines.append(f"More: page {page + 1}.")
    return lines_result(lines, facts)
