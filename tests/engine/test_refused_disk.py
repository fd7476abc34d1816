"""A disk that refuses what a job has to write at its beginning or its end costs neither the answer nor a second one."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman.engine import Engine, Job
from dragoman.engine.jobs import ended
from dragoman.engine.record import Recorder, store_file
from dragoman.schemas import ErrorCode, LLMError, LLMRequest
from dragoman.store import JobEnded, JobStarted, TurnEnded, open_store, writer
from dragoman.testing import FakeCli
from tests.engine.oracle import Oracle, keeps_sessions
from tests.engine.test_conversations import KEEPS
from tests.engine.test_conversations import engine as with_oracle
from tests.engine.test_detached import LONG_S, engine
from tests.engine.test_hung_disk import Disk, disk

__all__ = ["disk"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Any]], list[bool]]:
    """Have the disk refuse records of a type as long as the list holds True."""

    def fill(record: type[Any]) -> list[bool]:
        is_full, apply = [True], record.apply

        def refusing(self: object, db: sqlite3.Connection, server_id: int) -> object:
            if is_full[0]:
                raise sqlite3.OperationalError("database or disk is full")
            return apply(self, db, server_id)

        monkeypatch.setattr(record, "apply", refusing)
        return is_full

    return fill


async def kept(running: Engine, job: Job) -> None:
    """Wait until a job that has told its reply is one of the ended."""
    while job.id not in running.jobs._ended:  # noqa: ASYNC110 # pyright: ignore[reportPrivateUsage] - nothing tells
        await anyio.sleep(0.001)


@pytest.mark.parametrize("refused", [(JobEnded,), (JobEnded, TurnEnded)], ids=["its end", "and its turn's"])
async def test_a_job_whose_end_was_refused_is_read_by_the_next_one_and_not_asked_again(
    tmp_path: Path, fill: Callable[[type[Any]], list[bool]], refused: tuple[type[Any], ...]
) -> None:
    cli = FakeCli(tmp_path, "dragoman-fake")
    cli.script({"read": "all"}, {"line": {"text": "Paris"}}, {"line": {"done": {}}})
    disks = [fill(record) for record in refused]
    with anyio.fail_after(LONG_S):
        async with engine(tmp_path) as running:
            request = LLMRequest(prompt="one", provider="fake", conversation_id="talk", background=True)
            job = await running.jobs.start(request, face="test")
            assert (await job.wait()).text == "Paris"
        for is_full in disks:
            is_full[0] = False
        async with engine(tmp_path) as other:
            reply = await (await other.jobs.find(job.id)).wait()
    assert (reply.status, reply.text, cli.starts) == ("completed", "Paris", 1)


async def test_an_end_that_was_refused_is_written_once_the_disk_takes_it(
    tmp_path: Path, fill: Callable[[type[Any]], list[bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server lives on and has the reply; whoever has the id elsewhere must not wait until that server ends."""
    monkeypatch.setattr(ended, "AGAIN_S", 0.0)
    is_full = fill(JobEnded)
    with anyio.fail_after(LONG_S):
        async with with_oracle(tmp_path, Oracle(keeps_sessions), KEEPS) as running:
            job = await running.jobs.start(LLMRequest(prompt="one", provider="fake", idempotency_key="k"), face="test")
            told = await job.wait()
            async with with_oracle(tmp_path, Oracle(keeps_sessions), KEEPS) as other:
                assert (await other.jobs.find(job.id)).info.status == "running"
                is_full[0] = False
                assert await (await other.jobs.find(job.id)).wait() == told


async def test_an_end_that_was_refused_is_written_at_the_latest_when_its_engine_is_left(
    tmp_path: Path, fill: Callable[[type[Any]], list[bool]]
) -> None:
    is_full = fill(JobEnded)
    with anyio.fail_after(LONG_S):
        async with with_oracle(tmp_path, Oracle(keeps_sessions), KEEPS) as running:
            job = await running.jobs.start(LLMRequest(prompt="one", provider="fake", idempotency_key="k"), face="test")
            told = await job.wait()
            await kept(running, job)
            is_full[0] = False
        async with open_store(store_file()) as store:
            row = store.job(job.id)
        assert row is not None
        assert row.status == told.status == "completed"


async def test_a_key_is_good_as_long_as_its_job_though_that_is_in_no_store(
    tmp_path: Path, fill: Callable[[type[Any]], list[bool]]
) -> None:
    fill(JobStarted)
    oracle = Oracle(keeps_sessions)
    async with with_oracle(tmp_path, oracle, KEEPS) as running:
        asked = LLMRequest(prompt="one", provider="fake", idempotency_key="k")
        job = await running.jobs.start(asked, face="test")
        first = await job.wait()
        await kept(running, job)
        again = await (await running.jobs.start(asked, face="test")).wait()
        assert (again.call_id, len(oracle.asked)) == (first.call_id, 1)
        with pytest.raises(LLMError, match="another question") as raised:
            await running.jobs.start(asked.model_copy(update={"prompt": "two"}), face="test")
        assert raised.value.info.code is ErrorCode.BAD_REQUEST


async def test_a_job_that_is_being_written_down_when_its_engine_is_left_is_there_for_the_next_one(
    tmp_path: Path,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a client closes stdin right behind its question, and the store cannot be opened at once."""
    opening, leaving = writer.Writer._open, Recorder.leaving  # pyright: ignore[reportPrivateUsage] - the disk hangs there

    def hanging(self: writer.Writer) -> sqlite3.Connection:
        disk.wait()
        return opening(self)

    def left(self: Recorder) -> None:
        leaving(self)
        disk.answers.set()

    monkeypatch.setattr(writer.Writer, "_open", hanging)
    monkeypatch.setattr(Recorder, "leaving", left)
    cli = FakeCli(tmp_path, "dragoman-fake")
    cli.script({"read": "all"}, {"line": {"text": "Paris"}}, {"line": {"done": {}}})
    jobs: list[Job] = []
    disk.answers.clear()
    with anyio.fail_after(LONG_S):
        async with anyio.create_task_group() as tasks, engine(tmp_path) as running:

            async def start() -> None:
                request = LLMRequest(prompt="one", provider="fake", background=True)
                jobs.append(await running.jobs.start(request, face="test"))

            tasks.start_soon(start)
            await disk.hung()
        async with engine(tmp_path) as other:
            reply = await (await other.jobs.find(jobs[0].id)).wait()
    assert (reply.status, reply.text, cli.starts) == ("completed", "Paris", 1)
