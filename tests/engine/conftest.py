"""An engine whose only providers are scripted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from dragoman.adapters.base import Adapter
from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.testing import FakeAdapter, FakeCli


class MakeEngine(Protocol):
    def __call__(
        self, *adapters: Adapter, configuration: dict[str, Any] | None = None, environ: Mapping[str, str] | None = None
    ) -> Engine: ...


@pytest.fixture
def cli(tmp_path: Path) -> FakeCli:
    """The fake CLI, found on the engine's PATH as `dragoman-fake`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return FakeCli(folder, "dragoman-fake")


@pytest.fixture
def make_engine(tmp_path: Path) -> MakeEngine:
    def make(
        *adapters: Adapter, configuration: dict[str, Any] | None = None, environ: Mapping[str, str] | None = None
    ) -> Engine:
        return Engine(
            # Trying again is a subject of its own: elsewhere it would only hide what one attempt does.
            Configuration.model_validate({"retry": {"max_attempts": 1}, **(configuration or {})}),
            adapters={adapter.profile.name: adapter for adapter in adapters or (FakeAdapter(),)},
            environ={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path), **(environ or {})},
            folder=tmp_path,
        )

    return make
