"""Waiting for a place."""

import anyio
import pytest

from dragoman.schemas import ErrorCode, LLMRequest, TimeoutOverrides
from dragoman.testing import FakeCli, Liveness
from dragoman.testing.fakes import Step
from tests.engine.conftest import MakeEngine

pytestmark = pytest.mark.anyio

REQUEST = LLMRequest(prompt="hi", provider="fake")
DONE: tuple[Step, ...] = ({"line": {"text": "ok"}}, {"line": {"done": {}}})


async def test_a_call_waits_for_a_place_and_then_runs(make_engine: MakeEngine, cli: FakeCli) -> None:
    async with Liveness() as live, make_engine(configuration={"limits": {"max_concurrency": 1}}) as engine:
        cli.scripts([live.connect(), {"wait": "gate"}, *DONE], [*DONE])
        with anyio.fail_after(20):
            first = engine.submit(REQUEST)
            await live.connected()
            second = engine.submit(REQUEST)
            impatient = engine.submit(REQUEST.model_copy(update={"timeouts": TimeoutOverrides(queue=0.05)}))
            error = (await impatient.outcome()).error
            assert error is not None
            assert (error.code, error.clock) == (ErrorCode.TIMEOUT, "queue")
            assert (first.reply, second.reply) == (None, None)
            await live.release()
            assert (await first.outcome()).text == (await second.outcome()).text == "ok"
        assert cli.starts == 2


async def test_each_provider_has_its_own_places_too(make_engine: MakeEngine, cli: FakeCli) -> None:
    configuration = {"providers": {"fake": {"max_concurrency": 2}}}
    async with Liveness() as live, make_engine(configuration=configuration) as engine:
        cli.script(live.connect(), {"wait": "gate"}, *DONE)
        with anyio.fail_after(20):
            calls = [engine.submit(REQUEST) for _ in range(3)]
            await live.connected(2)
            assert cli.starts == 2
            await live.release()
            await live.connected(3)
            await live.release()
            assert [(await call.outcome()).status for call in calls] == ["completed"] * 3


async def test_a_full_queue_refuses_at_once(make_engine: MakeEngine, cli: FakeCli) -> None:
    configuration = {"limits": {"max_concurrency": 1, "queue": 1}}
    async with Liveness() as live, make_engine(configuration=configuration) as engine:
        cli.script(live.connect(), {"pause": True})
        with anyio.fail_after(20):
            engine.submit(REQUEST)
            await live.connected()
            waiting = engine.submit(REQUEST)
            error = (await engine.submit(REQUEST).outcome()).error
            assert error is not None
            assert error.code is ErrorCode.OVERLOADED
            assert waiting.reply is None


async def test_a_cancelled_call_gives_its_place_back(make_engine: MakeEngine, cli: FakeCli) -> None:
    async with Liveness() as live, make_engine(configuration={"limits": {"max_concurrency": 1}}) as engine:
        cli.scripts([live.connect(), {"pause": True}], [*DONE])
        with anyio.fail_after(20):
            first = engine.submit(REQUEST)
            await live.connected()
            second = engine.submit(REQUEST)
            first.cancel()
            assert (await second.outcome()).text == "ok"
