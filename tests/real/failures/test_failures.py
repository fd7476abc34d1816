"""Every row of the failure table is called what it says there, by the real program."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from pydantic import TypeAdapter

from tests.real.failures.clis import CLIS
from tests.real.failures.page import PAGE, cells, read
from tests.real.failures.rows import ROWS, WAITING, Row
from tests.real.failures.stage import KNOWN_WITHIN_S, Seen, faults, play_all
from tests.real.required import required

FIXED = ("row", "what is played", "called", "retryable", "effects")
"""What the page must say as it is; the rest is as it was when the page was made."""


PLAYED = TypeAdapter(dict[str, Seen])


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Seen]:
    """All rows that were asked for, played together, and once: by whichever process of the tests comes first."""
    chosen = {item.name for item in request.session.items}
    rows = [row for row in ROWS if f"{test_it_is_called_what_the_page_says.__name__}[{row.id}]" in chosen]
    for cli in {row.cli for row in rows}:
        required(CLIS[cli].program)
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # it is one process's own
    played = folder / "failures.json"
    with locked(folder / "failures.lock"):
        if not played.exists():
            seen = anyio.run(play_all, rows, tmp_path_factory.mktemp("failures"))
            played.write_bytes(PLAYED.dump_json(dict(seen)))
    return PLAYED.validate_json(played.read_bytes())


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Alone among the processes of the tests."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.real
@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.id, marks=[pytest.mark.long] if row.is_long else []) for row in ROWS]
)
def test_it_is_called_what_the_page_says(row: Row, seen: Mapping[str, Seen]) -> None:
    assert not list(faults(row, seen[row.id])), seen[row.id]
    told = cells(row, seen[row.id])
    page = read(PAGE.read_text("utf-8"))[row.id]
    assert [told[key] for key in FIXED] == [page[key] for key in FIXED]


def test_the_page_has_exactly_these_rows() -> None:
    page = read(PAGE.read_text("utf-8"))
    expected = [(row.id, row.played, f"{row.code} ({row.clock})" if row.clock else row.code) for row in ROWS]
    assert [(name, row["what is played"], row["called"].split("`")[1]) for name, row in page.items()] == expected


@pytest.mark.parametrize("cli", ["claude", "codex", "gemini", "llm"])
def test_each_code_of_a_cli_is_played_each_time_by_one_row_at_least(cli: str) -> None:
    rows = [row for row in ROWS if row.cli == cli and row.code not in ("completed", WAITING)]
    assert {row.code for row in rows if not row.is_long} == {row.code for row in rows}


def test_every_cause_was_known_within_twenty_seconds() -> None:
    failed = [row for row in read(PAGE.read_text("utf-8")).values() if "completed" not in row["called"]]
    assert max(float(row["known after"].split()[0]) for row in failed) <= KNOWN_WITHIN_S
