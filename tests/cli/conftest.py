"""See `tests.cli.harness`."""

from pathlib import Path

import pytest

from tests.cli.harness import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell.make(tmp_path)
