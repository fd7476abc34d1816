"""A server dies, at any moment: no acknowledged turn is lost, and what can go on goes on."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from dragoman.store import (
    CallEnded,
    CallStarted,
    JobAdopted,
    JobEnded,
    JobGone,
    JobStarted,
    ProcessStarted,
    Together,
    TurnEnded,
    TurnStarted,
    open_store,
)
from tests.store.talk import session

pytestmark = pytest.mark.anyio

TALKER = """
import anyio, sys
from pathlib import Path
from dragoman.store import SessionRow, TurnEnded, TurnStarted, open_store

async def main(path, name, count):
    async with open_store(Path(path)) as store:
        for turn in range(int(count)):
            conversation, call = f"{name}-{turn % 7}", f"{name}-call-{turn}"
            number = await store.write(TurnStarted(conversation, call, f"question {turn}", "claude"))
            print("asked", conversation, call, number, flush=True)
            session = SessionRow(conversation, "claude", "home", "native", knows=number)
            await store.write(TurnEnded(conversation, call, "completed", f"answer {turn}" * 50, sessions=(session,)))
            print("answered", conversation, call, number, flush=True)

anyio.run(main, *sys.argv[1:])
"""
HOLDER = """
import anyio, sys
from pathlib import Path
from dragoman.store.names import *

async def main(path):
    async with open_store(Path(path)) as store:
        for name, detached in (("here", False), ("away", True)):
            await store.write(CallStarted(name, "mcp", "claude"))
            job = JobStarted(name, "mcp", "why?", conversation_id=f"c-{name}", detached=detached)
            await store.write(Together((TurnStarted(f"c-{name}", name, "why?", "claude"), job)))
            await store.write(ProcessStarted(1000 + detached, name, start_time=1))
        print("ready", flush=True)
        await anyio.sleep_forever()

anyio.run(main, sys.argv[1])
"""
ADOPTER = """
import anyio, sys
from pathlib import Path
from dragoman.store.names import *

async def main(path):
    async with open_store(Path(path)) as store:
        for job in store.detached_jobs:
            await store.write(JobAdopted(job.id, job.server_id))
            print("adopted", job.id)

anyio.run(main, sys.argv[1])
"""


@contextmanager
def program(source: str, *arguments: object) -> "Generator[subprocess.Popen[str]]":
    argv = [sys.executable, "-c", source, *map(str, arguments)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


async def test_processes_that_talk_at_once_lose_no_turn_and_number_them_all(path: Path) -> None:
    with program(TALKER, path, "one", 70) as one, program(TALKER, path, "two", 70) as two:
        for process in (one, two):
            output, _ = await anyio.to_thread.run_sync(lambda process=process: process.communicate(timeout=300))
            assert (process.returncode, output.count("answered")) == (0, 70)
    async with open_store(path) as store:
        found = await store.conversations()
        assert {(row.turns, row.completed) for row in found} == {(10, 10)}
        assert len(found) == 14
        for row in found:
            assert [turn.number for turn in await store.turns(row.id)] == [*range(1, 11)]


async def test_two_processes_number_the_turns_of_one_conversation(path: Path) -> None:
    with program(TALKER, path, "same", 60) as one, program(TALKER, path, "same", 60) as two:
        for process in (one, two):
            await anyio.to_thread.run_sync(lambda process=process: process.communicate(timeout=300))
    async with open_store(path) as store:
        numbers = [turn.number for turn in await store.turns("same-0")]
        assert numbers == [*range(1, 19)]


@pytest.mark.parametrize("seed", range(4))
async def test_a_server_that_is_killed_loses_no_turn_that_it_acknowledged(path: Path, seed: int) -> None:
    after = random.Random(seed).randrange(1, 400)  # noqa: S311 - to be repeatable
    with program(TALKER, path, "t", 1_000_000) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(after)]
        process.kill()
        told += process.stdout.read().splitlines(keepends=True)
    assert process.returncode == -signal.SIGKILL
    acknowledged = [line.split() for line in told if line.endswith("\n")]
    assert len(acknowledged) >= after
    async with open_store(path) as store:
        kept = {
            (row.id, turn.call_id, turn.number): turn
            for row in await store.conversations()
            for turn in await store.turns(row.id)
        }
        for what, conversation, call, number in acknowledged:
            turn = kept[conversation, call, int(number)]
            if what == "answered":
                assert (turn.status, turn.text) == ("completed", f"answer {call.rsplit('-')[-1]}" * 50)
        unfinished = [turn for turn in kept.values() if turn.status != "completed"]
        assert [turn.status for turn in unfinished] in ([], ["interrupted"])
        last = store.conversation(acknowledged[-1][1])
        assert last is not None
        assert last.turns == int(acknowledged[-1][3])
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


async def test_what_a_dead_server_left_is_interrupted_but_for_what_can_go_on(path: Path) -> None:
    with program(HOLDER, path) as dead:
        assert dead.stdout is not None
        assert dead.stdout.readline() == "ready\n"
        async with open_store(path) as early:
            assert (early.orphans, early.detached_jobs) == ([], [])
            dead.kill()
            await anyio.to_thread.run_sync(dead.wait)
            async with open_store(path) as store:
                assert [orphan.call_id for orphan in store.orphans] == ["here"]
                [away] = store.detached_jobs
                assert (away.id, away.status, away.conversation_id) == ("away", "running", "c-away")
                here = store.job("here")
                assert here is not None
                assert (here.status, here.ended_at is None) == ("interrupted", False)
                assert [turn.status for turn in await store.turns("c-here")] == ["interrupted"]
                assert [turn.status for turn in await store.turns("c-away")] == ["running"]
                assert rows(path, "SELECT id, status FROM calls ORDER BY id") == [
                    ("away", "running"),
                    ("here", "interrupted"),
                ]
            await early.take_stock()
            assert [job.id for job in early.detached_jobs] == ["away"]
            assert [orphan.call_id for orphan in early.orphans] == ["here"]


async def test_a_detached_job_is_adopted_by_one_server_and_ended_there(path: Path) -> None:
    with program(HOLDER, path) as dead:
        assert dead.stdout is not None
        dead.stdout.readline()
    async with open_store(path) as one, open_store(path) as two:
        [away] = one.detached_jobs
        assert [away] == two.detached_jobs
        await one.write(JobAdopted(away.id, away.server_id))
        with pytest.raises(JobGone):
            await two.write(JobAdopted(away.id, away.server_id))
        await two.take_stock()
        assert two.detached_jobs == []
        assert [orphan.call_id for orphan in two.orphans] == ["here"], "the adopted process is somebody's"
        ended = TurnEnded("c-away", "away", "completed", "because", sessions=(session("c-away", knows=1),))
        await one.write(Together((CallEnded("away", "completed"), ended, JobEnded("away", "completed", "{}"))))
        assert [turn.text for turn in await two.turns("c-away")] == ["because"]
        job = two.job("away")
        assert job is not None
        assert job.status == "completed"
    assert rows(path, "SELECT status FROM calls WHERE id = 'away'") == [("completed",)]


async def test_a_detached_job_of_an_adopter_that_goes_is_there_for_the_next(path: Path) -> None:
    with program(HOLDER, path) as dead:
        assert dead.stdout is not None
        dead.stdout.readline()
    with program(ADOPTER, path) as adopter:
        output, _ = await anyio.to_thread.run_sync(lambda: adopter.communicate(timeout=300))
    assert output == "adopted away\n"
    async with open_store(path) as store:
        assert [job.id for job in store.detached_jobs] == ["away"]
        assert [turn.status for turn in await store.turns("c-away")] == ["running"]


async def test_a_detached_job_of_a_store_that_was_closed_can_be_adopted_while_its_process_lives(path: Path) -> None:
    async with open_store(path) as other:
        async with open_store(path) as store:
            await store.write(JobStarted("away", "library", "why?", detached=True))
            await other.take_stock()
            assert other.detached_jobs == []
        await other.take_stock()
        [away] = other.detached_jobs
        await other.write(JobAdopted(away.id, away.server_id))
        await other.take_stock()
        assert other.detached_jobs == []


async def test_what_still_runs_when_the_store_is_closed_is_interrupted_and_found_by_its_words(path: Path) -> None:
    async with open_store(path) as store:
        await store.write(CallStarted("k", "mcp"))
        await store.write(Together((TurnStarted("c", "k", "a question"), JobStarted("k", "mcp", "a question"))))
        await store.write(ProcessStarted(os.getpid(), "k"))
    async with open_store(path) as store:
        job = store.job("k")
        assert job is not None
        assert job.status == "interrupted"
        assert [turn.status for turn in await store.turns("c")] == ["interrupted"]
        assert [each.conversation_id for each in (await store.search_conversations("question")).found] == ["c"]
