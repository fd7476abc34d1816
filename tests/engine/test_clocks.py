"""The seven clocks, in virtual time: each fires then and only then, names itself and keeps what came before."""

from pathlib import Path
from typing import Any

import anyio
import pytest
import trio.testing

from dragoman.adapters.base import Clock
from dragoman.engine.attempt.clocks import Clocks
from dragoman.engine.jobs.job_records import JobRecords
from dragoman.engine.many import Many
from dragoman.schemas import ErrorCode, LLMResponse, ManyAnswer, TimeoutConfig, TimeoutOverrides
from dragoman.testing import FakeAdapter, FakeProcess
from tests.engine.virtual import HOUR, FakeSpawner, engine, line, request, timed

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def fired(reply: LLMResponse) -> str | None:
    assert reply.error is not None, reply
    assert reply.error.code is ErrorCode.TIMEOUT
    assert reply.error.next_step
    return reply.error.clock


async def drip(process: FakeProcess, data: bytes, every_s: float, times: int) -> None:
    for _ in range(times):
        await anyio.sleep(every_s)
        process.feed(data)


async def test_spawn_fires_when_a_process_does_not_start(tmp_path: Path) -> None:
    async with engine(tmp_path, FakeSpawner(hangs=True)) as running:
        reply, elapsed = await timed(running.submit(request(spawn=HOUR)))
        assert (fired(reply), elapsed) == ("spawn", HOUR)


@pytest.mark.parametrize("clock", ["attempt", "call"])
async def test_a_disk_that_hangs_holds_a_call_no_longer_than_its_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    async def hangs(*_: object) -> bool:
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(JobRecords, "on_disk", hangs)
    async with engine(tmp_path, FakeSpawner()) as running:
        reply, elapsed = await timed(running.submit(request(**{clock: 100})))
        assert (fired(reply), elapsed) == (clock, 100)


async def test_startup_fires_when_it_says_nothing(tmp_path: Path) -> None:
    async with engine(tmp_path, FakeSpawner()) as running:
        reply, elapsed = await timed(running.submit(request(startup=HOUR)))
        assert (fired(reply), elapsed, reply.text) == ("startup", HOUR, "")


@pytest.mark.parametrize(
    ("clock", "ways"),
    [("startup", ""), ("attempt", " (`--timeout`, `timeout_s`)"), ("call", " (`--timeout`, `timeout_s`)")],
)
async def test_the_next_step_names_what_a_caller_has_to_raise_the_clock(tmp_path: Path, clock: str, ways: str) -> None:
    async with engine(tmp_path, FakeSpawner()) as running:
        reply = await running.submit(request(**{clock: 20})).outcome()
    assert fired(reply) == clock
    assert reply.error is not None
    assert reply.error.next_step == f"raise the `{clock}` clock{ways}, or ask for less at once"


async def test_idle_runs_from_the_last_sign_of_life_and_what_came_is_kept(tmp_path: Path) -> None:
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner) as running, anyio.create_task_group() as tasks:
        call = running.submit(request(startup=100, idle=100))
        tasks.start_soon(drip, await spawner.process(), line(text="."), 99, 36)
        reply, elapsed = await timed(call)
        assert (fired(reply), elapsed, reply.text) == ("idle", 36 * 99 + 100, "." * 36)


async def test_an_answer_just_in_time_is_an_answer(tmp_path: Path) -> None:
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner) as running, anyio.create_task_group() as tasks:
        call = running.submit(request(startup=100, idle=100, attempt=200, call=200))
        tasks.start_soon(drip, await spawner.process(), line(text="late") + line(done={}), 99.9, 1)
        reply, elapsed = await timed(call)
        assert (reply.status, reply.text, elapsed) == ("completed", "late", 99.9)


async def test_signs_of_life_keep_a_slow_answer_going(tmp_path: Path) -> None:
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner) as running:
        call = running.submit(request(startup=100, idle=100))
        process = await spawner.process()
        await drip(process, line(text="."), 99.9, 36)
        process.feed(line(done={}))
        reply = await call.outcome()
        assert (reply.status, reply.text) == ("completed", "." * 36)


async def test_its_own_retries_do_not_move_idle_and_are_told(tmp_path: Path) -> None:
    spawner = FakeSpawner()
    retrying = line(retrying={"attempt": 1, "cause": "HTTP 529"})
    async with engine(tmp_path, spawner) as running, anyio.create_task_group() as tasks:
        call = running.submit(request(idle=100))
        process = await spawner.process()
        process.feed(line(text="part"))
        tasks.start_soon(drip, process, retrying, 10, 20)
        reply, elapsed = await timed(call)
        assert (fired(reply), elapsed, reply.text) == ("idle", 100, "part")
        assert reply.error is not None
        assert "HTTP 529" in reply.error.message


def stop_for(seconds: float) -> None:
    """As if this process had been stopped for so long."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    clock.jump(seconds)


@pytest.mark.parametrize("clock", ["startup", "idle", "attempt", "call"])
async def test_what_is_said_while_this_process_is_stopped_is_heard(tmp_path: Path, clock: str) -> None:
    for _ in range(8):  # who comes first, the reader or whoever waits for the answer, is left to chance
        spawner = FakeSpawner()
        async with engine(tmp_path, spawner) as running:
            call = running.submit(request(**{clock: 100}))
            process = await spawner.process()
            if clock != "startup":
                process.feed(line(text="first, "))
            await anyio.wait_all_tasks_blocked()
            process.feed(line(text="last") + line(done={}))
            stop_for(500)
            reply = await call.outcome()
            assert reply.status == "completed", reply.error
            assert reply.text == ("last" if clock == "startup" else "first, last")


@pytest.mark.parametrize(("clock", "later_s"), [("startup", 100), ("idle", 100), ("attempt", 1), ("call", 1)])
async def test_a_silence_begins_anew_after_this_process_was_stopped(tmp_path: Path, clock: str, later_s: float) -> None:
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner) as running:
        call = running.submit(request(**{clock: 100}))
        process = await spawner.process()
        if clock != "startup":
            process.feed(line(text="first"))
        await anyio.wait_all_tasks_blocked()
        stop_for(500)
        reply, elapsed = await timed(call)
        assert (fired(reply), elapsed) == (clock, later_s)
        assert reply.text == ("" if clock == "startup" else "first")


async def test_a_retry_that_was_overcome_is_not_blamed(tmp_path: Path) -> None:
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner) as running:
        call = running.submit(request(idle=100))
        process = await spawner.process()
        process.feed(line(retrying={"attempt": 1, "cause": "HTTP 529"}))
        await anyio.wait_all_tasks_blocked()
        process.feed(line(text="part"))
        reply = await call.outcome()
        assert fired(reply) == "idle"
        assert reply.error is not None
        assert "529" not in reply.error.message


@pytest.mark.parametrize("clock", ["attempt", "call"])
async def test_an_endless_drip_ends_with_the_attempt_and_with_the_call(tmp_path: Path, clock: str) -> None:
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner) as running, anyio.create_task_group() as tasks:
        call = running.submit(request(idle=60, **{clock: HOUR}))
        tasks.start_soon(drip, await spawner.process(), line(text="."), 59, 100)
        reply, elapsed = await timed(call)
        assert (fired(reply), elapsed, reply.text) == (clock, HOUR, "." * int(HOUR // 59))


@pytest.mark.parametrize(
    ("applies", "clock"), [({"startup"}, "startup"), ({"idle"}, "attempt"), (set[Clock](), "attempt")]
)
async def test_only_the_clocks_of_the_profile_apply(tmp_path: Path, applies: set[Clock], clock: str) -> None:
    adapter = FakeAdapter(clocks=frozenset(applies))
    async with engine(tmp_path, FakeSpawner(), adapter) as running:
        reply, elapsed = await timed(running.submit(request(startup=10, idle=10, attempt=HOUR)))
        assert (fired(reply), elapsed) == (clock, 10 if clock == "startup" else HOUR)


@pytest.mark.parametrize(("queue", "call", "clock"), [(30, HOUR, "queue"), (HOUR, 30, "call")])
async def test_waiting_for_a_place_ends_with_the_shorter_of_queue_and_call(
    tmp_path: Path, queue: float, call: float, clock: str
) -> None:
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner, configuration={"limits": {"max_concurrency": 1}}) as running:
        first = running.submit(request())
        await spawner.process()
        reply, elapsed = await timed(running.submit(request(queue=queue, call=call)))
        assert (fired(reply), elapsed, first.reply) == (clock, 30, None)
        assert len(spawner.processes) == 1


async def test_the_call_goes_on_while_it_waits_for_a_place(tmp_path: Path) -> None:
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner, configuration={"limits": {"max_concurrency": 1}}) as running:
        running.submit(request(startup=40))
        await spawner.process()
        reply, elapsed = await timed(running.submit(request(call=100)))
        assert (fired(reply), elapsed) == ("call", 100)


async def test_a_program_that_does_not_tell_its_version_holds_no_call_longer_than_its_clock(tmp_path: Path) -> None:
    async with engine(tmp_path, FakeSpawner(hangs=True), FakeAdapter(plan_needs_version=True)) as running:
        reply, elapsed = await timed(running.submit(request(call=3)))
        assert (fired(reply), elapsed) == ("call", 3)


async def test_a_profile_raises_defaults_and_the_configuration_and_the_call_have_the_last_word(tmp_path: Path) -> None:
    adapter = FakeAdapter(timeouts=TimeoutOverrides(startup=HOUR, idle=1))
    settings = {"providers": {"fake": {"timeouts": {"idle": 7}}}}
    plain = request().model_copy(update={"timeouts": TimeoutOverrides(attempt=10 * HOUR, call=10 * HOUR)})
    async with engine(tmp_path, FakeSpawner(), adapter, configuration=settings) as running:
        assert (await timed(running.submit(plain)))[1] == HOUR
        assert (await timed(running.submit(request(startup=2))))[1] == 2
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner, adapter, configuration=settings) as running:
        call = running.submit(plain)
        (await spawner.process()).feed(line(text="x"))
        assert (await timed(call))[1] == 7


async def test_whoever_stands_in_has_only_the_time_that_is_left(tmp_path: Path) -> None:
    (tmp_path / "second").touch(mode=0o700)
    adapters = FakeAdapter(), FakeAdapter("second", executables=("second",))
    async with engine(tmp_path, FakeSpawner(), *adapters) as running:
        asked = request(startup=80, call=120).model_copy(update={"fallback": ("second",)})
        reply, elapsed = await timed(running.submit(asked))
    assert (fired(reply), elapsed) == ("startup", 120)
    assert [attempt.provider for attempt in reply.attempts] == ["fake", "second"]
    assert reply.attempts[1].error is not None
    assert reply.attempts[1].error.clock == "call"


async def test_when_the_time_of_many_questions_is_over_what_is_not_answered_has_failed_by_time(tmp_path: Path) -> None:
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner) as running:
        many = Many(
            running, [request().model_copy(update={"prompt": each}) for each in "123"], concurrency=1, timeout_s=HOUR
        )
        began, answers = anyio.current_time(), list[ManyAnswer]()

        async def follow() -> None:
            answers.extend(await many.answers())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            (await spawner.process()).feed(line(done={"text": "a"}))
            (await spawner.process(1)).feed(line(text="some"))
        assert anyio.current_time() - began == HOUR
        await anyio.sleep(HOUR)
        assert [process.exit_code is None for process in spawner.processes] == [False, False]
    assert [answer.reply.status for answer in answers] == ["completed", "failed", "failed"]
    assert [answer.reply.error and answer.reply.error.code for answer in answers] == [None, "timeout", "timeout"]
    assert answers[1].reply.text == "some"


async def test_a_late_word_does_not_give_the_clock_that_fired_another_name() -> None:
    clocks = Clocks(TimeoutConfig(startup=10, idle=20), FakeAdapter().profile, anyio.current_time() + HOUR)
    with clocks.scope:
        clocks.starting()
        try:
            await anyio.sleep_forever()
        finally:
            clocks.alive()
    assert (clocks.fired, clocks.seconds()) == ("startup", 10)


async def test_a_cancelled_call_answers_in_no_time_with_what_it_has(tmp_path: Path) -> None:
    spawner = FakeSpawner(lambda: FakeProcess(never_reads=True))
    async with engine(tmp_path, spawner) as running:
        call = running.submit(request())
        process = await spawner.process()
        process.feed(line(text="part"))
        await anyio.sleep(HOUR)
        call.cancel()
        reply, elapsed = await timed(call)
        assert (reply.status, reply.text, elapsed) == ("cancelled", "part", 0)
