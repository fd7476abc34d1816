"""What every test shares: the event loop's backend, and a home that is nobody's."""

import os
import signal
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from dragoman.processes import Spawner

# The same examples at each run, however slow the machine: a commit passes or it does not. New ones are looked for with
# `--hypothesis-profile search`.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("search"), derandomize=True)
settings.load_profile("same")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: most tests wait for processes. Four are enough."""
    return min((os.cpu_count() or 1) + 1, 4)


@pytest.fixture(scope="session", autouse=True)
def _hangs_up() -> Generator[None]:
    """What is started hears SIGHUP also where the tests were started by nohup: a program that finds it ignored is to
    leave it so."""
    before = signal.getsignal(signal.SIGHUP) if hasattr(signal, "SIGHUP") else None
    if before is not signal.SIG_IGN:
        yield
        return
    # One that is handled, and not ignored, is the default for whoever is started.
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def spawner(anyio_backend: str) -> AsyncGenerator[Spawner]:
    async with Spawner() as spawner:
        yield spawner


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test may read or write the state or configuration of the person who runs it."""
    home = tmp_path_factory.mktemp("dragoman-home")
    monkeypatch.setenv("DRAGOMAN_HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    for name in ("DRAGOMAN_DEPTH", "DRAGOMAN_LINEAGE"):
        monkeypatch.delenv(name, raising=False)
    return home
