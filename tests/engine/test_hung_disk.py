"""A disk that does not answer: neither full nor held, it takes what it is given and says nothing."""

import sqlite3
import threading
from collections.abc import Generator
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from dragoman.engine import Engine, call, record
from dragoman.engine.jobs import job_records
from dragoman.engine.layers import turns
from dragoman.schemas import LLMRequest, Notice
from dragoman.store import JobStarted, TurnEnded, TurnStarted, writer
from dragoman.testing import FakeAdapter
from tests.engine.oracle import Oracle, keeps_sessions
from tests.engine.test_conversations import FORKS, KEEPS, ask, engine, session

pytestmark = pytest.mark.anyio

UNKNOWN = "it is not known whether this turn is part of its conversation"
NEVER = 1e6


class Disk:
    """Hangs in the middle of a transaction, from when it is told to until it is told to answer."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.hangs = threading.Event()
        """Set when somebody waits for it."""

    def wait(self) -> None:
        if not self.answers.is_set():
            self.hangs.set()
            self.answers.wait()

    async def hung(self) -> None:
        assert await anyio.to_thread.run_sync(self.hangs.wait, 30)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Generator[Disk]:
    disk, apply = Disk(), TurnEnded.apply

    def hanging(self: TurnEnded, db: sqlite3.Connection, server_id: int) -> None:
        disk.wait()
        apply(self, db, server_id)

    monkeypatch.setattr(TurnEnded, "apply", hanging)
    yield disk
    disk.answers.set()


@pytest.fixture(autouse=True)
async def _bounded(disk: Disk) -> object:
    with anyio.fail_after(60):
        yield


async def statuses(running: Engine) -> list[tuple[str, str]]:
    _, found, _ = await running.conversations.show("talk")
    return [(turn.prompt, turn.status) for turn in found]


async def test_an_answer_is_told_though_the_disk_hangs_and_nobody_goes_on_before_its_turn_is_there(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, KEEPS) as running:
        await ask(running, "one")
        monkeypatch.setattr(turns, "KEPT_S", 0.05)
        disk.answers.clear()
        second = running.submit(LLMRequest(prompt="two", provider="fake", conversation_id="talk"))
        reply = await second.outcome()
        assert (reply.status, reply.text, reply.conversation_id) == ("completed", "answer to two", None)
        [notice] = reply.notices
        assert notice.startswith(UNKNOWN)
        assert "may be later" in notice
        assert second.log.events[-1] == Notice(message=notice)
        # The provider's own session has it, so nobody may go on as if it had not been.
        refused = await ask(running, "three")
        assert refused.error is not None
        assert "its last turn is not on disk yet" in refused.error.message
        assert refused.error.next_step
        assert len(oracle.asked) == 2
        monkeypatch.setattr(turns, "KEPT_S", NEVER)
        disk.answers.set()
        assert (await ask(running, "four")).notices == ()
        assert await statuses(running) == [("one", "completed"), ("two", "completed"), ("four", "completed")]
    assert session(oracle.asked[2]) == (False, False, "two")
    assert oracle.asked[2]["prompt"] == "four"


async def test_a_turn_that_a_disk_refuses_after_all_is_taken_back(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = TurnEnded.apply

    def fails(self: TurnEnded, db: sqlite3.Connection, server_id: int) -> None:
        apply(self, db, server_id)
        if "two" in self.text:
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(TurnEnded, "apply", fails)
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, FORKS) as running:
        await ask(running, "one")
        monkeypatch.setattr(turns, "KEPT_S", 0.05)
        disk.answers.clear()
        assert (await ask(running, "two")).notices[0].startswith(UNKNOWN)
        monkeypatch.setattr(turns, "KEPT_S", NEVER)
        disk.answers.set()
        await ask(running, "three")
        assert await statuses(running) == [("one", "completed"), ("two", "interrupted"), ("three", "completed")]
    assert session(oracle.asked[2]) == (False, True, "one")


async def test_a_turn_of_which_nothing_more_could_be_written_is_not_gone_on_with_in_the_providers_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = TurnEnded.apply

    def fails(self: TurnEnded, db: sqlite3.Connection, server_id: int) -> None:
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        apply(self, db, server_id)

    full = False
    monkeypatch.setattr(TurnEnded, "apply", fails)
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, FORKS) as running:
        await ask(running, "one")
        full = True
        assert "is full" in (await ask(running, "two")).notices[0]
        full = False
        await ask(running, "three")
    assert session(oracle.asked[2]) == (False, True, "one")


async def test_a_slow_disk_is_waited_for(tmp_path: Path, disk: Disk) -> None:
    async with engine(tmp_path, Oracle(keeps_sessions), KEEPS) as running:
        disk.answers.clear()
        asked = running.submit(LLMRequest(prompt="one", provider="fake", conversation_id="talk"))
        await disk.hung()
        # Longer than a transaction waits for another program, and than a disk takes that must spin up.
        assert asked.keeping.deadline - anyio.current_time() > writer.BUSY_TIMEOUT_S
        assert asked.reply is None
        disk.answers.set()
        reply = await asked.outcome()
        assert (reply.conversation_id, reply.notices) == ("talk", ())


async def test_whoever_cancels_a_call_that_waits_for_the_disk_gets_away(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "KEPT_S", NEVER)
    monkeypatch.setattr(call, "HURRY_S", 0.05)
    async with engine(tmp_path, Oracle(keeps_sessions), KEEPS) as running:
        await ask(running, "one")
        disk.answers.clear()
        second = running.submit(LLMRequest(prompt="two", provider="fake", conversation_id="talk"))
        await disk.hung()
        second.cancel()
        reply = await second.outcome()
        assert reply.text == "answer to two"
        assert reply.notices[0].startswith(UNKNOWN)


async def test_a_call_that_was_cancelled_long_before_its_turn_is_kept_waits_for_the_disk_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "HURRY_S", -1)
    oracle = Oracle(lambda _: b"")
    async with engine(tmp_path, oracle, FakeAdapter(keeps_sessions=True)) as running:
        asked = running.submit(LLMRequest(prompt="one", provider="fake", conversation_id="talk"))
        while not oracle.asked:
            await anyio.lowlevel.checkpoint()
        asked.cancel()
        reply = await asked.outcome()
        assert (reply.status, reply.conversation_id, reply.notices) == ("cancelled", "talk", ())
        assert await statuses(running) == [("one", "cancelled")]


async def test_a_call_without_time_left_waits_no_longer_than_one_that_was_cancelled(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "KEPT_S", NEVER)
    monkeypatch.setattr(turns, "HURRY_S", 0.05)
    async with engine(tmp_path, Oracle(lambda _: b""), FakeAdapter(keeps_sessions=True)) as running:
        disk.answers.clear()
        reply = await ask(running, "one", timeouts={"call": 0.3})
        assert reply.error is not None
        assert reply.notices[0].startswith(UNKNOWN)


async def test_an_engine_is_left_though_the_disk_hangs(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "KEPT_S", NEVER)
    monkeypatch.setattr(call, "HURRY_S", 0.05)
    monkeypatch.setattr("dragoman.store.store.CLOSE_S", 0.05)
    async with engine(tmp_path, Oracle(keeps_sessions), KEEPS) as running:
        disk.answers.clear()
        asked = running.submit(LLMRequest(prompt="one", provider="fake", conversation_id="talk"))
        await disk.hung()
    assert asked.reply is not None
    assert asked.reply.notices[0].startswith(UNKNOWN)


@pytest.mark.parametrize("record_of", [JobStarted, TurnStarted])
async def test_a_job_with_a_key_begins_though_the_disk_hangs(
    tmp_path: Path, disk: Disk, record_of: type[JobStarted | TurnStarted], monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = record_of.apply

    def hanging(self: JobStarted, db: sqlite3.Connection, server_id: int) -> object:
        disk.wait()
        return apply(self, db, server_id)  # pyright: ignore[reportArgumentType] - one of both

    monkeypatch.setattr(record_of, "apply", hanging)
    for module, name in ((turns, "KEPT_S"), (job_records, "KEPT_S"), (job_records, "ON_DISK_S")):
        monkeypatch.setattr(module, name, 0.05)
    async with engine(tmp_path, Oracle(keeps_sessions), KEEPS) as running:
        await running.jobs.listed()
        disk.answers.clear()
        job = await running.jobs.start(LLMRequest(prompt="one", provider="fake", idempotency_key="k"), face="test")
        reply = await job.wait()
        assert (reply.status, reply.text) == ("completed", "answer to one")
        assert reply.notices[0].startswith(UNKNOWN)
        disk.answers.set()
    async with engine(tmp_path, Oracle(keeps_sessions), KEEPS) as later:
        found = await later.jobs.find(job.id)
        assert (found.info.status, found.reply().text) == ("completed", "answer to one")


async def test_a_store_that_does_not_let_itself_be_opened_costs_no_answer(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = writer.Writer._open  # pyright: ignore[reportPrivateUsage] - the disk hangs there

    def hanging(self: writer.Writer) -> sqlite3.Connection:
        disk.wait()
        return opening(self)

    monkeypatch.setattr(writer.Writer, "_open", hanging)
    monkeypatch.setattr(record, "OPEN_S", 0.05)
    disk.answers.clear()
    async with engine(tmp_path, Oracle(keeps_sessions), KEEPS) as running:
        job = await running.jobs.start(LLMRequest(prompt="one", provider="fake"), face="test")
        reply = await job.wait()
        assert (reply.status, reply.conversation_id) == ("completed", None)
        assert "not kept" in reply.notices[0]
