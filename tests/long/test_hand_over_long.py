"""See `tests.processes.test_hand_over`."""

import sys
from pathlib import Path

import pytest

from tests.processes.test_hand_over import STRIDE, kill_at_lines

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="the full promise is Linux's"),
]


@pytest.mark.parametrize("first", range(1, STRIDE + 1))
async def test_a_server_that_is_killed_at_any_line_of_the_hand_over_leaves_all_or_nothing(
    tmp_path: Path, first: int
) -> None:
    await kill_at_lines(tmp_path, first, STRIDE)
