"""See `tests.killed`."""

import sys
from pathlib import Path

import pytest

from tests.killed import talk_and_kill

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the full promise is Linux's"),
]


async def test_no_turn_that_was_told_is_lost_when_the_server_is_killed_and_every_job_ends(tmp_path: Path) -> None:
    assert await talk_and_kill(24, tmp_path, 20261121) > 2
