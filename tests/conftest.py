"""What every test shares: the event loop's backend, and a home that is nobody's."""

from pathlib import Path

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test may read or write the state or configuration of the person who runs it."""
    home = tmp_path_factory.mktemp("dragoman-home")
    monkeypatch.setenv("DRAGOMAN_HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    for name in ("DRAGOMAN_DEPTH", "DRAGOMAN_LINEAGE"):
        monkeypatch.delenv(name, raising=False)
    return home
