"""Jobs of servers that are gone, whatever one leaves to the next: every child is known, none runs twice."""

import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman.engine.record import store_file
from dragoman.log import logger
from dragoman.schemas import LLMRequest, Retrying
from dragoman.store import writer
from dragoman.testing import FakeCli, Liveness
from dragoman.testing.fakes import Step
from tests.engine.test_detached import LONG_S, engine, forgotten, slowly, start

pytestmark = pytest.mark.anyio

BUSY: list[Step] = [{"read": "all"}, {"line": {"error": {"code": "overloaded", "message": "busy", "retry_after_s": 0}}}]
LATER: list[Step] = [{"read": "all"}, {"line": {"error": {"code": "overloaded", "message": "no", "retry_after_s": 60}}}]


@pytest.fixture(autouse=True)
def no_fault() -> Generator[None]:
    """Nothing is written down that does not fit what was there."""
    said: list[str] = []
    logger.enable("dragoman")
    sink = logger.add(lambda message: said.append(str(message)), level="WARNING", format="{message}")
    yield
    logger.remove(sink)
    logger.disable("dragoman")
    assert [line for line in said if "fault" in line] == []


def rows(query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(store_file())) as db:
        return db.execute(query).fetchall()


async def test_the_second_child_of_a_job_that_was_taken_over_is_taken_over_too(tmp_path: Path) -> None:
    async with Liveness() as first, Liveness() as live:
        gated: list[Step] = [{"read": "all"}, {"connect": first.port}, {"wait": "gate"}, *BUSY[1:]]
        cli = FakeCli(tmp_path, "dragoman-fake")
        cli.scripts(gated, slowly(live), slowly(live))
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path, attempts=2) as running:
                job_id = await start(running)
                await first.connected()
            await first.release()
            async with engine(tmp_path, attempts=2) as other:
                assert (await other.jobs.find(job_id)).info.status == "running"
                await live.connected()
                # The first one's end is told by now, and the second one's beginning is about to be written.
                while len(rows("SELECT pid FROM processes")) < 2:  # noqa: ASYNC110 - another connection writes it
                    await anyio.sleep(0.01)
                [(folder,)] = rows("SELECT folder FROM jobs")
            async with engine(tmp_path, attempts=2) as third:
                job = await third.jobs.find(job_id)
                await live.release()
                reply = await job.wait()
                await live.all_gone(LONG_S)
                await forgotten()
    assert Path(folder).name == f"{job_id}-1"
    assert (reply.status, reply.text) == ("completed", "first second")
    assert cli.starts == 2


async def test_the_last_child_is_taken_over_though_its_server_did_not_live_to_write_it_down(tmp_path: Path) -> None:
    async with Liveness() as live:
        cli = FakeCli(tmp_path, "dragoman-fake")
        cli.scripts(BUSY, slowly(live), slowly(live))
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path, attempts=2) as running:
                job_id = await start(running)
                await live.connected()
            with closing(sqlite3.connect(store_file())) as db, db:
                db.execute("UPDATE jobs SET folder = NULL, shepherd_pid = NULL, shepherd_start = NULL")
            async with engine(tmp_path, attempts=2) as other:
                job = await other.jobs.find(job_id)
                await live.release()
                reply = await job.wait()
    assert (reply.status, reply.text) == ("completed", "first second")
    assert cli.starts == 2


async def test_of_a_job_of_which_nothing_else_came_to_the_disk_the_turn_is_kept_all_the_same(tmp_path: Path) -> None:
    FakeCli(tmp_path, "dragoman-fake").script({"read": "all"}, {"line": {"text": "fine"}}, {"line": {"done": {}}})
    with anyio.fail_after(LONG_S):
        async with engine(tmp_path) as running:
            # Its server is left before the call's first step, and then killed before it wrote more than the job.
            job_id = await start(running)
        with closing(sqlite3.connect(store_file())) as db, db:
            for table in ("processes", "turns", "conversations", "calls"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own words
        async with engine(tmp_path) as other:
            reply = await (await other.jobs.find(job_id)).wait()
            _, turns, _ = await other.conversations.show("talk")
    assert (reply.status, reply.conversation_id, reply.notices) == ("completed", "talk", ())
    assert [(turn.prompt, turn.text, turn.status) for turn in turns] == [("one", "fine", "completed")]
    assert rows("SELECT status FROM calls") == [("completed",)]
    assert rows("SELECT count(*) FROM processes WHERE ended_at IS NULL") == [(0,)]


@pytest.mark.parametrize("handed_out", [False, True])
async def test_a_job_that_waits_for_its_next_attempt_is_gone_on_with(tmp_path: Path, *, handed_out: bool) -> None:
    gated: list[Step] = [{"read": "all"}, {"wait": "gate"}, *LATER[1:]] if handed_out else LATER
    cli = FakeCli(tmp_path, "dragoman-fake")
    async with Liveness() as live:
        if handed_out:
            gated.insert(1, {"connect": live.port})
        cli.scripts(gated, [{"read": "all"}, {"line": {"text": "fine"}}, {"line": {"done": {}}}])
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path, attempts=2) as running:
                request = LLMRequest(prompt="one", provider="fake", background=not handed_out)
                job = await running.jobs.start(request, face="test")
                if handed_out:
                    await live.connected()
                    await job.hand_out()
                    await live.release()
                assert job.call is not None
                async for event in job.call.log.follow():
                    if isinstance(event, Retrying):
                        break
            async with engine(tmp_path, attempts=2) as other:
                reply = await (await other.jobs.find(job.id)).wait()
    assert (reply.status, reply.text) == ("completed", "fine")
    assert cli.starts == 2


@pytest.mark.parametrize("failed", [False, True])
async def test_an_answer_that_is_told_by_the_page_is_on_disk_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, failed: bool
) -> None:
    monkeypatch.setattr(writer, "GATHER_S", 3600)
    monkeypatch.setattr("dragoman.engine.engine.TIDY_AFTER_S", 3600)
    end: dict[str, object] = {"error": {"code": "auth", "message": "no"}} if failed else {"done": {}}
    FakeCli(tmp_path, "dragoman-fake").script({"read": "all"}, {"line": {"text": "x" * 10_000}}, {"line": end})
    with anyio.fail_after(LONG_S):
        async with engine(tmp_path) as running:
            request = LLMRequest(prompt="one", provider="fake", remember=False)
            job = await running.jobs.start(request, face="test")
            reply = await job.wait()
            assert rows("SELECT status, length(text) FROM jobs") == [(reply.status, 10_000)]
