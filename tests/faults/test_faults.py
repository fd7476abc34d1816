"""Every row of the fault table ends as it says there, and leaves nothing."""

import re
import sys
from pathlib import Path

import pytest

from tests.faults.rows import ROWS, Row
from tests.faults.stage import as_expected, play

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the full promise is Linux's"),
]
PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
MOST_MIB = 64


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.id, marks=[pytest.mark.long] if row.is_long else []) for row in ROWS]
)
async def test_the_caller_gets_what_the_table_says_and_nothing_is_left(row: Row, tmp_path: Path) -> None:
    seen = await play(row, tmp_path)
    assert as_expected(row, seen), seen
    # What is asked is held, too, as the client's message, as text and as what is sent on.
    assert (seen.grown_mib or 0) < MOST_MIB + 8 * len(row.prompt.encode()) / 2**20


def test_the_page_has_exactly_these_rows_with_these_codes() -> None:
    found = re.findall(
        r"^\| ([a-z0-9-]+) \| (.*?) \| `([^`]+)` \|.*\| (.*?) \|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    expected = [(row.id, row.played, f"{row.code} ({row.clock})" if row.clock else row.code, "nothing") for row in ROWS]
    assert found == expected
