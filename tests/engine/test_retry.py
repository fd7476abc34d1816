"""Trying again, in virtual time: when, how often, how soon, and never where it could do harm."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.adapters.base import Completed, Failed, Outcome
from dragoman.client import Dragoman, Stream
from dragoman.config import ProviderSettings, RetryConfig
from dragoman.engine.call import Call
from dragoman.engine.context import Context, Route
from dragoman.engine.layers.retry import Retrier, delay
from dragoman.engine.providers.finding import Program
from dragoman.schemas import (
    RULES,
    ErrorCode,
    ErrorInfo,
    Event,
    LLMError,
    LLMRequest,
    Retrying,
    Text,
    TimeoutConfig,
    Tool,
)
from dragoman.testing import FakeAdapter, FakeProcess
from tests.engine.virtual import FakeSpawner, engine, line, request, timed

pytestmark = pytest.mark.anyio

STEADY = {"retry": {"jitter": 0}, "breaker": {"failure_threshold": 1000}}
DONE = line(text="fine") + line(done={"model": "m"})


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def says(*scripts: bytes | int | None) -> FakeSpawner:
    """Processes that say this, the first, the second …; a number is an exit code, None is silence."""
    rest = list(scripts)

    def make() -> FakeProcess:
        process = FakeProcess()
        said = rest.pop(0)
        if isinstance(said, bytes):
            process.feed(said)
        elif said is not None:
            process.exit(said)
        return process

    return FakeSpawner(make)


def failure(code: str, **facts: object) -> bytes:
    return line(error={"code": code, "message": f"it said {code}", **facts})


async def test_an_overloaded_provider_is_asked_again_after_a_second_then_two(tmp_path: Path) -> None:
    spawner = says(failure("overloaded"), failure("network"), DONE)
    async with engine(tmp_path, spawner, configuration=STEADY) as running:
        call = running.submit(request())
        reply, elapsed = await timed(call)
    assert (reply.status, reply.text, elapsed) == ("completed", "fine", 3)
    assert [attempt.error and attempt.error.code.value for attempt in reply.attempts] == ["overloaded", "network", None]
    assert [attempt.number for attempt in reply.attempts] == [1, 2, 3]
    retrying = [event for event in call.log.events if isinstance(event, Retrying)]
    assert [(event.attempt, event.delay_s, event.starts_over) for event in retrying] == [(2, 1, True), (3, 2, True)]
    assert "it said overloaded" in retrying[0].cause


async def test_the_last_failure_is_the_replys_and_all_are_kept(tmp_path: Path) -> None:
    async with engine(tmp_path, says(*[failure("overloaded")] * 3), configuration=STEADY) as running:
        reply, _ = await timed(running.submit(request()))
    assert reply.error is not None
    assert (reply.status, reply.error.code, len(reply.attempts)) == ("failed", ErrorCode.OVERLOADED, 3)


async def test_a_crash_is_tried_again_once_and_soon(tmp_path: Path) -> None:
    async with engine(tmp_path, says(3, 3, DONE), configuration=STEADY) as running:
        reply, elapsed = await timed(running.submit(request()))
    assert (reply.status, len(reply.attempts)) == ("failed", 2), reply
    assert 0.1 <= elapsed < 1.2


async def test_the_time_the_provider_asked_for_is_honoured(tmp_path: Path) -> None:
    spawner = says(failure("rate_limited", retry_after_s=77), DONE)
    async with engine(tmp_path, spawner, configuration=STEADY) as running:
        reply, elapsed = await timed(running.submit(request()))
    assert (reply.text, elapsed) == ("fine", 77)


@pytest.mark.parametrize(("call_s", "attempts"), [(76, 1), (77.5, 1), (78, 2)])
async def test_what_would_come_after_the_deadline_or_just_before_it_is_not_waited_for(
    tmp_path: Path, call_s: float, attempts: int
) -> None:
    spawner = says(failure("rate_limited", retry_after_s=77), DONE)
    async with engine(tmp_path, spawner, configuration=STEADY) as running:
        reply, elapsed = await timed(running.submit(request(call=call_s)))
    assert (len(reply.attempts), elapsed) == (attempts, 77 if attempts == 2 else 0)
    if attempts == 1:
        assert reply.error is not None
        assert (reply.error.code, reply.error.retry_after_s) == (ErrorCode.RATE_LIMITED, 77)


def other_model() -> LLMRequest:
    return request().model_copy(update={"model": "other"})


ONE_PLACE = {**STEADY, "limits": {"max_concurrency": 1}, "providers": {"fake": {"max_concurrency": 1}}}
LATER = failure("rate_limited", retry_after_s=77)


async def test_whoever_waits_as_long_as_a_provider_asked_for_keeps_no_place_from_others(tmp_path: Path) -> None:
    spawner = says(LATER, DONE, DONE)
    async with engine(tmp_path, spawner, configuration=ONE_PLACE) as running:
        began, first = anyio.current_time(), running.submit(request())
        await spawner.process()
        assert (await timed(running.submit(other_model())))[1] == 0
        reply, _ = await timed(first)
        assert (reply.text, anyio.current_time() - began) == ("fine", 77)


async def test_whoever_waits_no_longer_than_any_pause_keeps_the_place(tmp_path: Path) -> None:
    spawner = says(failure("rate_limited", retry_after_s=30), DONE, DONE)
    async with engine(tmp_path, spawner, configuration=ONE_PLACE) as running:
        running.submit(request())
        await spawner.process()
        assert (await timed(running.submit(other_model())))[1] == 30


@pytest.mark.parametrize(("taken_s", "attempts"), [(130, 2), (140, 1)])
async def test_whoever_gave_a_place_back_waits_for_one_and_is_told_the_providers_failure_where_there_is_none(
    tmp_path: Path, taken_s: float, attempts: int
) -> None:
    spawner = says(LATER, None, DONE)
    async with engine(tmp_path, spawner, configuration=ONE_PLACE) as running:
        first = running.submit(request(queue=60))
        await spawner.process()
        other = running.submit(other_model())
        await spawner.process(1)
        await anyio.sleep(taken_s)
        other.cancel()
        reply = await first.outcome()
    assert len(reply.attempts) == attempts
    if attempts == 1:
        assert reply.error is not None
        assert (reply.error.code, reply.error.retry_after_s) == (ErrorCode.RATE_LIMITED, None), "77 s ago it was so"


async def test_nothing_of_a_failed_attempt_is_in_the_answer(tmp_path: Path) -> None:
    first = line(text="wrong ") + line(notice="old") + line(usage={"input_tokens": 7}) + failure("overloaded")
    async with engine(tmp_path, says(first, DONE), configuration=STEADY) as running:
        call = running.submit(request())
        reply, _ = await timed(call)
    assert (reply.text, reply.notices, reply.usage) == ("fine", (), None)
    assert reply.attempts[0].usage is not None
    assert reply.attempts[0].usage.input_tokens == 7
    late = [event.text async for event in call.log.follow() if isinstance(event, Text)]
    assert "".join(late) == "fine"


async def test_what_was_streamed_to_someone_who_cannot_take_it_back_stays_the_answer(tmp_path: Path) -> None:
    first = line(text="half an answer") + failure("overloaded")
    seen: list[Event] = []

    async def listen(stream: Stream) -> None:
        async for event in stream:
            seen.append(event)  # noqa: PERF401 - what came before the error counts

    async with engine(tmp_path, says(first, DONE), configuration=STEADY) as running:
        with pytest.raises(LLMError) as failed:
            await listen(Dragoman(engine=running).stream("fake", "hi"))
    assert Text(text="half an answer") in seen
    assert failed.value.code is ErrorCode.OVERLOADED
    assert failed.value.reply is not None
    assert len(failed.value.reply.attempts) == 1


async def test_a_stream_that_has_shown_no_text_is_tried_again(tmp_path: Path) -> None:
    async with engine(tmp_path, says(failure("overloaded"), DONE), configuration=STEADY) as running:
        stream = Dragoman(engine=running).stream("fake", "hi")
        assert [event.text async for event in stream if isinstance(event, Text)] == ["fine"]


async def test_a_cancel_during_the_wait_answers_at_once(tmp_path: Path) -> None:
    spawner = says(failure("rate_limited", retry_after_s=3600), DONE)
    async with engine(tmp_path, spawner, configuration=STEADY) as running:
        call = running.submit(request())
        async for event in call.log.follow():
            if isinstance(event, Retrying):
                call.cancel()
        reply, elapsed = await timed(call)
    assert (reply.status, elapsed, len(reply.attempts), len(spawner.processes)) == ("cancelled", 0, 1, 1)


@pytest.mark.parametrize("tool", [{"tool": "Write"}, {"tool": "Bash", "detail": "ls"}])
async def test_a_call_that_used_a_tool_that_may_change_something_is_not_tried_again(
    tmp_path: Path, tool: dict[str, object]
) -> None:
    async with engine(tmp_path, says(line(**tool) + failure("overloaded"), DONE), configuration=STEADY) as running:
        reply, _ = await timed(running.submit(request()))
    assert reply.error is not None
    assert (reply.error.effects, reply.error.retryable, len(reply.attempts)) == ("possible", False, 1)


async def test_a_call_that_only_read_is_tried_again(tmp_path: Path) -> None:
    first = line(tool="Read", reads_only=True) + failure("overloaded")
    async with engine(tmp_path, says(first, DONE), configuration=STEADY) as running:
        assert (await timed(running.submit(request())))[0].text == "fine"


async def test_a_provider_whose_access_nobody_enforces_is_not_asked_again(tmp_path: Path) -> None:
    adapter = FakeAdapter(strength={"read-only": "agent-honoured"})
    async with engine(tmp_path, says(failure("overloaded"), DONE), adapter, configuration=STEADY) as running:
        assert len((await timed(running.submit(request())))[0].attempts) == 1


async def test_a_cli_whose_own_retries_cannot_be_limited_gets_one_attempt(tmp_path: Path) -> None:
    adapter = FakeAdapter(own_retries="unlimited")
    async with engine(tmp_path, says(failure("overloaded"), DONE), adapter, configuration=STEADY) as running:
        assert len((await timed(running.submit(request())))[0].attempts) == 1


async def test_a_run_that_went_silent_is_tried_again(tmp_path: Path) -> None:
    async with engine(tmp_path, says(None, DONE), configuration=STEADY) as running:
        reply, elapsed = await timed(running.submit(request(startup=10)))
    assert (reply.text, elapsed) == ("fine", 11)
    assert reply.attempts[0].error is not None
    assert reply.attempts[0].error.clock == "startup"


errors = st.builds(
    ErrorInfo.of,
    st.sampled_from(list(ErrorCode)),
    st.just("x"),
    retry_after_s=st.none() | st.floats(0, 1e5),
    effects=st.sampled_from(("none", "possible")),
)
configs = st.builds(
    RetryConfig,
    max_attempts=st.integers(1, 8),
    initial_delay_s=st.floats(0, 100),
    upstream_delay_s=st.floats(0, 100),
    max_delay_s=st.floats(0, 1000),
    exponential_base=st.floats(1, 1e300),
    jitter=st.floats(0, 1),
)


@given(configs, st.integers(1, 100), errors, st.floats(0, 1))
def test_a_delay_is_bounded_and_never_sooner_than_asked_for(
    config: RetryConfig, attempt: int, info: ErrorInfo, chance: float
) -> None:
    wait = delay(config, attempt, info, chance)
    first = min(config.upstream_delay_s, config.max_delay_s)
    assert wait >= (info.retry_after_s or 0)
    assert wait <= max(config.max_delay_s, (info.retry_after_s or 0) + max(first, config.initial_delay_s))
    if RULES[info.code].counts != "local":
        assert wait >= first


def test_the_delays_as_they_are_by_default() -> None:
    crashed, busy = ErrorInfo.of(ErrorCode.CRASHED, "x"), ErrorInfo.of(ErrorCode.OVERLOADED, "x")
    config = RetryConfig()
    assert [delay(config, 1, crashed, chance) for chance in (0, 0.5, 1)] == pytest.approx([0.075, 0.1, 0.125])
    assert [delay(config, n, busy, 0.5) for n in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert [delay(config, 1, busy, chance) for chance in (0, 1)] == [1, 1.25]
    told = ErrorInfo.of(ErrorCode.RATE_LIMITED, "x", retry_after_s=77)
    assert [delay(config, 1, told, chance) for chance in (0, 1)] == [77, 77.25], "not all in the same moment"


class Provider:
    """The end of the way: takes its time, fails as told and notes when it was asked."""

    def __init__(self, script: Sequence[tuple[float, ErrorInfo, bool]], events: Callable[[Context], None]) -> None:
        self.script = list(script)
        self.asked: list[float] = []
        self.failed: list[ErrorInfo] = []
        self._events = events

    async def run(self, context: Context) -> Outcome:
        self.asked.append(anyio.current_time())
        takes, info, raises = self.script.pop(0) if self.script else (0.0, None, False)
        with anyio.move_on_at(context.deadline):
            await anyio.sleep(takes)
        if info is None:
            return Completed()
        self._events(context)
        self.failed.append(info)
        if raises:
            raise LLMError("x", info=info)
        return Failed(info)


def a_route() -> Route:
    adapter = FakeAdapter()
    program = Program(("fake",), Path("fake"))
    return Route("fake", adapter, ProviderSettings(), program, TimeoutConfig(), "account")


@settings(max_examples=200, deadline=None)
@given(
    configs,
    st.lists(st.tuples(st.floats(0, 100), errors, st.booleans()), max_size=10),
    st.floats(0.01, 1000),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_whatever_happens_no_attempt_begins_after_the_deadline_nor_after_effects(
    config: RetryConfig,
    script: list[tuple[float, ErrorInfo, bool]],
    call_s: float,
    streams: bool,
    speaks: bool,
    acts: bool,
) -> None:
    def events(context: Context) -> None:
        if speaks:
            context.take(Text(text="x"))
        if acts:
            context.take(Tool(name="Write"))

    provider = Provider(script, events)

    async def main() -> tuple[Outcome | None, float, Context]:
        context = Context(Call(LLMRequest(prompt="hi"), "test", streams=streams), 1000)
        context.route, context.deadline = a_route(), anyio.current_time() + call_s
        began = anyio.current_time()
        try:
            outcome = await Retrier(config).around(provider.run)(context)
        except LLMError:
            outcome = None
        return outcome, began, context

    outcome, began, context = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    retried = provider.failed[: len(provider.asked) - 1]
    assert all(asked < began + call_s for asked in provider.asked)
    assert len(provider.asked) <= config.max_attempts
    assert all(info.retryable and info.effects == "none" for info in retried)
    assert sum(info.code is ErrorCode.CRASHED for info in retried) <= 1
    if acts or (speaks and streams):
        assert retried == []
    if isinstance(outcome, Completed):
        assert context.received() == ""
        assert not context.acted


async def test_a_fault_of_ours_is_not_tried_again() -> None:
    asked = 0

    async def broken(context: Context) -> Outcome:
        nonlocal asked
        asked += 1
        raise RuntimeError("a fault")

    context = Context(Call(LLMRequest(prompt="hi"), "test"), 1000)
    context.route = a_route()
    with pytest.raises(RuntimeError):
        await Retrier(RetryConfig()).around(broken)(context)
    assert asked == 1
