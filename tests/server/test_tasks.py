"""The tasks extension: for a client that declares it, a call that takes long is a task, and a task is a job."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from dragoman.testing import FakeCli, Liveness
from tests.server.conftest import WHEN_IT_MATTERS, listening, make
from tests.server.results import DONE
from tests.server.web import Message, Web

pytestmark = pytest.mark.anyio

TASKS = "io.modelcontextprotocol/tasks"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
DECLARED: Message = {CAPABILITIES: {"extensions": {TASKS: {}}}}


@pytest.fixture
async def web(tmp_path: Path) -> AsyncGenerator[Web]:
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with listening(make(tmp_path, "streamable-http")) as url, Web(url, "auto") as web:
            yield web


async def ask(web: Web, method: str, meta: Message = DECLARED, **params: Any) -> Message:  # noqa: ANN401 - JSON
    """The answer to one request, result or error."""
    async with web.request(method, {**params, "_meta": meta}) as messages:
        return [message async for message in messages][-1]


async def started(web: Web, **arguments: Any) -> Message:  # noqa: ANN401 - JSON
    return (await ask(web, "tools/call", name="ask_fake", arguments={"prompt": "hi", **arguments}))["result"]


async def test_a_call_becomes_a_task_that_is_a_job_under_the_same_id(web: Web, cli: FakeCli) -> None:
    async with Liveness() as live:
        cli.script(live.connect(), {"wait": "gate"}, {"line": {"text": "Paris"}}, DONE)
        task = await started(web)
        assert (task["resultType"], task["status"], "content" in task) == ("task", "working", False)
        found = (await ask(web, "tasks/get", taskId=task["taskId"]))["result"]
        assert (found["resultType"], found["status"], "result" in found) == ("complete", "working", False)
        assert found["statusMessage"].startswith("fake is working")
        await live.connected()
        await live.release()
        await web.call("job", action="wait", job_id=task["taskId"])
        done = (await ask(web, "tasks/get", taskId=task["taskId"]))["result"]
        assert (done["status"], done["result"]["structuredContent"]["text"]) == ("completed", "Paris")
        assert found["lastUpdatedAt"] == found["createdAt"] == done["createdAt"] < done["lastUpdatedAt"]
        assert (await ask(web, "tasks/update", taskId=task["taskId"]))["result"]["resultType"] == "complete"


async def test_a_cancelled_task_ends_its_child(web: Web, cli: FakeCli) -> None:
    async with Liveness() as live:
        cli.script(live.connect(), {"pause": True})
        task = await started(web)
        await live.connected()
        for _ in range(2):
            ended = (await ask(web, "tasks/cancel", taskId=task["taskId"]))["result"]
            assert (ended["resultType"], "status" in ended) == ("complete", False)
        await live.all_gone()
        assert (await ask(web, "tasks/get", taskId=task["taskId"]))["result"]["status"] == "cancelled"


async def test_a_failure_of_the_provider_is_a_result_and_one_of_ours_a_failed_task(web: Web, cli: FakeCli) -> None:
    async def ended(code: str) -> Message:
        cli.script({"read": "all"}, {"line": {"error": {"code": code, "message": "why"}}})
        task = await started(web)
        await web.call("job", action="wait", job_id=task["taskId"])
        return (await ask(web, "tasks/get", taskId=task["taskId"]))["result"]

    quota, internal = await ended("quota"), await ended("internal")
    assert (quota["status"], quota["result"]["isError"]) == ("completed", True)
    assert (internal["status"], internal["error"]["code"], "result" in internal) == ("failed", -32603, False)


async def test_a_task_whose_server_went_away_tells_what_there_is_of_it(tmp_path: Path, cli: FakeCli) -> None:
    made = make(tmp_path, "streamable-http")
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with Liveness() as live:
            cli.script({"line": {"text": "Par"}}, live.connect(), {"pause": True})
            async with listening(made) as url, Web(url, "auto") as web:
                task = await started(web)
                await live.connected()
                result = {"action": "result", "job_id": task["taskId"]}
                while not (await web.call("job", **result))["structuredContent"]["text"]:
                    await anyio.lowlevel.checkpoint()
            await live.all_gone()
        async with listening(made) as url, Web(url, "auto") as web:
            broken_off = (await ask(web, "tasks/get", taskId=task["taskId"]))["result"]
            told = await web.call("job", **result)
    assert (broken_off["status"], told["structuredContent"]["status"]) == ("failed", "interrupted")
    assert broken_off["error"]["data"] == told["structuredContent"]
    assert broken_off["error"]["message"] == "\n\n".join(block["text"] for block in told["content"])
    assert "Par" in broken_off["error"]["message"]


async def test_without_the_extension_there_are_no_tasks(web: Web, cli: FakeCli) -> None:
    cli.script({"read": "all"}, {"line": {"text": "Paris"}}, DONE)
    plain = (await ask(web, "tools/call", {}, name="ask_fake", arguments={"prompt": "hi"}))["result"]
    assert (plain["structuredContent"]["text"], "taskId" in plain) == ("Paris", False)
    refused = (await ask(web, "tasks/get", {}, taskId=plain["structuredContent"]["call_id"]))["error"]
    assert refused["code"] == -32021
    assert refused["data"]["requiredCapabilities"]["extensions"] == {TASKS: {}}


async def test_what_is_quick_or_cannot_begin_is_no_task_and_an_unknown_one_is_refused(web: Web) -> None:
    listed = (await ask(web, "tools/call", name="job", arguments={"action": "list"}))["result"]
    assert listed["structuredContent"] == {"jobs": []}
    wrong = (await ask(web, "tools/call", name="ask_fake", arguments={"promt": "hi"}))["result"]
    assert (wrong["isError"], "taskId" in wrong) == (True, False)
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        assert (await ask(web, method, taskId="nope"))["error"]["code"] == -32602
    for method in ("tasks/result", "tasks/list"):
        assert (await ask(web, method, taskId="nope"))["error"]["code"] == -32601


async def test_a_client_of_the_handshake_era_gets_the_answer(tmp_path: Path, cli: FakeCli) -> None:
    cli.script({"read": "all"}, {"line": {"text": "Paris"}}, DONE)
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with listening(make(tmp_path, "streamable-http")) as url, Web(url, "legacy") as web:
            assert (await web.call("ask_fake", prompt="hi"))["structuredContent"]["text"] == "Paris"
            assert (await ask(web, "tasks/get", taskId="nope"))["error"]["code"] == -32601
