"""A store in a folder of its own."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from dragoman.store import Store, StoreError, open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[Store]:
    async with open_store(path, on_error=_raise) as store:
        yield store


def _raise(error: StoreError) -> None:
    raise AssertionError from error
