"""See `tests.killed`."""

import sys
from pathlib import Path

import pytest

from tests.killed import talk_and_kill

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="the full promise is Linux's"),
]


async def test_two_hundred_turns_with_kills_lose_nothing_that_was_told(tmp_path: Path) -> None:
    assert await talk_and_kill(200, tmp_path, 20261122) > 20
