"""A failing provider is left alone, and tried again: one engine, in virtual time."""

from pathlib import Path
from typing import Any

import anyio
import pytest
import trio.testing

from dragoman.adapters.base import Completed, Failed, Login, Outcome
from dragoman.config import BreakerSettings, ProviderSettings
from dragoman.engine import Call, Engine
from dragoman.engine.context import Context, Route
from dragoman.engine.layers import breakers
from dragoman.engine.layers.breakers import Breakers
from dragoman.engine.layers.places import Machine
from dragoman.engine.providers.finding import Program
from dragoman.schemas import (
    CircuitState,
    ErrorCode,
    ErrorInfo,
    LLMError,
    LLMRequest,
    LLMResponse,
    TimeoutConfig,
    error_from,
)
from dragoman.store import CircuitChanged, CircuitKey, CircuitRow
from dragoman.testing import FakeAdapter, FakeProcess
from tests.engine.virtual import FakeSpawner, engine, line, request, timed

pytestmark = pytest.mark.anyio

ALONE = {"breaker": {"never_open_last": False}}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class Upstream:
    """What every process says until told otherwise; None: nothing, for as long as it is."""

    def __init__(self, said: bytes | None = None) -> None:
        self.says = said
        self.spawner = FakeSpawner(self._make)

    @property
    def asked(self) -> int:
        return len(self.spawner.processes)

    def _make(self) -> FakeProcess:
        process = FakeProcess()
        if self.says is not None:
            process.feed(self.says)
        return process


def _saying(said: bytes) -> FakeProcess:
    process = FakeProcess()
    process.feed(said)
    return process


def failure(code: str, **facts: object) -> bytes:
    return line(error={"code": code, "message": f"it said {code}", **facts})


BUSY = failure("overloaded")
FINE = line(text="fine") + line(done={})


async def ask(running: Engine, times: int = 1, **timeouts: float) -> LLMResponse:
    replies = [await running.submit(request(**timeouts)).outcome() for _ in range(times)]
    return replies[-1]


def code(reply: LLMResponse) -> ErrorCode | None:
    return reply.error.code if reply.error else None


async def test_after_five_failures_nobody_asks_until_the_minute_is_over(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    async with engine(tmp_path, upstream.spawner, configuration=ALONE) as running:
        assert code(await ask(running, 5)) is ErrorCode.OVERLOADED
        opened = anyio.current_time()
        reply, elapsed = await timed(running.submit(request()))
        assert reply.error is not None
        assert (reply.error.code, elapsed, upstream.asked, reply.attempts) == (ErrorCode.CIRCUIT_OPEN, 0, 5, ())
        assert reply.error.reset_at is not None
        assert reply.error.reset_at.timestamp() == pytest.approx(opened + 60, abs=0.01)
        assert reply.error.retry_after_s == pytest.approx(60, abs=0.01)
        assert reply.error.next_step
        upstream.says = FINE
        await anyio.sleep(60)
        assert (await ask(running)).text == "fine"


async def test_half_open_lets_one_call_through_and_a_cancelled_one_makes_room(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    async with engine(tmp_path, upstream.spawner, configuration=ALONE) as running:
        await ask(running, 5)
        upstream.says = None
        await anyio.sleep(60)
        probe = running.submit(request())
        await upstream.spawner.process(5)
        assert code(await ask(running)) is ErrorCode.CIRCUIT_OPEN
        probe.cancel()
        assert (await probe.outcome()).status == "cancelled"
        upstream.says = FINE
        assert [(await ask(running)).text for _ in range(3)] == ["fine"] * 3
        (status,) = await running.providers.statuses()
        assert status.circuit is not None
        assert status.circuit["state"] is CircuitState.CLOSED


async def test_a_failed_try_opens_it_again_and_is_not_tried_twice(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    three = {**ALONE, "retry": {"max_attempts": 3}}
    async with engine(tmp_path, upstream.spawner, configuration=three) as running:
        await ask(running, 5)
        assert upstream.asked == 15
        await anyio.sleep(60)
        reply, elapsed = await timed(running.submit(request()))
        assert (code(reply), upstream.asked, elapsed) == (ErrorCode.OVERLOADED, 16, 0)
        assert code(await ask(running)) is ErrorCode.CIRCUIT_OPEN


async def test_a_call_that_waits_to_try_again_gives_up_when_others_find_it_down(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    patient = {**ALONE, "retry": {"max_attempts": 3, "upstream_delay_s": 10, "jitter": 0}}
    async with engine(tmp_path, upstream.spawner, configuration=patient) as running:
        early = running.submit(request())
        await upstream.spawner.process()
        upstream.says = failure("quota")
        await ask(running)
        upstream.says = BUSY
        reply = await early.outcome()
        assert (code(reply), len(reply.attempts)) == (ErrorCode.OVERLOADED, 1)
        assert upstream.asked == 2


async def test_a_call_that_succeeds_in_the_end_is_a_success(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    twice = {**ALONE, "retry": {"max_attempts": 2, "jitter": 0}}
    async with engine(tmp_path, upstream.spawner, configuration=twice) as running:
        for number in range(0, 20, 2):
            upstream.says = BUSY
            call = running.submit(request())
            await upstream.spawner.process(number)
            upstream.says = FINE
            assert (await call.outcome()).text == "fine"
        (status,) = await running.providers.statuses()
        assert status.circuit is not None
        assert status.circuit["failure_count"] == 0


async def test_a_used_up_quota_is_believed_at_once_and_until_the_time_it_said(tmp_path: Path) -> None:
    upstream = Upstream(failure("quota", retry_after_s=12840))
    async with engine(tmp_path, upstream.spawner, configuration=ALONE) as running:
        await ask(running)
        await anyio.sleep(12839)
        assert code(await ask(running)) is ErrorCode.CIRCUIT_OPEN
        await anyio.sleep(1)
        assert code(await ask(running)) is ErrorCode.QUOTA


@pytest.mark.parametrize("said", ["bad_request", "refused", "context_length"])
async def test_what_is_wrong_with_the_question_is_not_the_providers_fault(tmp_path: Path, said: str) -> None:
    upstream = Upstream(failure(said))
    async with engine(tmp_path, upstream.spawner, configuration=ALONE) as running:
        await ask(running, 9)
        assert upstream.asked == 9


@pytest.mark.parametrize("clock", ["call", "attempt", "startup"])
async def test_a_clock_that_a_caller_set_shorter_is_not_the_providers_fault(tmp_path: Path, clock: str) -> None:
    own = {"providers": {"fake": {"timeouts": {clock: 20}}}}
    upstream = Upstream()
    async with engine(tmp_path, upstream.spawner, configuration={**ALONE, **own}) as running:
        for _ in range(6):
            reply = await ask(running, **{clock: 19})
            assert reply.error is not None
            assert (reply.error.code, reply.error.clock) == (ErrorCode.TIMEOUT, clock)
        assert code(await ask(running, 5, **{clock: 20})) is ErrorCode.TIMEOUT
        assert code(await ask(running, **{clock: 20})) is ErrorCode.CIRCUIT_OPEN


async def test_a_provider_whose_cli_was_trying_again_was_failing_however_short_the_clock(tmp_path: Path) -> None:
    upstream = Upstream(line(retrying={"attempt": 1, "cause": "HTTP 503"}))
    async with engine(tmp_path, upstream.spawner, configuration=ALONE) as running:
        assert code(await ask(running, 5, call=10)) is ErrorCode.TIMEOUT
        assert code(await ask(running)) is ErrorCode.CIRCUIT_OPEN


async def test_what_a_provider_said_in_a_call_with_little_time_counts_all_the_same(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    twice = {**ALONE, "retry": {"max_attempts": 2, "jitter": 0}}
    async with engine(tmp_path, upstream.spawner, configuration=twice) as running:
        for number in range(0, 10, 2):
            upstream.says = BUSY
            call = running.submit(request(call=10))
            await upstream.spawner.process(number)
            upstream.says = None
            assert code(await call.outcome()) is ErrorCode.TIMEOUT
        assert code(await ask(running)) is ErrorCode.CIRCUIT_OPEN


@pytest.mark.parametrize(("left_s", "state"), [(10, CircuitState.CLOSED), (50, CircuitState.OPEN)])
async def test_a_call_whose_time_was_spent_elsewhere_says_nothing_about_whoever_got_the_rest(
    tmp_path: Path, left_s: float, state: CircuitState
) -> None:
    first, second = FakeAdapter("first"), FakeAdapter("second")
    ways = {
        "fallback": ("second",),
        "timeouts": {"startup": 60 - left_s, "call": 60},
    }
    configuration = {**ALONE, "providers": {"first": ways, "second": {"timeouts": {"call": 60}}}}
    async with engine(tmp_path, Upstream().spawner, first, second, configuration=configuration) as running:
        for _ in range(5):
            asked = LLMRequest(prompt="hi", provider="first", remember=False)
            reply = await running.submit(asked).outcome()
            assert [attempt.error and attempt.error.clock for attempt in reply.attempts] == ["startup", "call"]
        _, there = await running.providers.statuses()
        assert there.circuit is not None
        assert there.circuit["state"] is state


async def test_cancelled_calls_count_for_nothing(tmp_path: Path) -> None:
    upstream = Upstream()
    async with engine(tmp_path, upstream.spawner, configuration=ALONE) as running:
        for number in range(9):
            call = running.submit(request())
            await upstream.spawner.process(number)
            call.cancel()
            await call.outcome()
        upstream.says = FINE
        assert (await ask(running)).text == "fine"


async def test_each_model_is_judged_by_itself(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    async with engine(tmp_path, upstream.spawner, configuration=ALONE) as running:
        await ask(running, 5)
        upstream.says = FINE
        other = request().model_copy(update={"model": "other"})
        assert (await running.submit(other).outcome()).text == "fine"
        assert code(await ask(running)) is ErrorCode.CIRCUIT_OPEN
        (status,) = await running.providers.statuses()
        assert status.circuit is not None
        assert status.circuit["state"] is CircuitState.OPEN, "a provider is shown by the model that stands worst"


async def test_each_model_is_tried_by_itself(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    one, other = (request().model_copy(update={"model": f"{'long' * 20}-{each}"}) for each in (1, 2))
    async with engine(tmp_path, upstream.spawner, configuration=ALONE) as running:
        for _ in range(5):
            await running.submit(one).outcome()
            await running.submit(other).outcome()
        upstream.says = None
        await anyio.sleep(60)
        trying = running.submit(one)
        await upstream.spawner.process(10)
        upstream.says = FINE
        assert (await running.submit(other).outcome()).text == "fine"
        trying.cancel()


def two(folder: Path) -> tuple[FakeAdapter, FakeAdapter]:
    (folder / "other").touch(mode=0o700)
    return FakeAdapter(), FakeAdapter("other", executables=("other",))


async def test_the_last_provider_that_could_answer_is_asked_all_the_same_but_once(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    async with engine(tmp_path, upstream.spawner, configuration={"retry": {"max_attempts": 3}}) as running:
        await ask(running, 5)
        before = upstream.asked
        reply = await ask(running)
        assert (code(reply), upstream.asked - before) == (ErrorCode.OVERLOADED, 1)
        upstream.says = FINE
        assert (await ask(running)).text == "fine"


async def test_the_last_provider_is_asked_also_while_a_long_call_is_trying_whether_it_answers(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    async with engine(tmp_path, upstream.spawner) as running:
        await ask(running, 5)
        upstream.says = None
        await anyio.sleep(60)
        trying = running.submit(request())
        await upstream.spawner.process(5)
        upstream.says = FINE
        assert [(await ask(running)).text for _ in range(3)] == ["fine"] * 3
        trying.cancel()


@pytest.mark.parametrize(("asks_for_s", "waits"), [(30, True), (31, False)])
async def test_nobody_waits_long_for_a_provider_while_another_one_may_be_asked(
    tmp_path: Path, asks_for_s: float, *, waits: bool
) -> None:
    script = [failure("rate_limited", retry_after_s=asks_for_s), FINE]
    spawner = FakeSpawner(lambda: _saying(script.pop(0)))
    steady = {"retry": {"max_attempts": 3, "jitter": 0}, "providers": {"fake": {"fallback": ["other"]}}}
    async with engine(tmp_path, spawner, *two(tmp_path), configuration=steady) as running:
        reply, elapsed = await timed(running.submit(request().model_copy(update={"provider": None})))
    assert (reply.provider, elapsed) == (("fake", 30) if waits else ("other", 0))


async def test_while_another_provider_could_answer_nobody_is_the_last(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    async with engine(tmp_path, upstream.spawner, *two(tmp_path)) as running:
        await ask(running, 5)
        assert code(await ask(running)) is ErrorCode.CIRCUIT_OPEN
        other = request().model_copy(update={"provider": "other"})
        for _ in range(5):
            assert code(await running.submit(other).outcome()) is ErrorCode.OVERLOADED
        assert code(await ask(running)) is ErrorCode.OVERLOADED, "now both are open, so either is the last"


async def test_whoever_leaves_the_choice_to_dragoman_gets_one_that_is_not_left_alone(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    async with engine(tmp_path, upstream.spawner, *two(tmp_path)) as running:
        await ask(running, 5)
        upstream.says = FINE
        reply = await running.submit(LLMRequest(prompt="hi", remember=False)).outcome()
        assert (reply.provider, reply.text) == ("other", "fine")


async def test_a_model_that_is_left_alone_says_nothing_of_the_others_of_its_provider(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    async with engine(tmp_path, upstream.spawner, *two(tmp_path)) as running:
        for _ in range(5):
            await running.submit(request().model_copy(update={"model": "large"})).outcome()
        upstream.says = FINE
        reply = await running.submit(LLMRequest(prompt="hi", remember=False)).outcome()
        assert reply.provider == "fake"
        reply = await running.submit(LLMRequest(prompt="hi", model="large", remember=False)).outcome()
        assert reply.provider == "other"
        upstream.says = BUSY
        other = request().model_copy(update={"provider": "other"})
        for _ in range(6):
            reply = await running.submit(other).outcome()
        assert code(reply) is ErrorCode.CIRCUIT_OPEN, "fake could answer: only its large model is left alone"
        status, _ = await running.providers.statuses()
        assert status.reason is not None
        assert status.reason.startswith("its model 'large' is left alone until")


async def test_it_is_seen_in_the_list_of_providers(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    async with engine(tmp_path, upstream.spawner, configuration=ALONE) as running:
        (status,) = await running.providers.statuses()
        assert status.circuit is None
        await ask(running, 5)
        (status,) = await running.providers.statuses()
        assert status.circuit is not None
        assert (status.circuit["state"], status.circuit["last_failure"]) == ("open", "overloaded")
        assert status.reason is not None
        assert str(status.circuit["reset_at"]) in status.reason
        assert status.next_step
        assert "circuit" in status.model_dump(mode="json")


async def test_a_person_can_insist_and_an_answer_closes_it(tmp_path: Path) -> None:
    upstream = Upstream(failure("quota", retry_after_s=100_000))
    async with engine(tmp_path, upstream.spawner, configuration=ALONE) as running:
        await ask(running)
        upstream.says = FINE
        assert code(await ask(running)) is ErrorCode.CIRCUIT_OPEN
        assert (await running.submit(request(), insists=True).outcome()).text == "fine"
        assert (await ask(running)).text == "fine"


async def test_a_missing_login_opens_it_at_once_and_logging_in_closes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = Upstream(failure("auth"))
    adapter = FakeAdapter(login=Login(("status",), "run `fake login`"))
    async with engine(tmp_path, upstream.spawner, adapter, configuration=ALONE) as running:
        says = False

        async def is_logged_in(name: str) -> bool:
            return says

        monkeypatch.setattr(running.providers, "is_logged_in", is_logged_in)
        await ask(running)
        reply = await ask(running)
        assert reply.error is not None
        assert (reply.error.code, upstream.asked) == (ErrorCode.CIRCUIT_OPEN, 1)
        assert "run `fake login`" in (reply.error.next_step or "")
        upstream.says, says = FINE, True
        assert (await ask(running)).text == "fine"


async def test_nobody_waits_for_a_place_only_to_be_refused(tmp_path: Path) -> None:
    upstream = Upstream(BUSY)
    one = {**ALONE, "limits": {"max_concurrency": 1}}
    async with engine(tmp_path, upstream.spawner, configuration=one) as running:
        await ask(running, 4)
        upstream.says = None
        slow = running.submit(request().model_copy(update={"model": "slow"}))
        await upstream.spawner.process(4)
        queued: list[Call] = [running.submit(request())]
        slow.cancel()
        process = await upstream.spawner.process(5)
        process.feed(BUSY)
        assert code(await queued[0].outcome()) is ErrorCode.OVERLOADED
        running.submit(request().model_copy(update={"model": "slow"}))
        await upstream.spawner.process(6)
        reply, elapsed = await timed(running.submit(request()))
        assert (code(reply), elapsed) == (ErrorCode.CIRCUIT_OPEN, 0)


class LateStore:
    """A store that writes when it is told to, as the real one does when its thread comes to it."""

    def __init__(self) -> None:
        self.rows: dict[CircuitKey, CircuitRow] = {}
        self._posted: list[CircuitChanged] = []
        self.looks = 0

    def circuit(self, key: CircuitKey) -> CircuitRow | None:
        return self.rows.get(key)

    def data_changed(self, since: int = 0) -> int:
        self.looks += 1
        version = 1 + sum(row.version for row in self.rows.values())
        return 0 if version == since else version

    def circuits(self) -> list[CircuitRow]:
        return list(self.rows.values())

    def post(self, record: CircuitChanged) -> None:
        self._posted.append(record)

    def write(self, count: int = 1000, *, commits: bool = True) -> None:
        for record in self._posted[:count]:
            row = self.rows.get(record.key)
            version = row.version + 1 if row else 1
            changed = CircuitRow(record.key, version, record.change(version, row.circuit if row else None))
            if commits:
                self.rows[record.key] = changed
        del self._posted[:count]

    def lose(self) -> None:
        """Nothing of what was posted will be written."""
        self._posted.clear()


ANOTHER = CircuitKey("another", "account", "")


class Process:
    """The layer of one process, on its way to a provider that fails unless it `answers`."""

    def __init__(self, store: LateStore, folder: Path, *, never_open_last: bool = False) -> None:
        settings = BreakerSettings(never_open_last=never_open_last)
        self.breakers = Breakers(settings, Machine(lambda: folder), lambda: store, clock=anyio.current_time)
        self.channel: str | None = None
        self.raises = False
        self.answers = False
        self.there: tuple[CircuitKey, ...] = ()
        self._way = self.breakers.around(self.fail, self)

    async def ask(self, times: int = 1) -> ErrorCode | None:
        said: ErrorCode | None = None
        for _ in range(times):
            outcome = await self._way(self.context())
            said = outcome.error.code if isinstance(outcome, Failed) else None
        return said

    def context(self) -> Context:
        context = Context(Call(LLMRequest(prompt="hi"), "test"), 1000)
        program = Program(("fake",), Path("fake"))
        context.route = Route("fake", FakeAdapter(), ProviderSettings(), program, TimeoutConfig(), "account")
        context.channel = self.channel
        return context

    def others(self, name: str) -> tuple[CircuitKey, ...]:
        return self.there

    async def is_logged_in(self, name: str) -> bool:
        return False

    async def fail(self, context: Context) -> Outcome:
        if self.raises:
            raise error_from(ErrorInfo.of(ErrorCode.NOT_FOUND, "gone"))
        if self.answers:
            return Completed()
        return Failed(ErrorInfo.of(ErrorCode.OVERLOADED, "busy"))


async def test_failures_that_two_processes_saw_at_once_add_up(tmp_path: Path) -> None:
    store = LateStore()
    one, other = Process(store, tmp_path), Process(store, tmp_path)
    assert await one.ask(3) == await other.ask(3) == ErrorCode.OVERLOADED
    store.write()
    assert await one.ask() is await other.ask() is ErrorCode.CIRCUIT_OPEN


async def test_a_provider_that_is_well_is_asked_about_once_in_a_while_and_one_that_is_not_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakers, "FRESH_S", 100.0)
    store = LateStore()
    one, other = Process(store, tmp_path), Process(store, tmp_path)
    one.answers = True
    await one.ask(3)
    assert store.looks == 1
    await other.ask(5)
    store.write()
    assert await one.ask() is None, "it does not know it yet"
    monkeypatch.setattr(breakers, "FRESH_S", 0.0)
    assert await one.ask() is ErrorCode.CIRCUIT_OPEN
    monkeypatch.setattr(breakers, "FRESH_S", 100.0)
    looks = store.looks
    await one.ask(3)
    assert store.looks == looks + 3


async def test_what_one_knows_already_is_not_lost_while_it_is_being_written(tmp_path: Path) -> None:
    store = LateStore()
    one = Process(store, tmp_path)
    await one.ask(5)
    store.write(2)
    assert await one.ask() is ErrorCode.CIRCUIT_OPEN, "three of its changes are on their way"
    store.write(commits=False)
    assert await one.ask() is ErrorCode.CIRCUIT_OPEN, "they are made, but nobody can read them yet"


async def test_what_could_not_be_written_is_made_up_for_by_the_next_change(tmp_path: Path) -> None:
    store = LateStore()
    one, other = Process(store, tmp_path), Process(store, tmp_path)
    await one.ask(5)
    store.write(commits=False)
    assert await other.ask() is ErrorCode.OVERLOADED
    await anyio.sleep(60)
    assert await one.ask() is ErrorCode.OVERLOADED
    store.write()
    assert await other.ask() is ErrorCode.CIRCUIT_OPEN


async def test_what_others_wrote_is_read_again_when_what_we_know_will_not_be_written_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LateStore()
    one, other = Process(store, tmp_path), Process(store, tmp_path)
    await other.ask(5)
    await one.ask(2)
    store.write(5)
    assert await one.ask() is ErrorCode.OVERLOADED, "what it knows itself is on its way"
    store.lose()
    monkeypatch.setattr(breakers, "UNWRITTEN_S", 0.0)
    assert await one.ask() is ErrorCode.CIRCUIT_OPEN


async def test_of_the_processes_of_a_machine_one_tries_and_whoever_could_not_can_when_that_one_is_done(
    tmp_path: Path,
) -> None:
    one = Process(LateStore(), tmp_path)
    await one.ask(5)
    await anyio.sleep(60)
    tries = Machine(lambda: tmp_path).take("account", 1, of="probe")
    assert tries is not None
    assert await one.ask(2) is ErrorCode.CIRCUIT_OPEN
    tries.release()
    assert await one.ask() is ErrorCode.OVERLOADED


async def test_only_the_death_of_what_calls_share_is_counted_once(tmp_path: Path) -> None:
    one = Process(LateStore(), tmp_path)
    one.channel = "1:2"
    await one.ask(5)
    assert await one.ask() is ErrorCode.CIRCUIT_OPEN


async def test_a_failure_that_is_raised_counts_like_any_other(tmp_path: Path) -> None:
    one = Process(LateStore(), tmp_path)
    one.raises = True
    for _ in range(5):
        with pytest.raises(LLMError):
            await one.ask()
    assert await one.ask() is ErrorCode.CIRCUIT_OPEN
    assert one.breakers.status("fake", "account") is not None
    assert one.breakers.status("fake", "another") is None


async def test_the_last_is_known_by_what_other_processes_found_out_too(tmp_path: Path) -> None:
    store = LateStore()
    elsewhere = Breakers(BreakerSettings(), Machine(lambda: tmp_path), lambda: store, clock=anyio.current_time)
    one = Process(store, tmp_path, never_open_last=True)
    one.there = (ANOTHER,)
    await one.ask(5)
    store.write()
    assert await one.ask() is ErrorCode.CIRCUIT_OPEN
    for account, said in (("of somebody else", ErrorCode.CIRCUIT_OPEN), ("account", ErrorCode.OVERLOADED)):
        context = one.context()
        assert context.route is not None
        context.route.name, context.route.account = "another", account
        for _ in range(5):
            await elsewhere.around(one.fail, one)(context)
        store.write()
        assert await one.ask() is said


async def test_who_was_let_through_as_the_last_is_not_refused_after_the_queue(tmp_path: Path) -> None:
    one = Process(LateStore(), tmp_path, never_open_last=True)
    await one.ask(5)

    async def queue(context: Context) -> Outcome:
        one.there = (ANOTHER,)
        return await one.breakers.around(one.fail, one)(context)

    outcome = await one.breakers.ahead(queue, one)(one.context())
    assert isinstance(outcome, Failed)
    assert outcome.error.code is ErrorCode.OVERLOADED
    assert await one.ask() is ErrorCode.CIRCUIT_OPEN
