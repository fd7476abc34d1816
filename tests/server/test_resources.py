"""The pages a client may read."""

import json
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from dragoman.testing import FakeAdapter, FakeCli
from tests.server.conftest import Connect
from tests.server.results import DONE, structured, texts

pytestmark = pytest.mark.anyio

VERSION = "1.2.3"
"""What a fake CLI says."""


async def page(client: Any, uri: str) -> Any:  # noqa: ANN401 - JSON
    [content] = (await client.read_resource(uri)).contents
    assert content.mime_type == "application/json"
    return json.loads(content.text)


async def test_the_page_of_all_providers_and_the_page_of_one(connect: Connect, cli: FakeCli) -> None:
    cli.script({"line": {"text": "x"}})
    async with connect(FakeAdapter(), FakeAdapter("absent", executables=("no-such-program",))) as client:
        listed = (await client.list_resources()).resources
        assert ("dragoman://providers", "Providers") in [(each.uri, each.title) for each in listed]
        templates = (await client.list_resource_templates()).resource_templates
        assert "dragoman://providers/{name}" in [each.uri_template for each in templates]
        states = {each["name"]: each["state"] for each in await page(client, "dragoman://providers")}
        assert states == {"fake": "ready", "absent": "missing"}
        one = await page(client, "dragoman://providers/fake")
        assert (one["state"], one["version"], one["transport"]) == ("ready", VERSION, "text")
        assert one["capabilities"] == ["model", "system_prompt", "cwd", "streaming"]
        called = await client.call_tool("providers", {})
        assert structured(called)["providers"][0] == one
        for fact in (VERSION, "over text", "read-only (enforced)", "streaming"):
            assert fact in texts(called)[0]


async def test_a_page_that_is_not_there_is_an_error(connect: Connect, cli: FakeCli) -> None:
    cli.script({"line": {"text": "x"}})
    async with connect() as client:
        with pytest.raises(MCPError, match="there is no provider 'nobody'; choose one of: fake") as refused:
            await client.read_resource("dragoman://providers/nobody")
        assert refused.value.error.code == INVALID_PARAMS


async def test_the_server_has_an_icon_that_is_no_address_elsewhere(connect: Connect, cli: FakeCli) -> None:
    cli.script({"line": {"text": "x"}})
    async with connect() as client:
        assert client.server_info is not None
        assert client.server_info.icons is not None
        assert client.server_info.icons[0].src.startswith("data:image/svg+xml;base64,")


async def test_the_pages_of_conversations_jobs_and_what_happened_in_them(connect: Connect, cli: FakeCli) -> None:
    cli.script({"read": "all"}, {"line": {"tool": "Read", "detail": "a.py"}}, {"line": {"text": "Paris"}}, DONE)
    async with connect() as client:
        asked = {"prompt": "the capital", "conversation_id": "mine"}
        job_id = structured(await client.call_tool("ask_fake", asked))["call_id"]
        [listed] = await page(client, "dragoman://conversations")
        assert (listed["conversation_id"], listed["turn_count"]) == ("mine", 1)
        for uri in ("dragoman://conversations/mine", "dragoman://conversations/mine/pages/1"):
            [turn] = (await page(client, uri))["turns"]
            assert (turn["prompt"], turn["text"]) == ("the capital", "Paris")
        [job] = await page(client, "dragoman://jobs")
        assert (job["job_id"], job["status"], job["prompt"]) == (job_id, "completed", "the capital")
        assert (await page(client, f"dragoman://jobs/{job_id}"))["text"] == "Paris"
        log = await page(client, f"dragoman://jobs/{job_id}/events/1")
        kinds = [event["type"] for event in log["events"]]
        assert kinds[0] == "started"
        assert {"type": "tool", "name": "Read", "detail": "a.py", "reads_only": False} in log["events"]
        wrong = ("2", "0", "x", "-1", "9" * 20)
        for gone in (
            *("conversations/nope", "jobs/nope", "jobs/nope/events/1"),
            *(f"jobs/{job_id}/pages/{number}" for number in wrong),
            *(f"jobs/{job_id}/events/{number}" for number in wrong),
            *(f"conversations/mine/pages/{number}" for number in wrong),
        ):
            with pytest.raises(MCPError, match="there is no") as refused:
                await client.read_resource(f"dragoman://{gone}")
            assert refused.value.error.code == INVALID_PARAMS
