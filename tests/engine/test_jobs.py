"""Jobs: calls that are fetched by their id, in this process and from others."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from dragoman.adapters.base import Completed, Outcome
from dragoman.config import state_folder
from dragoman.engine import Engine, Job, record
from dragoman.engine.attempt.host import DialogueHost
from dragoman.engine.context import Context
from dragoman.engine.record import store_file
from dragoman.processes import Child, Command
from dragoman.schemas import ErrorCode, LLMError, LLMRequest, Text, TimeoutOverrides
from dragoman.store import JobStarted, writer
from dragoman.testing import FakeAdapter
from tests.engine.oracle import Oracle, Question, keeps_sessions
from tests.engine.test_conversations import ask, engine
from tests.engine.virtual import FakeSpawner, line

pytestmark = pytest.mark.anyio

ADAPTER = FakeAdapter()


class Held(Oracle):
    """Processes that start when they are told to."""

    def __init__(self) -> None:
        super().__init__(keeps_sessions)
        self.starts = anyio.Event()

    async def spawn(self, command: Command) -> Child:
        await self.starts.wait()
        return await super().spawn(command)


def question(prompt: str = "one", key: str | None = None) -> LLMRequest:
    return LLMRequest(prompt=prompt, provider="fake", idempotency_key=key)


async def found(engine: Engine, job_id: str) -> Job:
    """A job of another engine, once it is written down."""
    with anyio.fail_after(60):
        while True:
            try:
                return await engine.jobs.find(job_id)
            except LLMError:
                await anyio.sleep(0.01)  # nothing tells


async def test_a_job_is_running_until_its_answer_is_there(tmp_path: Path) -> None:
    oracle = Held()
    async with engine(tmp_path, oracle, ADAPTER) as running:
        job = await running.jobs.start(question(), face="test")
        reply = await job.wait(0.01)
        assert (reply.status, reply.job_id) == ("running", job.id)
        assert reply.conversation_id is not None
        oracle.starts.set()
        with anyio.fail_after(60):
            reply = await (await running.jobs.find(job.id)).wait()
        assert (reply.status, reply.text, reply.job_id) == ("completed", "PLAIN", job.id)


class Looks(Oracle):
    """Looks, as another program would, which jobs are on disk when a child is to be started."""

    def __init__(self) -> None:
        super().__init__(keeps_sessions)
        self.seen: list[list[tuple[str, str]]] = []

    async def spawn(self, command: Command) -> Child:
        with closing(sqlite3.connect(store_file())) as db:
            self.seen.append(db.execute("SELECT id, status FROM jobs").fetchall())
        return await super().spawn(command)


class Commands(Oracle):
    """Notes what it is to start."""

    def __init__(self, answer: Callable[[Question], bytes]) -> None:
        super().__init__(answer)
        self.commands: list[Command] = []

    async def spawn(self, command: Command) -> Child:
        self.commands.append(command)
        return await super().spawn(command)


@pytest.mark.parametrize("given", [{}, {"remember": False}, {"idempotency_key": "k"}, {"background": True}])
@pytest.mark.parametrize("asks_others", [False, True])
async def test_a_job_is_on_disk_before_its_child_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, object], *, asks_others: bool
) -> None:
    # Nothing is written but what somebody waits for.
    monkeypatch.setattr(writer, "GATHER_S", 3600)
    monkeypatch.setattr("dragoman.engine.engine.TIDY_AFTER_S", 3600)
    oracle = Looks()
    async with engine(tmp_path, oracle, FakeAdapter(detaches=True)) as running:

        async def ask_another(_: Context) -> Outcome:
            return Completed(text=(await ask(running, "one", None, remember=False)).text)

        request = LLMRequest.model_validate({"prompt": "one", "provider": "fake", **given})
        with anyio.fail_after(60):
            job = await running.jobs.start(request, face="test", work=ask_another if asks_others else None)
            await job.wait()
    assert oracle.seen == [[(job.id, "running")]]


async def test_many_jobs_at_once_are_all_on_disk_before_their_children_start(tmp_path: Path) -> None:
    oracle = Looks()
    limits = {"limits": {"max_concurrency": 50}, "providers": {"fake": {"max_concurrency": 50}}}
    async with engine(tmp_path, oracle, ADAPTER, configuration=limits) as running:
        with anyio.fail_after(60):
            jobs = [await running.jobs.start(question(str(number)), face="test") for number in range(50)]
            replies = [await job.wait() for job in jobs]
    assert {reply.status for reply in replies} == {"completed"}
    # In whichever order they come: each time there is one child more, there is its job.
    assert [len(seen) >= number for number, seen in enumerate(oracle.seen, 1)] == [True] * 50


@pytest.mark.parametrize("given", [{}, {"idempotency_key": "k"}, {"background": True}])
async def test_a_job_that_cannot_be_written_down_is_answered_and_ends_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, object]
) -> None:
    def fails(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    oracle = Commands(keeps_sessions)
    async with engine(tmp_path, oracle, FakeAdapter(detaches=True)) as running:
        monkeypatch.setattr(JobStarted, "apply", fails)
        request = LLMRequest.model_validate({"prompt": "one", "provider": "fake", **given})
        with anyio.fail_after(60):
            job = await running.jobs.start(request, face="test")
            assert job.call is not None
            assert not job.call.can_be_left
            reply = await job.wait()
    assert (reply.status, reply.text) == ("completed", "PLAIN")
    # Nobody would ever find one that goes on alone.
    assert [command.detached for command in oracle.commands] == [None]


async def test_a_job_that_is_not_on_disk_is_not_left_alone_when_it_is_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async def outlive(_: DialogueHost) -> bool:
        raise AssertionError("its child is left alone")

    monkeypatch.setattr(DialogueHost, "outlive", outlive)
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner, FakeAdapter(detaches=True)) as running:
        monkeypatch.setattr(JobStarted, "apply", fails)
        with anyio.fail_after(60):
            job = await running.jobs.start(question(), face="test")
            process = await spawner.process()
            await job.hand_out()
            process.feed(line(text="fine") + line(done={}))
            process.exit(0)
            assert (await job.wait()).text == "fine"


async def test_a_file_that_another_program_holds_keeps_no_child_from_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "ON_DISK_S", 0.05)
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner, ADAPTER) as running:
        await running.jobs.listed()
        with closing(sqlite3.connect(store_file(), isolation_level=None)) as other, anyio.fail_after(60):
            other.execute("BEGIN IMMEDIATE")
            job = await running.jobs.start(question(), face="test")
            process = await spawner.process()
            other.execute("ROLLBACK")
        process.feed(line(text="fine") + line(done={}))
        process.exit(0)
        with anyio.fail_after(60):
            assert (await job.wait()).text == "fine"
        assert (await running.jobs.listed())[0].job_id == job.id


async def test_whoever_gives_up_while_a_job_is_written_down_leaves_none_behind_that_never_runs(tmp_path: Path) -> None:
    async with engine(tmp_path, Oracle(keeps_sessions), ADAPTER) as running:
        await running.jobs.listed()
        with anyio.fail_after(60):
            with closing(sqlite3.connect(store_file(), isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                async with anyio.create_task_group() as tasks:

                    async def start() -> None:
                        await running.jobs.start(question(key="k"), face="test")

                    tasks.start_soon(start)
                    await anyio.wait_all_tasks_blocked()
                    tasks.cancel_scope.cancel()
                    other.execute("ROLLBACK")
            job = await running.jobs.start(question(key="k"), face="test")
            assert (await job.wait()).text == "PLAIN"
            assert len(await running.jobs.listed()) == 1


async def test_the_key_of_a_job_that_is_just_being_cancelled_can_be_used_again(tmp_path: Path) -> None:
    oracle = Held()
    async with engine(tmp_path, oracle, ADAPTER) as running:
        with anyio.fail_after(60):
            first = await running.jobs.start(question(key="k"), face="test")
            assert first.call is not None
            first.call.cancel()
            second = await running.jobs.start(question(key="k"), face="test")
            oracle.starts.set()
            assert (await first.wait()).status == "cancelled"
            assert (await second.wait()).text == "PLAIN"


async def test_a_store_that_could_not_be_opened_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "AGAIN_S", 0)
    place = tmp_path / "state"
    place.touch()
    monkeypatch.setenv("DRAGOMAN_HOME", str(place))
    gate = FakeSpawner()
    async with engine(tmp_path, gate, ADAPTER) as running:
        with anyio.fail_after(60):
            # It begins without a store, and ends with one.
            job = await running.jobs.start(LLMRequest(prompt="one", provider="fake"), face="test")
            process = await gate.process()
            with pytest.raises(LLMError, match=f"{place}.*(exists|directory)") as missing:
                await running.conversations.list()
            assert missing.value.info.next_step
            with pytest.raises(LLMError, match=str(place)):
                await running.jobs.find("another")
            assert [info.job_id for info in await running.jobs.listed()] == [job.id]
            place.unlink()
            assert await running.conversations.list() == []
            process.feed(line(text="fine") + line(done={}))
            process.exit(0)
            reply = await job.wait()
            assert (reply.text, reply.conversation_id) == ("fine", None)
            assert str(place) in " ".join(reply.notices)
            second = await running.jobs.start(LLMRequest(prompt="two", provider="fake"), face="test")
            process = await gate.process(1)
            process.feed(line(text="kept") + line(done={}))
            process.exit(0)
            kept = await second.wait()
            assert kept.conversation_id is not None
            assert [info.conversation_id for info in await running.conversations.list()] == [kept.conversation_id]


async def test_who_lists_jobs_that_cannot_be_read_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path / "file"))
    async with engine(tmp_path, Oracle(keeps_sessions), ADAPTER) as running:
        with pytest.raises(LLMError, match="jobs cannot be read") as unreadable:
            await running.jobs.listed()
    assert unreadable.value.info.next_step


async def test_another_engine_waits_for_a_job_and_reads_what_happened(tmp_path: Path) -> None:
    oracle = Held()
    async with engine(tmp_path, oracle, ADAPTER) as running, engine(tmp_path, oracle, ADAPTER) as other:
        job = await running.jobs.start(question(), face="test")
        there = await found(other, job.id)
        assert there.call is None
        assert (await there.wait(0)).status == "running"
        oracle.starts.set()
        with anyio.fail_after(60):
            reply = await there.wait()
        assert (reply.status, reply.text, reply.job_id) == ("completed", "PLAIN", job.id)
        assert reply.conversation_id == job.reply().conversation_id is not None
        assert [info.status for info in await other.jobs.listed()] == ["completed"]
        with anyio.fail_after(60):
            while not (events := (await there.events())[0]):  # noqa: ASYNC110 - another connection writes it
                await anyio.sleep(0.02)
        assert [event.text for event in events if isinstance(event, Text)] == ["PLAIN"]


async def test_another_engine_cancels_a_job(tmp_path: Path) -> None:
    async with engine(tmp_path, Held(), ADAPTER) as running, engine(tmp_path, Held(), ADAPTER) as other:
        job = await running.jobs.start(question(), face="test")
        with anyio.fail_after(60):
            reply = await (await found(other, job.id)).cancel()
        assert reply.status == "cancelled"
        assert job.reply().status == "cancelled"


async def test_the_same_key_attaches_to_the_running_job_and_to_the_one_that_ended(tmp_path: Path) -> None:
    oracle = Held()
    async with engine(tmp_path, oracle, ADAPTER) as running, engine(tmp_path, oracle, ADAPTER) as other:
        first = await running.jobs.start(question(key="k"), face="test", scope="s")
        again = await running.jobs.start(question(key="k"), face="test", scope="s")
        elsewhere = await other.jobs.start(question(key="k"), face="test", scope="s")
        oracle.starts.set()
        with anyio.fail_after(60):
            replies = [await job.wait() for job in (first, again, elsewhere)]
            later = await (await running.jobs.start(question(key="k"), face="test", scope="s")).wait()
        assert {reply.job_id for reply in (*replies, later)} == {first.id}
        assert len(oracle.asked) == 1
        another = await running.jobs.start(question(key="k"), face="test", scope="t")
        assert another.id != first.id


async def test_the_same_key_for_another_question_is_refused(tmp_path: Path) -> None:
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, ADAPTER) as running:
        await (await running.jobs.start(question(key="k"), face="test")).wait()
        with pytest.raises(LLMError, match="another question") as raised:
            await running.jobs.start(question("two", key="k"), face="test")
        assert raised.value.info.code is ErrorCode.BAD_REQUEST


async def test_how_a_question_is_waited_for_makes_it_no_other_one(tmp_path: Path) -> None:
    async with engine(tmp_path, Oracle(keeps_sessions), ADAPTER) as running:
        first = await running.jobs.start(question(key="k"), face="test")
        await first.wait()
        for changed in ({"background": True}, {"if_busy": "fail"}, {"timeouts": TimeoutOverrides(call=7)}):
            again = await running.jobs.start(question(key="k").model_copy(update=changed), face="test")
            assert again.id == first.id


async def test_two_engines_that_use_a_key_at_once_start_one_job(tmp_path: Path) -> None:
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, ADAPTER) as running, engine(tmp_path, oracle, ADAPTER) as other:
        found: list[str] = []

        async def start(which: Engine) -> None:
            job = await which.jobs.start(question(key="k"), face="test")
            found.append(job.id)
            await job.wait()

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for which in (running, other):
                    tasks.start_soon(start, which)
        assert len(set(found)) == len(oracle.asked) == 1


async def test_a_job_whose_process_left_is_interrupted(tmp_path: Path) -> None:
    async with engine(tmp_path, Held(), ADAPTER) as running:
        job = await running.jobs.start(question(), face="test")
    async with engine(tmp_path, Held(), ADAPTER) as other:
        reply = (await other.jobs.find(job.id)).reply()
        assert (reply.status, reply.error and reply.error.next_step) == (
            "interrupted",
            "ask again, in the same conversation",
        )
        with pytest.raises(LLMError, match="no job"):
            await other.jobs.find("nobody")


async def test_the_key_of_a_job_that_came_to_nothing_can_be_used_again(tmp_path: Path) -> None:
    answers = [line(error={"code": "auth", "message": "no"}), line(text="fine") + line(done={})]
    async with engine(tmp_path, Oracle(lambda _: answers.pop(0)), ADAPTER) as running:
        first = await (await running.jobs.start(question(key="k"), face="test")).wait()
        second = await (await running.jobs.start(question(key="k"), face="test")).wait()
    assert (first.status, second.status) == ("failed", "completed")


async def test_an_answer_that_an_older_dragoman_wrote_down_is_read(tmp_path: Path) -> None:
    async with engine(tmp_path, Oracle(keeps_sessions), ADAPTER) as running:
        told = await (await running.jobs.start(question(key="k"), face="test")).wait()
    with sqlite3.connect(state_folder() / "dragoman.sqlite3") as db:
        db.execute("UPDATE jobs SET reply = json_set(reply, '$.text', text), text = NULL")
    db.close()
    async with engine(tmp_path, Oracle(keeps_sessions), ADAPTER) as other:
        assert told.job_id is not None
        assert (await other.jobs.find(told.job_id)).reply() == told
