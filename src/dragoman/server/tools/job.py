"""``job``: answers that took longer than a client waits."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mcp_types import CallToolResult, Tool, ToolAnnotations

from dragoman.engine import Engine
from dragoman.schemas import JobInfo
from dragoman.server.arguments import needed
from dragoman.server.callers import ToolCall
from dragoman.server.desk import JOB_TOOL, Desk, result_of
from dragoman.server.lists import list_result, page_size, shortened
from dragoman.server.tools.base import WHOLE_ANSWERS, ServedTool, max_wait, tool

ENTRY_BYTES = 450
"""What a job takes in a list at most; most take less."""


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
            page, size = given.get("page", 1), page_size(caller.answer_bytes, ENTRY_BYTES)
            jobs = [shortened(job, ("prompt",), ENTRY_BYTES) for job in await self._jobs.listed(size, page=page)]
            is_last = len(jobs) < size or not await self._jobs.listed(1, page=size * page + 1)
            return list_result("jobs", jobs, _lines(jobs), page, is_last=is_last)
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


def _lines(jobs: Sequence[JobInfo]) -> list[str]:
    now = time.time()
    return [
        f"{job.job_id}  {job.status}  {job.provider or '-'}  {now - job.created_at:.0f} s ago  {job.prompt}"
        for job in jobs
    ]
