"""A client over HTTP whose connection breaks, and one that cancels."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
from mcp.client import Client
from mcp.client.sse import sse_client

from dragoman.testing import FakeCli, Liveness
from tests.server.conftest import WHEN_IT_MATTERS, listening, make
from tests.server.results import DONE, structured, texts
from tests.server.web import Message, Web

pytestmark = pytest.mark.anyio

HTTP = ("sse", "streamable-http")


@pytest.fixture(params=HTTP)
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def url(tmp_path: Path, transport: str) -> AsyncGenerator[str]:
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with listening(make(tmp_path, transport)) as url:
            yield url


def client_of(url: str) -> Client:
    return Client(sse_client(url) if url.endswith("/sse") else url)


async def job(client: Client, **arguments: str) -> Message:
    return structured(await client.call_tool("job", arguments))


async def test_a_broken_connection_of_the_handshake_era_leaves_a_job_that_others_can_collect(
    url: str, cli: FakeCli
) -> None:
    async with Liveness() as live, client_of(url) as other:
        cli.script(live.connect(), {"line": {"text": "Par"}}, {"wait": "gate"}, {"line": {"text": "is"}}, DONE)
        async with Web(url, "legacy") as web, web.asking("ask_fake", prompt="the capital"):
            await live.connected()
        jobs = (await job(other, action="list"))["jobs"]
        assert (jobs[0]["status"], jobs[0]["prompt"]) == ("running", "the capital")
        await live.release()
        answer = await other.call_tool("job", {"action": "wait", "job_id": jobs[0]["job_id"]})
        assert texts(answer)[0] == "Paris"
        assert cli.starts == 1


async def test_a_broken_connection_since_2026_07_28_ends_the_child_and_its_job(url: str, cli: FakeCli) -> None:
    async with Liveness() as live, client_of(url) as other:
        cli.script(live.connect(), {"pause": True})
        async with Web(url, "auto") as web, web.asking("ask_fake", prompt="hi"):
            await live.connected()
        await live.all_gone()
        [ended] = (await job(other, action="list"))["jobs"]
        # Its child is gone a moment before its turn is written down.
        assert (await job(other, action="wait", job_id=ended["job_id"]))["status"] == "cancelled"


async def test_a_cancel_ends_the_child_also_when_the_connection_broke_before_it(url: str, cli: FakeCli) -> None:
    async with Liveness() as live:
        cli.script(live.connect(), {"pause": True})
        async with Web(url, "legacy") as web:
            async with web.asking("ask_fake", prompt="hi"):
                await live.connected()
            await web.cancel_last()
            await live.all_gone()


@pytest.mark.parametrize("transport", ["streamable-http"])
async def test_a_client_that_says_goodbye_ends_the_child(url: str, cli: FakeCli) -> None:
    async with Liveness() as live, Web(url, "legacy") as web:
        cli.script(live.connect(), {"pause": True})
        async with web.asking("ask_fake", prompt="hi"):
            await live.connected()
            await web.leave()
            await live.all_gone()


async def test_progress_and_the_answer_come_over_the_same_connection(url: str, cli: FakeCli, mode: str) -> None:
    async with Liveness() as live, Web(url, mode) as web:
        cli.script(live.connect(), {"wait": "gate"}, {"line": {"text": "Paris"}}, DONE)
        async with web.asking("ask_fake", prompt="hi") as messages:
            received = [await anext(messages)]
            await live.connected()
            await live.release()
            received += [message async for message in messages]
    *progress, answer = received
    assert {message["method"] for message in progress} == {"notifications/progress"}
    assert {message["params"]["progressToken"] for message in progress} == {"p"}
    assert answer["result"]["structuredContent"]["text"] == "Paris"
