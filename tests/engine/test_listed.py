"""Pages of the list of jobs fit together, wherever a job is: on the disk, in memory, or both."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.engine import Engine
from dragoman.engine.jobs import ended
from dragoman.engine.jobs.job import sort_in
from dragoman.engine.record import store_file
from dragoman.schemas import JobInfo, LLMRequest
from dragoman.store import JobStarted
from dragoman.testing import FakeAdapter
from tests.engine.oracle import Oracle, keeps_sessions
from tests.engine.test_conversations import engine

pytestmark = pytest.mark.anyio


async def ask(running: Engine, prompt: str, key: str | None = None) -> str:
    job = await running.jobs.start(LLMRequest(prompt=prompt, provider="fake", idempotency_key=key), face="test")
    await job.wait()
    return job.id


async def pages(running: Engine, size: int, count: int) -> list[str]:
    return [info.job_id for page in range(1, count + 1) for info in await running.jobs.listed(size, page=page)]


async def test_no_page_repeats_or_drops_a_job_where_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended, "MAX_ENDED", 2)
    with anyio.fail_after(60):
        async with engine(tmp_path, Oracle(keeps_sessions), FakeAdapter()) as running:
            # With a key, each is on disk before its reply is told.
            asked = [await ask(running, str(number), key=str(number)) for number in range(6)]
            while len(running.jobs._calls) > 2:  # noqa: ASYNC110 # pyright: ignore[reportPrivateUsage] - nothing tells
                await anyio.sleep(0.01)
            with closing(sqlite3.connect(store_file())) as db, db:
                for job_id, hour in zip(asked, (5, 6, 1, 2, 9, 8), strict=True):
                    db.execute("UPDATE jobs SET created_at = ? WHERE id = ?", (3600 * hour, job_id))
            assert await pages(running, 2, 4) == asked[::-1]
            assert await pages(running, 1, 7) == asked[::-1]


async def test_a_job_that_is_in_memory_only_is_listed_among_those_of_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = JobStarted.apply

    def apply_but_one(self: JobStarted, db: sqlite3.Connection, server_id: int) -> None:
        if self.prompt == "not kept":
            raise sqlite3.OperationalError("database or disk is full")
        apply(self, db, server_id)

    monkeypatch.setattr(JobStarted, "apply", apply_but_one)
    with anyio.fail_after(60):
        async with engine(tmp_path, Oracle(keeps_sessions), FakeAdapter()) as running:
            prompts = ("one", "not kept", "three")
            asked = [await ask(running, prompt, key=prompt) for prompt in prompts]
            assert await pages(running, 2, 3) == asked[::-1]
            assert await pages(running, 1, 4) == asked[::-1]


def infos(prefix: str, times: Sequence[int]) -> list[JobInfo]:
    return [
        JobInfo(job_id=f"{prefix}{number}", status="completed", created_at=time, prompt="")
        for number, time in enumerate(times)
    ]


TIMES = st.lists(st.integers(0, 9), max_size=8)


@given(TIMES, TIMES)
async def test_where_a_job_without_a_record_stands_is_the_same_for_each_page(
    written: list[int], unwritten: list[int]
) -> None:
    records, others = infos("r", written), infos("o", unwritten)
    whole = [*records]
    sort_in(whole, others)
    assert [info for info in whole if info in records] == records
    for shown in range(len(whole) + 1):
        part = records[:shown]
        sort_in(part, others)
        assert part[:shown] == whole[:shown]
