"""A server over an engine whose only provider is scripted, and a client of each era over each transport."""

import pickle
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp_types import Implementation

from dragoman.adapters.base import Adapter
from dragoman.config import Configuration
from dragoman.server.http import serve
from dragoman.server.listening import listen
from dragoman.testing import FakeAdapter, FakeCli
from tests.server.scripted import Made

WHEN_IT_MATTERS = 120
"""Ends a test that hangs; what a test is about it never decides."""
ROOT = Path(__file__).parents[2]

Connect = Callable[..., AbstractAsyncContextManager[Client]]

SELDOM = frozenset({("sse", "auto"), ("streamable-http", "legacy")})
"""Pairs of transport and era that only the long runs test. Each of both is in the others, with all of stdio."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            made_with = item.callspec.params
            if (made_with.get("transport"), made_with.get("mode")) in SELDOM:
                item.add_marker(pytest.mark.long)


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    """2026-07-28 without a handshake, and the handshake that came before."""
    return request.param


@pytest.fixture(params=["stdio", "sse", "streamable-http"])
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cli(tmp_path: Path) -> FakeCli:
    """The fake CLI, found on the engine's PATH as `dragoman-fake`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return FakeCli(folder, "dragoman-fake")


@pytest.fixture
def connect(tmp_path: Path, mode: str, transport: str) -> Connect:
    @asynccontextmanager
    async def open_client(
        *adapters: Adapter, called: str | None = None, **configuration: object
    ) -> AsyncGenerator[Client]:
        made = make(tmp_path, transport, *adapters, **configuration)
        with anyio.fail_after(WHEN_IT_MATTERS):
            info = Implementation(name=called, version="1") if called else None
            async with reached(made) as target, Client(target, mode=mode, client_info=info) as client:
                yield client

    return open_client


def make(folder: Path, transport: str, *adapters: Adapter, **configuration: Any) -> Made:  # noqa: ANN401 - any keys
    """An engine with these adapters, or a fake one."""
    found = {adapter.profile.name: adapter for adapter in adapters or (FakeAdapter(),)}
    of_all = {
        "server": {"transport": transport, "port": 0} | configuration.pop("server", {}),
        # Trying again is judged in the engine's own tests, and the clock of the start is none for a slow machine.
        "retry": {"max_attempts": 1},
        "providers": {name: {"timeouts": {"spawn": 60}} for name in found} | configuration.pop("providers", {}),
    }
    return Made(Configuration.model_validate({**of_all, **configuration}), found, folder)


@asynccontextmanager
async def reached(made: Made) -> AsyncGenerator[Any]:
    """The target of a `Client`: a process to start, or a server in this one that listens."""
    match made.configuration.server.transport:
        case "stdio":
            file = made.folder / "made"
            file.write_bytes(pickle.dumps(made))
            yield StdioServerParameters(
                command=sys.executable,
                args=["-m", "tests.server.scripted", str(file)],
                env=made.environ | {"PYTHONPATH": str(ROOT)},
                cwd=made.folder,
            )
        case "sse":
            async with listening(made) as url:
                yield sse_client(url)
        case "streamable-http":
            async with listening(made) as url:
                yield url


@asynccontextmanager
async def listening(made: Made) -> AsyncGenerator[str]:
    """A server over HTTP in this process; its URL. It is told to stop at the end, and must."""
    stop, ready = anyio.Event(), anyio.Event()
    urls: list[str] = []

    def tell(url: str) -> None:
        urls.append(url)
        ready.set()

    with listen("127.0.0.1", 0) as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, made.engine(), listener, stop, tell)
            await ready.wait()
            yield urls[0]
            stop.set()
