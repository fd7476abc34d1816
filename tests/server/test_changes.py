"""A CLI that is installed or goes is told to clients of both eras, over every transport."""

from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from mcp.client import Client
from mcp.client.session import MessageHandlerFnT
from mcp.shared.subscriptions import ToolsListChanged
from mcp_types import ToolListChangedNotification

from dragoman.server import changes
from dragoman.server.changes import ToolChanges
from dragoman.testing import FakeAdapter, FakeCli
from tests.server.conftest import WHEN_IT_MATTERS, make, reached

pytestmark = pytest.mark.anyio


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
            assert await names(client) == [
                "ask_fake",
                "structured_query",
                "ask_many",
                "job",
                "conversation",
                "providers",
            ]
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


class Look:
    """What a server finds, as the test says."""

    def __init__(self) -> None:
        self.found: tuple[str, ...] = ()
        self.broken: anyio.Event | None = None

    def __call__(self) -> tuple[str, ...]:
        if self.broken is not None:
            self.broken.set()
            raise OSError("a strange file")
        return self.found


class Told:
    """A client's session that hears of changes, or (`stuck`) takes for ever to."""

    def __init__(self, *, stuck: bool = False) -> None:
        self._stuck = stuck
        self.leaving = AsyncExitStack()
        self._connection = SimpleNamespace(exit_stack=self.leaving)
        self.heard = anyio.Event()

    async def send_tool_list_changed(self) -> None:
        self.heard.set()
        if self._stuck:
            await anyio.sleep_forever()

    async def comes(self, changes: ToolChanges, method: str = "notifications/initialized") -> None:
        async def nothing(_: object) -> None:
            pass

        await changes.remember(cast("Any", SimpleNamespace(method=method, session=self)), nothing)


async def test_a_question_has_it_looked_at_once_and_a_fault_in_looking_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes, "LOOK_S", 3600.0)
    monkeypatch.setattr(changes, "GAP_S", 0.01)
    look, client = Look(), Told()
    news = ToolChanges(look, "dragoman://providers")
    with anyio.fail_after(WHEN_IT_MATTERS):
        await client.comes(news)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(news.watch)
            await anyio.wait_all_tasks_blocked()
            look.found, look.broken = ("late",), anyio.Event()
            await client.comes(news, "tools/list")
            await look.broken.wait()
            assert not client.heard.is_set()
            look.broken = None
            await client.comes(news, "tools/list")
            await client.heard.wait()
            tasks.cancel_scope.cancel()


async def test_a_client_that_does_not_read_holds_back_no_other_and_one_that_left_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes, "LOOK_S", 0.02)
    monkeypatch.setattr(changes, "GAP_S", 0.01)
    monkeypatch.setattr(changes, "TELL_S", 0.05)
    look, stuck, gone, client = Look(), Told(stuck=True), Told(), Told()
    news = ToolChanges(look, "dragoman://providers")
    with anyio.fail_after(WHEN_IT_MATTERS):
        for each in (stuck, gone, client):
            await each.comes(news)
        await gone.leaving.aclose()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(news.watch)
            for found in (("late",), ()):
                await anyio.wait_all_tasks_blocked()
                look.found = found
                await client.heard.wait()
                await stuck.heard.wait()
                client.heard, stuck.heard = anyio.Event(), anyio.Event()
            tasks.cancel_scope.cancel()
    assert not gone.heard.is_set()


@pytest.mark.parametrize("transport", ["sse", "streamable-http"])
async def test_a_connection_that_ends_is_forgotten_over_http(
    tmp_path: Path, transport: str, cli: FakeCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.script()
    made: list[ToolChanges] = []
    plain = ToolChanges.__init__

    def noted(self: ToolChanges, *rest: Any) -> None:  # noqa: ANN401 - as they come
        made.append(self)
        plain(self, *rest)

    monkeypatch.setattr(ToolChanges, "__init__", noted)
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with reached(make(tmp_path, transport)) as target:
            async with Client(target, mode="legacy") as client:
                await names(client)
                # Its word that it is there is heard beside its first question.
                while not made[0].sessions:
                    await anyio.lowlevel.checkpoint()
                assert len(made[0].sessions) == 1
            while made[0].sessions:  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.01)  # looked at again
