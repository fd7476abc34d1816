"""So many requests and tokens a minute."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman.adapters.base import Completed, Failed, Outcome
from dragoman.config import Configuration
from dragoman.engine import Call, Engine
from dragoman.engine.context import Context, Route
from dragoman.engine.layers.rates import Budget, Rates
from dragoman.engine.providers.finding import Program
from dragoman.schemas import Attempt, ErrorCode, LLMRequest, LLMResponse, TimeoutConfig
from dragoman.testing import FakeAdapter, FakeCli
from tests.engine.conftest import MakeEngine

pytestmark = pytest.mark.anyio

ANSWER = {"line": {"done": {"text": "x"}}}


def held_to(**limits: Any) -> dict[str, Any]:  # noqa: ANN401 - of a provider
    return {"providers": {"fake": limits}}


async def ask(engine: Engine, prompt: str = "?", **fields: Any) -> LLMResponse:  # noqa: ANN401 - of a request
    request = LLMRequest.model_validate({"prompt": prompt, "provider": "fake", "remember": False, **fields})
    with anyio.fail_after(60):
        async with engine.asking(request) as call:
            return await call.outcome()


async def test_what_is_more_than_a_minute_holds_waits_on_the_queue_clock(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script(ANSWER)
    async with make_engine(configuration=held_to(requests_per_minute=2)) as engine:
        assert (await ask(engine)).status == "completed"
        assert (await ask(engine)).status == "completed"
        refused = await ask(engine, timeouts={"queue": 0.3})
        assert refused.error is not None
        assert refused.error.code == "rate_limited"
        assert refused.error.retry_after_s == 30
        assert "requests_per_minute" not in refused.error.message
        assert "2 requests a minute" in refused.error.message
        assert "[providers.fake]" in (refused.error.next_step or "")
        assert cli.starts == 2
        status = (await engine.providers.status("fake")).circuit
        assert status is not None
        assert status["failure_count"] == 0


async def test_it_goes_on_when_there_is_room_again() -> None:
    budget = Budget(60)
    began = anyio.current_time()
    await budget.take(60)
    with anyio.fail_after(60):
        await budget.take(1)
    assert anyio.current_time() - began >= 0.9


async def test_the_tokens_of_an_answer_are_waited_for_by_the_next_call(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script({"line": {"usage": {"input_tokens": 100, "output_tokens": 95_000}}}, ANSWER)
    async with make_engine(configuration=held_to(tokens_per_minute=1000)) as engine:
        assert (await ask(engine)).status == "completed"
        refused = await ask(engine, timeouts={"queue": 0.3})
    assert refused.error is not None
    assert refused.error.code == "rate_limited"
    assert cli.starts == 1


async def test_another_provider_answers_instead_where_one_is_named(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script(ANSWER)
    FakeCli(cli.path.parent, "dragoman-other").script({"line": {"done": {"text": "other"}}})
    adapters = FakeAdapter(), FakeAdapter("other", executables=("dragoman-other",))
    async with make_engine(*adapters, configuration=held_to(requests_per_minute=1)) as engine:
        await ask(engine)
        assert (await ask(engine, timeouts={"queue": 0.2}, fallback=["other"])).text == "other"


async def test_more_than_may_wait_are_refused(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script(ANSWER)
    configuration = {**held_to(requests_per_minute=1), "limits": {"queue": 1}}
    async with make_engine(configuration=configuration) as engine:
        await ask(engine)
        waits = engine.submit(LLMRequest(prompt="?", provider="fake", remember=False))
        with anyio.fail_after(60):
            await anyio.wait_all_tasks_blocked()
        refused = await ask(engine)
        waits.cancel()
        await waits.outcome()
    assert refused.error is not None
    assert refused.error.code == "overloaded"


async def test_what_was_given_up_is_not_owed_and_what_came_on_top_is() -> None:
    budget = Budget(100)
    await budget.take(100)
    with anyio.move_on_after(0.05):
        await budget.take(50)
    budget.settle(100, 0)
    assert budget.has_at_once(90)
    budget.settle(10, 120)
    assert not budget.has_at_once(20)


def test_a_limit_is_a_whole_number_or_none() -> None:
    assert (
        Configuration.model_validate(held_to(requests_per_minute="none")).provider("fake").requests_per_minute is None
    )
    with pytest.raises(ValueError, match="greater than 0"):
        Configuration.model_validate(held_to(tokens_per_minute=0))


class Paced:
    """The layer alone, before a provider that answers at once, after so many attempts."""

    def __init__(self, *, queue: int = 64, attempts: int = 1, **limits: int) -> None:
        configuration = Configuration.model_validate({**held_to(**limits), "limits": {"queue": queue}})
        self._settings = configuration.provider("fake")
        self._attempts = attempts
        self._way = Rates(configuration).around(self._answer)
        self.queued_s = 0.0

    async def ask(self, tokens: int = 1, *, queue_s: float = 60.0, left_s: float = 1000.0) -> ErrorCode | None:
        context = Context(Call(LLMRequest(prompt="four" * tokens), "test"), 1000)
        program, timeouts = Program(("fake",), Path("fake")), TimeoutConfig(queue=queue_s)
        context.route = Route("fake", FakeAdapter(), self._settings, program, timeouts, "account")
        context.deadline = anyio.current_time() + left_s
        with anyio.fail_after(60):
            outcome = await self._way(context)
        self.queued_s = context.queued_s
        return outcome.error.code if isinstance(outcome, Failed) else None

    async def _answer(self, context: Context) -> Outcome:
        for number in range(self._attempts):
            context.attempts.append(Attempt(number=number + 1, provider="fake", duration_s=0.0))
        return Completed()


async def test_each_attempt_is_a_request() -> None:
    paced = Paced(requests_per_minute=3, attempts=3)
    assert await paced.ask() is None
    assert await paced.ask(queue_s=0.05) is ErrorCode.RATE_LIMITED


async def test_a_call_that_gets_no_tokens_leaves_its_request_to_others() -> None:
    paced = Paced(requests_per_minute=2, tokens_per_minute=100)
    assert await paced.ask(tokens=90) is None
    assert await paced.ask(tokens=50, queue_s=0.05) is ErrorCode.RATE_LIMITED
    assert await paced.ask(queue_s=0.05) is None


async def test_nobody_waits_longer_than_the_call_has() -> None:
    paced = Paced(requests_per_minute=1)
    assert await paced.ask() is None
    assert await paced.ask(left_s=0.05) is ErrorCode.RATE_LIMITED


async def test_who_gave_up_makes_room_among_those_that_wait() -> None:
    paced = Paced(requests_per_minute=1, queue=1)
    assert await paced.ask() is None
    assert [await paced.ask(queue_s=0.02) for _ in range(2)] == [ErrorCode.RATE_LIMITED] * 2


async def test_a_full_queue_does_not_refuse_what_need_not_wait() -> None:
    paced = Paced(tokens_per_minute=100, queue=1)
    assert await paced.ask(tokens=90) is None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(paced.ask, 50)
        await anyio.wait_all_tasks_blocked()
        assert await paced.ask() is None
        assert await paced.ask(tokens=50) is ErrorCode.OVERLOADED
        tasks.cancel_scope.cancel()


async def test_the_time_that_was_waited_is_told_to_who_comes_next() -> None:
    paced = Paced(requests_per_minute=600, attempts=601)
    assert await paced.ask() is None
    assert paced.queued_s < 0.1
    assert await paced.ask() is None
    assert paced.queued_s >= 0.1


async def test_what_a_call_had_taken_when_it_gave_up_is_given_back() -> None:
    budget = Budget(10)
    with anyio.move_on_after(0.02):
        await budget.take(30)
    assert budget.has_at_once(10)
