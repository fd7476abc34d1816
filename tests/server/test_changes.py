"""A CLI that is installed or goes is told to clients of both eras, over every transport."""

from pathlib import Path

import anyio
import pytest
from mcp.client import Client
from mcp.client.session import MessageHandlerFnT
from mcp.shared.subscriptions import ToolsListChanged
from mcp_types import ToolListChangedNotification

from dragoman.testing import FakeAdapter, FakeCli
from tests.server.conftest import make, reached

pytestmark = pytest.mark.anyio

WHEN_IT_MATTERS = 30


async def names(client: Client) -> list[str]:
    return [tool.name for tool in (await client.list_tools(cache_mode="bypass")).tools]


async def test_a_client_of_the_handshake_era_hears_that_a_cli_appeared_and_went(
    tmp_path: Path, transport: str, cli: FakeCli
) -> None:
    cli.script()
    late = FakeAdapter("late", executables=("dragoman-late",))
    heard = anyio.Event()

    async def hear(message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            heard.set()

    handler: MessageHandlerFnT = hear
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with (
            reached(make(tmp_path, transport, FakeAdapter(), late)) as target,
            Client(target, mode="legacy", message_handler=handler) as client,
        ):
            assert client.server_capabilities is not None
            assert client.server_capabilities.tools is not None
            assert client.server_capabilities.tools.list_changed
            assert await names(client) == ["ask_fake", "job", "providers"]
            installed = FakeCli(cli.path.parent, "dragoman-late").script()
            await heard.wait()
            assert "ask_late" in await names(client)
            heard = anyio.Event()
            installed.unlink()
            await heard.wait()
            assert "ask_late" not in await names(client)


async def test_a_modern_client_that_listens_hears_it_on_its_stream(
    tmp_path: Path, transport: str, cli: FakeCli
) -> None:
    cli.script()
    late = FakeAdapter("late", executables=("dragoman-late",))
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with (
            reached(make(tmp_path, transport, FakeAdapter(), late)) as target,
            Client(target, mode="auto") as client,
            client.listen(tools_list_changed=True) as subscription,
        ):
            FakeCli(cli.path.parent, "dragoman-late").script()
            async for event in subscription:
                assert isinstance(event, ToolsListChanged)
                break
            assert "ask_late" in await names(client)
