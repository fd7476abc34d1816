"""What a person may choose, and what is offered while they type."""

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, PromptReference, ResourceTemplateReference, TextContent

from dragoman.testing import FakeAdapter, FakeCli
from tests.server.conftest import Connect
from tests.server.results import DONE, structured

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["streamable-http"])
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


async def said(client: Client, name: str, **arguments: str) -> str:
    [message] = (await client.get_prompt(name, arguments)).messages
    assert message.role == "user"
    assert isinstance(message.content, TextContent)
    return message.content.text


async def test_prompts_name_the_tools_of_providers_that_are_there(connect: Connect, cli: FakeCli) -> None:
    cli.script(DONE)
    absent = FakeAdapter("absent", executables=("no-such-program",))
    async with connect(FakeAdapter(), FakeAdapter("blind", reads_folder=False), absent) as client:
        listed = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
        assert list(listed) == ["second_opinion", "code_review", "debate"]
        assert all(prompt.title and prompt.description for prompt in listed.values())
        arguments = listed["code_review"].arguments or []
        assert [(each.name, each.required) for each in arguments] == [
            ("folder", True),
            ("focus", False),
            ("provider", False),
        ]
        opinion = await said(client, "second_opinion", question="Is P = NP?")
        assert "Is P = NP?" in opinion
        assert "`ask_fake`" in opinion
        assert "`ask_blind`" in await said(client, "second_opinion", question="x", provider="blind")
        assert "with cwd '/x'" in await said(client, "code_review", folder="/x")
        assert "it sees no files" in await said(client, "code_review", folder="/x", provider="blind")
        debate = await said(client, "debate", topic="Tabs", second="fake")
        assert "`ask_blind` argues for it, `ask_fake` against it" in debate
        with pytest.raises(MCPError, match="there is no provider 'absent' here; choose one of: fake, blind"):
            await said(client, "second_opinion", question="x", provider="absent")
        with pytest.raises(MCPError, match="there is no prompt 'duel'; choose one of: second_opinion") as unknown:
            await said(client, "duel")
        with pytest.raises(MCPError, match="needs the argument 'topic': What they argue about") as lacking:
            await said(client, "debate", first="fake")
        assert {error.value.error.code for error in (unknown, lacking)} == {INVALID_PARAMS}
        assert cli.starts == 0


async def test_names_and_ids_are_completed(connect: Connect, cli: FakeCli) -> None:
    cli.script({"read": "all"}, {"line": {"text": "x"}}, DONE)

    async def offered(ref: PromptReference | ResourceTemplateReference, name: str, value: str) -> list[str]:
        return (await client.complete(ref, {"name": name, "value": value})).completion.values

    async with connect(FakeAdapter(), FakeAdapter("second")) as client:
        debate = PromptReference(name="debate")
        assert await offered(debate, "first", "") == ["fake", "second"]
        assert await offered(debate, "second", "s") == ["second"]
        assert await offered(debate, "topic", "") == []
        for name in ("mine", "my-other", "yours"):
            reply = structured(await client.call_tool("ask_fake", {"prompt": "hi", "conversation_id": name}))
        conversation = ResourceTemplateReference(uri="dragoman://conversations/{conversation_id}")
        assert await offered(conversation, "conversation_id", "m") == ["my-other", "mine"]
        job = ResourceTemplateReference(uri="dragoman://jobs/{job_id}")
        assert await offered(job, "job_id", reply["call_id"][:6]) == [reply["call_id"]]
        assert await offered(ResourceTemplateReference(uri="dragoman://providers/{name}"), "name", "f") == ["fake"]
