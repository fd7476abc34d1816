"""Every row of the failure table is called what it says there, by the real program."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import pytest

from tests.real.failures.clis import CLIS
from tests.real.failures.page import PAGE, cells, read
from tests.real.failures.rows import ROWS, Row
from tests.real.failures.stage import Seen, faults, play_all
from tests.real.required import required

MEASURED = ("known after", "attempts", "asked", "what the CLI does", "its words")
"""What may be otherwise on another machine; attempts are judged with the rest."""


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Seen]:
    """All rows that were asked for, played together: two at a time they take half as long."""
    chosen = {item.name for item in request.session.items}
    rows = [row for row in ROWS if f"{test_it_is_called_what_the_page_says.__name__}[{row.id}]" in chosen]
    for cli in {row.cli for row in rows}:
        required(CLIS[cli].program)
    return anyio.run(play_all, rows, tmp_path_factory.mktemp("failures"))


@pytest.mark.real
@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.id, marks=[pytest.mark.long] if row.is_long else []) for row in ROWS]
)
def test_it_is_called_what_the_page_says(row: Row, seen: Mapping[str, Seen]) -> None:
    assert not list(faults(row, seen[row.id])), seen[row.id]
    told = cells(row, seen[row.id])
    page = read(PAGE.read_text("utf-8"))[row.id]
    assert {key: told[key] for key in told if key not in MEASURED} == {
        key: page[key] for key in page if key not in MEASURED
    }


def test_the_page_has_exactly_these_rows() -> None:
    page = read(PAGE.read_text("utf-8"))
    expected = [(row.id, row.played, f"{row.code} ({row.clock})" if row.clock else row.code) for row in ROWS]
    assert [(name, row["what is played"], row["called"].split("`")[1]) for name, row in page.items()] == expected


def test_every_cause_was_known_within_twenty_seconds() -> None:
    assert all(float(row["known after"].split()[0]) <= 20 for row in read(PAGE.read_text("utf-8")).values())
