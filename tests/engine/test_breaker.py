"""The circuit breaker, alone and beside a model of it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from dragoman import CircuitBreaker
from dragoman.config import BreakerSettings
from dragoman.engine.layers.breaker import LONGEST_S, Circuit, Permit, Verdict, judge
from dragoman.schemas import RULES, CircuitState, ErrorCode, ErrorInfo, LLMError

NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def error(code: ErrorCode, **facts: Any) -> ErrorInfo:  # noqa: ANN401 - the fields of a failure
    return ErrorInfo.of(code, "x", **facts)


def fail(breaker: CircuitBreaker, times: int = 1, info: ErrorInfo | None = None) -> None:
    for _ in range(times):
        permit = breaker.acquire()
        assert permit is not None
        permit.fail(info)


def opened(clock: Clock, **options: int) -> CircuitBreaker:
    breaker = CircuitBreaker(clock=clock, **options)
    fail(breaker, 5)
    return breaker


def test_it_opens_at_the_fifth_failure_in_a_row_and_not_before(clock: Clock) -> None:
    breaker = CircuitBreaker(clock=clock)
    fail(breaker, 4)
    permit = breaker.acquire()
    assert permit is not None
    permit.succeed()
    fail(breaker, 4)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN
    assert breaker.acquire() is None


def test_it_is_half_open_after_its_time_and_gives_so_many_permits_and_no_more(clock: Clock) -> None:
    breaker = opened(clock, half_open_permits=2)
    clock.now += 59.9
    assert breaker.acquire() is None
    clock.now += 0.1
    first, second, third = (breaker.acquire() for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is None
    first.succeed()
    assert breaker.acquire() is not None


def test_two_successes_close_it_and_one_failure_opens_it_again(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 60
    for state in (CircuitState.HALF_OPEN, CircuitState.CLOSED):
        permit = breaker.acquire()
        assert permit is not None
        permit.succeed()
        assert breaker.state is state
    fail(breaker, 5)
    clock.now += 60
    fail(breaker)
    assert breaker.state is CircuitState.OPEN
    clock.now += 59
    assert breaker.acquire() is None


def test_a_cancelled_call_gives_its_permit_back_and_says_nothing(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 60
    permit = breaker.acquire()
    assert permit is not None
    assert breaker.acquire() is None
    before = breaker.circuit
    permit.release()
    assert breaker.circuit is before
    assert breaker.acquire() is not None


def test_a_permit_is_settled_once(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 60
    permit = breaker.acquire()
    assert permit is not None
    permit.release()
    permit.release()
    permit.fail()
    assert breaker.state is CircuitState.HALF_OPEN
    assert breaker.acquire() is not None
    assert breaker.acquire() is None


def test_what_was_started_before_it_opened_is_no_verdict_on_what_is_now(clock: Clock) -> None:
    breaker = CircuitBreaker(clock=clock)
    early = [breaker.acquire() for _ in range(3)]
    fail(breaker, 5)
    clock.now += 60
    for permit in early:
        assert permit is not None
        permit.succeed()
    assert breaker.state is CircuitState.HALF_OPEN
    assert breaker.status["success_count"] == 0


@pytest.mark.parametrize("code", list(ErrorCode))
def test_each_code_counts_as_its_rule_says(clock: Clock, code: ErrorCode) -> None:
    breaker = CircuitBreaker(clock=clock)
    fail(breaker, 1, error(code))
    status = breaker.status
    counted = {"yes": (1, 0), "local": (0, 1), "no": (0, 0)}[RULES[code].counts]
    assert (status["failure_count"], status["local_failure_count"]) == counted
    at_once = code in (ErrorCode.QUOTA, ErrorCode.AUTH)
    assert status["state"] == (CircuitState.OPEN if at_once else CircuitState.CLOSED)


def test_local_failures_are_counted_apart(clock: Clock) -> None:
    breaker = CircuitBreaker(clock=clock)
    fail(breaker, 4)
    fail(breaker, 4, error(ErrorCode.CRASHED))
    assert breaker.state is CircuitState.CLOSED
    fail(breaker, 1, error(ErrorCode.TIMEOUT, clock="spawn"))
    assert breaker.state is CircuitState.OPEN
    assert (breaker.status["failure_count"], breaker.status["local_failure_count"]) == (4, 5)


def test_a_shared_thing_that_dies_is_one_failure(clock: Clock) -> None:
    breaker = CircuitBreaker(clock=clock)
    for _ in range(9):
        permit = breaker.acquire()
        assert permit is not None
        permit.fail(error(ErrorCode.CRASHED), source="1:2")
    assert breaker.status["local_failure_count"] == 1


def test_a_shared_thing_that_fails_answers_and_fails_again_failed_twice(clock: Clock) -> None:
    breaker = CircuitBreaker(clock=clock)
    for _ in range(2):
        fails, succeeds = breaker.acquire(), breaker.acquire()
        assert fails is not None
        assert succeeds is not None
        fails.fail(error(ErrorCode.CRASHED), source="1:2")
        assert breaker.status["local_failure_count"] == 1
        succeeds.succeed()


def test_successes_before_a_failure_do_not_help_to_close_it(clock: Clock) -> None:
    breaker = opened(clock)
    for succeeds, state in (
        (True, CircuitState.HALF_OPEN),
        (False, CircuitState.OPEN),
        (True, CircuitState.HALF_OPEN),
        (True, CircuitState.CLOSED),
    ):
        clock.now += 60
        permit = breaker.acquire()
        assert permit is not None
        permit.succeed() if succeeds else permit.fail()
        assert breaker.state is state


def test_what_changes_nothing_is_no_verdict_to_be_passed_on(clock: Clock) -> None:
    breaker = CircuitBreaker(clock=clock)
    good, bad = breaker.acquire(), breaker.acquire()
    assert good is not None
    assert bad is not None
    assert good.succeed() is None
    assert bad.fail() is not None


def test_a_quota_keeps_it_open_until_the_time_the_provider_stated(clock: Clock) -> None:
    breaker = CircuitBreaker(clock=clock)
    reset_at = datetime.fromtimestamp(NOW, UTC) + timedelta(hours=3, minutes=34)
    fail(breaker, 1, error(ErrorCode.QUOTA, reset_at=reset_at))
    assert breaker.status["reset_at"] == reset_at.isoformat(timespec="seconds")
    refusal = breaker.refusal("claude")
    assert (refusal.code, refusal.reset_at, refusal.retry_after_s) == (ErrorCode.CIRCUIT_OPEN, reset_at, 12840)
    clock.now += 12839
    assert breaker.acquire() is None
    clock.now += 1
    assert breaker.acquire() is not None


@pytest.mark.parametrize(
    ("code", "after_s", "opens", "open_s"),
    [
        (ErrorCode.QUOTA, 20, True, 20),
        (ErrorCode.RATE_LIMITED, 3600, True, 3600),
        (ErrorCode.RATE_LIMITED, 20, False, 60),
        (ErrorCode.OVERLOADED, 3600, False, 3600),
        (ErrorCode.OVERLOADED, 20, False, 60),
    ],
)
def test_a_stated_time_opens_it_at_once_where_asking_sooner_is_useless(
    clock: Clock, code: ErrorCode, after_s: float, opens: bool, open_s: float
) -> None:
    breaker = CircuitBreaker(clock=clock)
    fail(breaker, 1, error(code, retry_after_s=after_s))
    assert (breaker.state is CircuitState.OPEN) == opens
    if not opens:
        fail(breaker, 4, error(code, retry_after_s=after_s))
    assert breaker.circuit.until == NOW + open_s


def test_a_stated_time_that_is_past_or_misread_is_not_believed(clock: Clock) -> None:
    for days, until in ((-1, NOW + 60), (4000, NOW + LONGEST_S)):
        breaker = CircuitBreaker(clock=clock)
        fail(breaker, 1, error(ErrorCode.QUOTA, reset_at=datetime.fromtimestamp(NOW, UTC) + timedelta(days=days)))
        assert breaker.circuit.until == until


def test_a_call_that_is_made_all_the_same_can_close_it_but_not_shorten_what_was_stated(clock: Clock) -> None:
    breaker = CircuitBreaker(clock=clock)
    fail(breaker, 1, error(ErrorCode.QUOTA, retry_after_s=3600))
    breaker.force().fail(error(ErrorCode.OVERLOADED))
    assert breaker.circuit.until == NOW + 3600
    breaker.force().fail(error(ErrorCode.QUOTA, retry_after_s=600))
    assert breaker.circuit.until == NOW + 600, "but the provider itself can"
    breaker.force(closes=True).succeed()
    assert breaker.state is CircuitState.CLOSED


def test_a_clock_that_is_set_back_does_not_keep_it_open_for_longer(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now -= 3600
    assert breaker.acquire() is None
    clock.now += 60
    assert breaker.acquire() is not None


def test_the_status_has_what_led_to_it(clock: Clock) -> None:
    breaker = CircuitBreaker(clock=clock)
    assert breaker.status == {
        "state": "closed",
        "failure_count": 0,
        "local_failure_count": 0,
        "success_count": 0,
        "last_failure_time": None,
        "last_failure": None,
        "reset_at": None,
    }
    fail(breaker, 5, error(ErrorCode.OVERLOADED))
    assert breaker.status == {
        "state": "open",
        "failure_count": 5,
        "local_failure_count": 0,
        "success_count": 0,
        "last_failure_time": "2027-01-15T08:00:00+00:00",
        "last_failure": "overloaded",
        "reset_at": "2027-01-15T08:01:00+00:00",
    }


def test_a_function_is_called_through_it_until_it_opens(clock: Clock) -> None:
    breaker = CircuitBreaker(failure_threshold=2, clock=clock)
    assert breaker.call(max, 1, 2) == 2
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            breaker.call(lambda: 1 / 0)
    with pytest.raises(LLMError) as refused:
        breaker.call(lambda: 1)
    assert (refused.value.code, refused.value.info.reset_at) == (
        ErrorCode.CIRCUIT_OPEN,
        datetime.fromtimestamp(NOW + 60, UTC),
    )


@pytest.mark.anyio
async def test_an_async_function_is_judged_when_it_was_awaited_and_not_before(clock: Clock) -> None:
    breaker = CircuitBreaker(failure_threshold=1, clock=clock)

    async def double(number: int) -> int:
        await anyio.lowlevel.checkpoint()
        return 2 * number

    async def fails() -> None:
        await anyio.lowlevel.checkpoint()
        raise LLMError("x", info=error(ErrorCode.OVERLOADED))

    assert await breaker.call(double, 4) == 8
    failing = breaker.call(fails)
    assert breaker.state is CircuitState.CLOSED
    with pytest.raises(LLMError):
        await failing
    assert breaker.state is CircuitState.OPEN
    clock.now += 60
    with anyio.CancelScope() as scope:
        scope.cancel()
        await breaker.call(double, 4)
    assert breaker.state is CircuitState.HALF_OPEN
    assert await breaker.call(double, 4) == 8, "who was cancelled made room"
    assert breaker.status["success_count"] == 1


def test_an_interrupted_function_and_a_failure_that_is_the_callers_count_for_nothing(clock: Clock) -> None:
    breaker = CircuitBreaker(failure_threshold=1, clock=clock)

    def stop(error: BaseException) -> None:
        raise error

    for raised in (KeyboardInterrupt(), LLMError("x", info=error(ErrorCode.BAD_REQUEST))):
        with pytest.raises(type(raised)):
            breaker.call(stop, raised)
    assert breaker.state is CircuitState.CLOSED


def test_an_interrupted_function_makes_room_for_the_next_one_that_tries(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 60

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        breaker.call(stop)
    assert breaker.call(lambda: "fine") == "fine"


circuits = st.builds(
    Circuit,
    generation=st.integers(0, 3),
    failures=st.integers(0, 9),
    local_failures=st.integers(0, 9),
    successes=st.integers(0, 3),
    last_failure=st.none() | st.floats(0, 2e9),
    opened=st.just(NOW),
    until=st.floats(NOW, NOW + 1e6),
    cause=st.none() | st.sampled_from([code.value for code in ErrorCode]),
    source=st.none() | st.text(max_size=9),
)
verdicts = st.builds(
    Verdict,
    generation=st.integers(0, 3),
    at=st.floats(NOW, NOW + 1e6),
    succeeded=st.booleans(),
    local=st.booleans(),
    at_once=st.booleans(),
    until=st.none() | st.floats(0, 2e9),
)


@given(circuits)
def test_a_circuit_survives_being_written_down(circuit: Circuit) -> None:
    assert Circuit.read(circuit.text()) == circuit


@given(circuits, st.lists(verdicts, max_size=20))
def test_whatever_happens_it_is_open_for_a_bounded_time_and_only_forwards(
    circuit: Circuit, given_verdicts: list[Verdict]
) -> None:
    for verdict in given_verdicts:
        after = judge(circuit, verdict, BreakerSettings())
        assert after.generation - circuit.generation in (0, 1)
        assert (after.opened is None) == (after.until is None)
        if after.generation > circuit.generation and after.until is not None:
            assert verdict.at < after.until <= max(verdict.at + LONGEST_S, circuit.until or 0)
        circuit = after


@dataclass
class Model:
    """The rules, told as plainly as they can be: a list of what happened since the last change of state."""

    state: str = "closed"
    until: float = 0.0
    epoch: int = 0
    upstream: int = 0
    local: int = 0
    successes: int = 0
    probing: int = 0
    permits: dict[int, tuple[int, bool]] = field(default_factory=dict[int, tuple[int, bool]])

    def at(self, now: float) -> str:
        if self.state == "open" and now >= self.until:
            self.state = "half_open"
        return self.state

    def turn(self, state: str) -> None:
        self.state, self.epoch, self.successes, self.probing = state, self.epoch + 1, 0, 0
        if state == "closed":
            self.upstream = self.local = 0


class BesideItsModel(RuleBasedStateMachine):
    """Calls come and end in any order, at any time, each outcome may be anything."""

    permits = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = CircuitBreaker(3, 2, 60.0, half_open_permits=2, clock=self.clock)
        self.model = Model()
        self.given: dict[int, Permit] = {}

    @rule(seconds=st.sampled_from([0.5, 10, 59, 60, 61, 3600]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(target=permits)
    def a_call_comes(self) -> int:
        state, model = self.model.at(self.clock.now), self.model
        expected = state == "closed" or (state == "half_open" and model.probing < 2)
        permit = self.breaker.acquire()
        assert (permit is not None) == expected
        number = len(self.given) + 1 if permit else 0
        if permit is not None:
            self.given[number] = permit
            model.permits[number] = (model.epoch, state == "half_open")
            model.probing += state == "half_open"
        return number

    @rule(number=consumes(permits), how=st.sampled_from(["ok", "upstream", "local", "quota", "mine", "cancelled"]))
    def a_call_ends(self, number: int, how: str) -> None:
        if number == 0:
            return
        permit, model, now = self.given[number], self.model, self.clock.now
        state = model.at(now)
        epoch, was_probe = model.permits[number]
        match how:
            case "ok":
                permit.succeed()
            case "cancelled":
                permit.release()
            case "upstream":
                permit.fail(error(ErrorCode.OVERLOADED))
            case "local":
                permit.fail(error(ErrorCode.CRASHED))
            case "mine":
                permit.fail(error(ErrorCode.BAD_REQUEST))
            case _:
                permit.fail(error(ErrorCode.QUOTA, retry_after_s=1000))
        if epoch != model.epoch:
            return
        if was_probe:
            model.probing -= 1
        if how in ("mine", "cancelled"):
            return
        if how == "ok":
            if state == "closed":
                model.upstream = model.local = 0
            else:
                model.successes += 1
                if model.successes == 2:
                    model.turn("closed")
            return
        model.successes = 0
        if how == "local":
            model.local += 1
        else:
            model.upstream, model.local = model.upstream + 1, 0
        if state != "closed" or how == "quota" or (model.local if how == "local" else model.upstream) >= 3:
            model.turn("open")
            model.until = now + (1000 if how == "quota" else 60)

    @invariant()
    def they_agree(self) -> None:
        status = self.breaker.status
        assert status["state"] == self.model.at(self.clock.now)
        assert status["success_count"] == self.model.successes
        assert (status["failure_count"], status["local_failure_count"]) == (self.model.upstream, self.model.local)


BesideItsModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBesideItsModel = BesideItsModel.TestCase
