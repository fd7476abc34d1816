"""The conformance suite's scenarios of the tasks extension, with the tools that it calls by name.

They are tools like ours: each asks a provider, whose program is a child that does what the prompt says.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver.server import require_client_extension
from mcp_types import CallToolResult, Tool, ToolAnnotations

from dragoman.engine import Engine
from dragoman.schemas import LLMRequest
from dragoman.server import server as module
from dragoman.server.callers import ToolCall
from dragoman.server.desk import Desk
from dragoman.server.results import lines_result
from dragoman.server.tasks import Tasks
from dragoman.server.tools import ServedTool, served_tools
from dragoman.server.tools.base import tool
from tests.real import toolchain
from tests.real.required import required
from tests.real.test_mcp_tools import run
from tests.server.conftest import listening, make

pytestmark = [pytest.mark.anyio, pytest.mark.real]

# It sleeps as long as the suite asks for.
PROGRAM = """\
import json, sys, time
prompt = json.loads(sys.stdin.readline())["prompt"]
kind, _, seconds = prompt.partition(" ")
time.sleep(float(seconds))  # as the question says
if kind != "compute":
    print(json.dumps({"error": {"code": kind, "message": "as it was told"}}))
else:
    print(json.dumps({"text": "computed"}))
    print(json.dumps({"done": {}}))
"""
SCENARIOS = (
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-required-task-error",
)
"""All but those in which a task asks its client for something, which ours never do."""


class Greeting(ServedTool):
    """Answers at once."""

    def listed(self) -> Sequence[Tool]:
        return [_tool("greet", {"name": {"type": "string"}})]

    async def call(self, call: ToolCall) -> CallToolResult:
        return lines_result([f"Hello, {call.given.get('name', 'you')}!"], {})


class Work(ServedTool):
    """Take long, succeed, fail and break."""

    takes_long = True

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def listed(self) -> Sequence[Tool]:
        slow = {"seconds": {"type": "number"}, "label": {"type": "string"}}
        return [_tool("slow_compute", slow), _tool("failing_job", {}), _tool("protocol_error_job", {})]

    async def call(self, call: ToolCall) -> CallToolResult:
        match call.tool:
            case "slow_compute":
                prompt = f"compute {call.given.get('seconds', 0)}"
            case "failing_job":
                assert call.caller.context is not None
                require_client_extension(call.caller.context.request_context, Tasks.identifier)
                prompt = "quota 1"
            case _:
                prompt = "internal 0"
        return await self._desk.answer(LLMRequest(prompt=prompt, provider="fake"), call)


def _tool(name: str, properties: Mapping[str, Any]) -> Tool:
    return tool(name, name, "For the conformance suite.", properties, ToolAnnotations(read_only_hint=True))


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_scenarios_of_the_tasks_extension_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: str
) -> None:
    suite = required(toolchain.conformance)
    for name in ("bin", "home", "work"):
        (tmp_path / name).mkdir()
    program = tmp_path / "bin" / "dragoman-fake"
    program.write_text(f"#!{sys.executable}\n{PROGRAM}", "utf-8")
    program.chmod(0o755)

    def with_fixtures(engine: Engine, desk: Desk) -> Sequence[ServedTool]:
        return (*served_tools(engine, desk), Greeting(), Work(desk))

    monkeypatch.setattr(module, "served_tools", with_fixtures)
    async with listening(make(tmp_path, "streamable-http")) as url:
        judged = await run(
            tmp_path, suite, "server", "--url", url, "--scenario", scenario, "--spec-version", "2026-07-28", "--force"
        )
    said = judged.stdout.decode()
    assert judged.returncode == 0, said
    assert re.search(r"Passed: ([1-9]\d*)/\1, 0 failed", said), said
