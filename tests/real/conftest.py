"""The real CLIs, the fake model API and a home that is nobody's.

Where a CLI cannot be had, its tests are skipped with the reason; with ``CI=true`` they fail, so that CI cannot pass
without having driven all of them.
"""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from dragoman.engine.providers import finding, providers
from tests.fakes.model_api import ModelAPI
from tests.fakes.model_api import model_api as serve_model_api
from tests.real import toolchain
from tests.real.providers import Real, real
from tests.real.required import required


@pytest.fixture(scope="session")
def claude_cli() -> Path:
    return required(toolchain.claude)


@pytest.fixture(scope="session")
def codex_cli() -> Path:
    return required(toolchain.codex)


@pytest.fixture(scope="session")
def codex_native_cli() -> Path:
    return required(toolchain.codex_native)


@pytest.fixture(scope="session")
def gemini_cli() -> Path:
    return required(toolchain.gemini)


@pytest.fixture(scope="session")
def old_gemini_cli() -> Path:
    return required(toolchain.old_gemini)


@pytest.fixture(scope="session")
def copilot_cli() -> Path:
    return required(toolchain.copilot)


@pytest.fixture(scope="session")
def llm_cli() -> Path:
    return required(toolchain.llm)


@pytest.fixture(autouse=True)
def _slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CLI that is only asked for its version or login starts Node, too, which can take half a minute."""
    monkeypatch.setattr(finding, "PROBE_TIMEOUT_S", 120.0)
    monkeypatch.setattr(providers, "LOGIN_TIMEOUT_S", 120.0)


@pytest.fixture
def hermetic_home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
async def model_api() -> AsyncGenerator[ModelAPI]:
    async with serve_model_api() as api:
        yield api


@pytest.fixture(params=["claude", "codex", "gemini", "llm"])
def provider(request: pytest.FixtureRequest, hermetic_home: Path) -> Real:
    """Each provider in turn."""
    return real(request.param, hermetic_home, request.getfixturevalue(f"{request.param}_cli"))
