"""See `tests.chaos`."""

import sys
from pathlib import Path

import anyio
import pytest

from tests.chaos import kill_again_and_again

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="the full promise is Linux's"),
]
WORKERS = 4
KILLS = 80


async def test_nothing_is_left_of_a_server_that_is_killed_hundreds_of_times(tmp_path: Path) -> None:
    async with anyio.create_task_group() as workers:
        for number in range(WORKERS):
            folder = tmp_path / str(number)
            folder.mkdir()
            workers.start_soon(kill_again_and_again, KILLS, folder, 20261121 + number)
