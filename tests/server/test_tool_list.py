"""What a client is told before it asks anything."""

import json
from pathlib import Path

import pytest
from mcp.client import Client
from mcp_types import ListToolsResult

from dragoman.adapters.registry import load_adapters
from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.server import DragomanServer
from dragoman.testing import FakeAdapter, FakeCli
from tests.server.conftest import Connect

pytestmark = pytest.mark.anyio


def size(result: ListToolsResult) -> int:
    """The bytes of the result on the wire."""
    wire = result.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return len(json.dumps(wire, separators=(",", ":"), ensure_ascii=False).encode())


async def test_the_list_with_the_five_providers_that_need_no_configuration_takes_at_most_11_kb(
    tmp_path: Path, mode: str
) -> None:
    adapters = {name: adapter for name, adapter in load_adapters()[0].items() if name != "acp"}
    for adapter in adapters.values():
        for program in adapter.profile.executables:
            (tmp_path / program).write_text("#!/bin/sh\n", encoding="utf-8")
            (tmp_path / program).chmod(0o755)
    engine = Engine(Configuration(), environ={"PATH": str(tmp_path)})
    async with engine, Client(DragomanServer(engine), mode=mode) as client:
        listed = await client.list_tools()
    names = {tool.name for tool in listed.tools}
    assert {
        "ask_claude",
        "ask_codex",
        "ask_gemini",
        "ask_llm",
        "ask_local",
        "structured_query",
        "ask_many",
        "job",
        "conversation",
        "providers",
    } <= names
    assert size(listed) <= 11000


async def test_a_tool_has_a_flat_schema_hints_and_no_output_schema(connect: Connect, cli: FakeCli) -> None:
    cli.script({"line": {"text": "x"}})
    async with connect() as client:
        tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == [
        "ask_fake",
        "structured_query",
        "ask_many",
        "job",
        "conversation",
        "providers",
    ]
    for tool in tools:
        assert tool.title
        assert tool.description
        assert len(tool.description) < 4096
        assert tool.output_schema is None
        assert tool.input_schema["additionalProperties"] is False
        for argument in tool.input_schema["properties"].values():
            assert argument["type"] in ("string", "number", "integer", "boolean", "object", "array")
            assert not {"anyOf", "oneOf", "properties"} & set(argument)
            assert "title" not in argument
    hints = {tool.name: tool.annotations for tool in tools}
    ask, job = hints["ask_fake"], hints["job"]
    assert ask is not None
    assert job is not None
    assert (ask.read_only_hint, ask.destructive_hint) == (True, False)
    assert (job.read_only_hint, job.destructive_hint) == (False, False)
    conversation = hints["conversation"]
    assert conversation is not None
    assert (conversation.read_only_hint, conversation.destructive_hint) == (False, True)


@pytest.mark.parametrize(("strength", "truth"), [("enforced", True), ("agent-honoured", False)])
async def test_only_a_provider_that_is_held_to_reading_is_called_read_only(
    connect: Connect, cli: FakeCli, strength: str, truth: bool
) -> None:
    cli.script({"line": {"text": "x"}})
    async with connect(FakeAdapter(strength={"read-only": strength}, billing="metered")) as client:
        tool = (await client.list_tools()).tools[0]
    assert tool.annotations is not None
    assert tool.annotations.read_only_hint is truth
    assert tool.annotations.destructive_hint is not truth
    assert tool.annotations.open_world_hint is True
    assert ("changes nothing" in str(tool.description)) is truth


async def test_a_tool_publishes_only_what_its_provider_takes(connect: Connect, cli: FakeCli) -> None:
    cli.script({"line": {"text": "x"}})
    adapter = FakeAdapter(takes_model=False, takes_system_prompt=False, reads_folder=False)
    async with connect(adapter, server={"max_wait_s": 7}) as client:
        schema = (await client.list_tools()).tools[0].input_schema
    assert list(schema["properties"]) == ["prompt", "conversation_id", "timeout_s", "idempotency_key", "max_wait_s"]
    assert schema["required"] == ["prompt"]
    assert schema["properties"]["max_wait_s"]["description"].endswith("Default: 7.")


async def test_a_tool_publishes_all_that_its_provider_takes(connect: Connect, cli: FakeCli) -> None:
    cli.script({"line": {"text": "x"}})
    adapter = FakeAdapter(efforts=("low", "high"), takes_temperature=True, takes_max_tokens=True, detaches=True)
    async with connect(adapter) as client:
        properties = (await client.list_tools()).tools[0].input_schema["properties"]
    assert {"effort", "temperature", "max_tokens", "background"} <= set(properties)
    assert properties["effort"]["enum"] == ["low", "high"]
    assert properties["max_wait_s"]["description"].endswith("Default: what your client allows.")


async def test_a_disabled_provider_has_no_tool_and_an_installed_one_appears_without_a_restart(
    connect: Connect, cli: FakeCli
) -> None:
    cli.script({"line": {"text": "x"}})
    late = FakeAdapter("late", executables=("dragoman-late",))
    off = FakeAdapter("off")
    async with connect(FakeAdapter(), off, late, providers={"off": {"enabled": False}}) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == [
            "ask_fake",
            "structured_query",
            "ask_many",
            "job",
            "conversation",
            "providers",
        ]
        FakeCli(cli.path.parent, "dragoman-late").script({"line": {"text": "x"}})
        assert "ask_late" in [tool.name for tool in (await client.list_tools(cache_mode="bypass")).tools]
        assert cli.starts == 0


async def test_the_server_says_who_it_is_and_how_jobs_conversations_and_pages_work(connect: Connect) -> None:
    async with connect() as client:
        assert client.server_info is not None
        assert client.server_info.name == "dragoman"
        assert client.server_info.version
        assert client.instructions
        for word in ("job_id", "conversation_id", "next_page"):
            assert word in client.instructions
        assert len(client.instructions) < 4096
