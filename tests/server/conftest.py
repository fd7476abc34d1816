"""A server over an engine whose only provider is scripted, and a client of each era."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from mcp.client import Client

from dragoman.adapters.base import Adapter
from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.server import DragomanServer
from dragoman.testing import FakeAdapter, FakeCli

WHEN_IT_MATTERS = 20

Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    """2026-07-28 without a handshake, and the handshake that came before."""
    return request.param


@pytest.fixture
def cli(tmp_path: Path) -> FakeCli:
    """The fake CLI, found on the engine's PATH as `dragoman-fake`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return FakeCli(folder, "dragoman-fake")


@pytest.fixture
def connect(tmp_path: Path, mode: str) -> Connect:
    @asynccontextmanager
    async def open_client(*adapters: Adapter, **configuration: object) -> AsyncGenerator[Client]:
        engine = Engine(
            Configuration.model_validate(configuration),
            adapters={adapter.profile.name: adapter for adapter in adapters or (FakeAdapter(),)},
            environ={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)},
            folder=tmp_path,
            store_file=tmp_path / "store.sqlite3",
        )
        with anyio.fail_after(WHEN_IT_MATTERS):
            async with engine, Client(DragomanServer(engine), mode=mode) as client:
                yield client

    return open_client
