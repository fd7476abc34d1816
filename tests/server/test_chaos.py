"""See `tests.chaos`; `tests/long` does it hundreds of times."""

import sys
from pathlib import Path

import pytest

from tests.chaos import kill_again_and_again

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="the full promise is Linux's")]


async def test_nothing_is_left_of_a_server_that_is_killed_at_any_moment(tmp_path: Path) -> None:
    await kill_again_and_again(8, tmp_path, seed=1)
