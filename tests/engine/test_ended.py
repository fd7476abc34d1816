"""Which ended jobs stay in memory, and that none is lost by that."""

import gc
import sqlite3
import weakref
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.config import state_folder
from dragoman.engine import Call, Engine
from dragoman.engine.jobs import ended as ended_module
from dragoman.engine.jobs.ended import EndedJobs
from dragoman.schemas import LLMRequest, LLMResponse
from dragoman.store import JobGone, StoreError
from dragoman.testing import FakeAdapter
from tests.engine.oracle import Oracle
from tests.engine.test_conversations import engine
from tests.engine.virtual import line

pytestmark = pytest.mark.anyio

LONG = 10_000


@dataclass
class Written:
    """What became of a record."""

    done: bool = True
    error: StoreError | None = None


ON_DISK = Written()
WAITS = Written(done=False)
GONE = Written(error=JobGone("there is no such job", "ask again"))
LOST = Written(error=StoreError(Path("/"), "full", "make room"))


def ended(name: str, size: int = 0) -> tuple[Call, LLMResponse]:
    call = Call(LLMRequest(prompt="hi"), "test", call_id=name)
    return call, LLMResponse(status="completed", text="x" * size)


def rewritten(_: Call, __: LLMResponse) -> Written:
    pytest.fail("nothing is written again that nobody asked for")


@pytest.fixture
def no_collection() -> Generator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended_module, "MAX_ENDED", 3)
    monkeypatch.setattr(ended_module, "MAX_BYTES", 4 * LONG)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("jobs", "gone"),
    [
        pytest.param([(1, ON_DISK)] * 5, "01", id="more than are to be held"),
        pytest.param([(LONG, ON_DISK), (3 * LONG, ON_DISK)], "0", id="too large together"),
        pytest.param([(5 * LONG, ON_DISK)], "0", id="too large alone"),
        pytest.param([(3 * LONG, WAITS), (2 * LONG, WAITS)], "", id="not written yet"),
        pytest.param([(LONG, WAITS), (LONG, ON_DISK), (2 * LONG, ON_DISK)], "1", id="what was written goes first"),
        pytest.param([(3 * LONG, LOST), (3 * LONG, None)], "", id="large, and nowhere else"),
        pytest.param([(1, LOST)] * 5, "01", id="nowhere else, and too many"),
        pytest.param([(1, LOST), (1, ON_DISK), (1, WAITS), (1, WAITS), (1, LOST)], "1", id="each kind"),
    ],
)
async def test_what_is_on_disk_goes_first_and_what_is_nowhere_else_last(
    jobs: list[tuple[int, Written | None]], gone: str
) -> None:
    forgotten: list[str] = []
    kept = EndedJobs(forgotten.append, rewritten)
    for number, (size, written) in enumerate(jobs):
        kept.add(*ended(str(number), size), 0, ON_DISK, written)
    assert forgotten == list(gone)


@given(
    st.lists(
        st.tuples(st.integers(0, 2 * LONG), st.integers(0, 2 * LONG), st.sampled_from([ON_DISK, WAITS, LOST, None]))
    )
)
async def test_what_is_held_is_bounded_but_for_what_is_not_on_disk(jobs: list[tuple[int, int, Written | None]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ended_module, "MAX_ENDED", 3)
        patch.setattr(ended_module, "MAX_BYTES", 4 * LONG)
        held: dict[str, tuple[int, Written | None]] = {}
        kept = EndedJobs(held.pop, rewritten)
        for number, (text, other, written) in enumerate(jobs):
            held[str(number)] = (text + other, written)
            kept.add(*ended(str(number), text), other, written, ON_DISK)
            on_disk = [size for size, each in held.values() if each is ON_DISK]
            assert len(on_disk) <= 3
            assert sum(on_disk) <= 4 * LONG
            waiting = [each for _, each in held.values() if each is WAITS]
            assert len(waiting) == sum(each is WAITS for *_, each in jobs[: number + 1])
            assert len(held) - len(waiting) <= 3


async def test_an_end_that_was_refused_is_written_again_but_seldom_and_until_it_is_on_disk() -> None:
    written: list[str] = []
    becomes = [LOST, ON_DISK]

    def write(call: Call, reply: LLMResponse) -> Written:
        written.append(f"{call.id} {reply.text}")
        return becomes.pop(0)

    kept = EndedJobs(pytest.fail, write)
    kept.add(*ended("well"), 0, ON_DISK, ON_DISK)
    kept.add(*ended("refused", 2), 0, LOST, ON_DISK)
    for _ in range(3):
        assert kept.have_open_ends
        kept.write_refused()
    assert written == ["refused xx"]
    kept.write_refused(at_once=True)
    assert written == ["refused xx"] * 2
    assert not kept.have_open_ends
    kept.write_refused(at_once=True)
    assert written == ["refused xx"] * 2


@pytest.mark.parametrize(("end", "is_open"), [(WAITS, True), (ON_DISK, False), (None, False), (GONE, False)])
async def test_an_end_that_the_disk_did_not_refuse_is_not_written_again(end: Written | None, is_open: bool) -> None:
    kept = EndedJobs(pytest.fail, rewritten)
    kept.add(*ended("one"), 0, end, ON_DISK)
    assert kept.have_open_ends is is_open
    kept.write_refused(at_once=True)


@pytest.mark.usefixtures("no_collection")
async def test_an_answer_that_was_let_go_of_is_read_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_module, "MAX_BYTES", 0)
    text = "é" * LONG
    async with engine(tmp_path, Oracle(lambda _: line(text=text) + line(done={})), FakeAdapter()) as running:
        with anyio.fail_after(60):
            job = await running.jobs.start(LLMRequest(prompt="one", provider="fake"), face="test")
            told = await job.wait()
            held = weakref.ref(job.call)
            # Nobody else has to come for it.
            while (found := await running.jobs.find(job.id)).call is not None:  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.02)
            assert found.reply() == told
            assert (await found.events())[0]
            assert [info.job_id for info in await running.jobs.listed()] == [job.id]
            del job
            # At once, and not when somebody looks for cycles: answers can be long, and that can take long.
            while held() is not None:  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.02)


async def test_an_answer_that_cannot_be_written_stays_however_long_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_module, "MAX_BYTES", 0)

    async def ask(running: Engine, prompt: str) -> str:
        # With a key its end is written before it is told.
        request = LLMRequest(prompt=prompt, provider="fake", idempotency_key=prompt)
        job = await running.jobs.start(request, face="test")
        await job.wait()
        return job.id

    async with engine(tmp_path, Oracle(lambda _: line(text="x" * LONG) + line(done={})), FakeAdapter()) as running:
        with anyio.fail_after(60):
            first = await ask(running, "one")
            with sqlite3.connect(state_folder() / "dragoman.sqlite3") as db:
                db.execute(
                    "CREATE TRIGGER full BEFORE UPDATE OF reply ON jobs WHEN NEW.status = 'completed'"
                    " BEGIN SELECT RAISE(ABORT, 'full'); END"
                )
            db.close()
            second = await ask(running, "two")
            await ask(running, "three")
            while (await running.jobs.find(first)).call is not None:  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.02)
            found = await running.jobs.find(second)
            assert found.call is not None
            assert found.reply().text == "x" * LONG
