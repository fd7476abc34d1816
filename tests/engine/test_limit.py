"""Waiting for a place."""

from pathlib import Path

import anyio
import pytest

from dragoman.adapters.base import Completed, Failed, Outcome
from dragoman.config import Configuration, ProviderSettings
from dragoman.engine import Call
from dragoman.engine.context import Context, Route
from dragoman.engine.layers.limit import Limiter, StartGate
from dragoman.engine.layers.places import Machine
from dragoman.engine.providers.finding import Program
from dragoman.schemas import ErrorCode, ErrorInfo, LLMRequest, TimeoutConfig, TimeoutOverrides
from dragoman.testing import FakeAdapter, FakeCli, Liveness
from dragoman.testing.fakes import Step
from tests.engine.conftest import MakeEngine

pytestmark = pytest.mark.anyio

REQUEST = LLMRequest(prompt="hi", provider="fake")
DONE: tuple[Step, ...] = ({"line": {"text": "ok"}}, {"line": {"done": {}}})


async def test_a_call_waits_for_a_place_and_then_runs(make_engine: MakeEngine, cli: FakeCli) -> None:
    async with Liveness() as live, make_engine(configuration={"limits": {"max_concurrency": 1}}) as engine:
        cli.scripts([live.connect(), {"wait": "gate"}, *DONE], [*DONE])
        with anyio.fail_after(60):
            first = engine.submit(REQUEST)
            await live.connected()
            second = engine.submit(REQUEST)
            impatient = engine.submit(REQUEST.model_copy(update={"timeouts": TimeoutOverrides(queue=0.05)}))
            error = (await impatient.outcome()).error
            assert error is not None
            assert (error.code, error.clock) == (ErrorCode.TIMEOUT, "queue")
            assert error.next_step == "ask again later, or raise `max_concurrency` under [limits]"
            assert (first.reply, second.reply) == (None, None)
            await live.release()
            assert (await first.outcome()).text == (await second.outcome()).text == "ok"
        assert cli.starts == 2


async def test_each_provider_has_its_own_places_too(make_engine: MakeEngine, cli: FakeCli) -> None:
    configuration = {"providers": {"fake": {"max_concurrency": 2}}}
    async with Liveness() as live, make_engine(configuration=configuration) as engine:
        cli.script(live.connect(), {"wait": "gate"}, *DONE)
        with anyio.fail_after(60):
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
        with anyio.fail_after(60):
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
        with anyio.fail_after(60):
            first = engine.submit(REQUEST)
            await live.connected()
            second = engine.submit(REQUEST)
            first.cancel()
            assert (await second.outcome()).text == "ok"


class Places:
    """The layer alone, before a provider that keeps its place until it is told."""

    def __init__(self, folder: Path, **limits: int) -> None:
        configuration = Configuration.model_validate({"limits": limits})
        machine = Machine(lambda: folder)
        self._settings = ProviderSettings(start_gap_s=60)
        self._limit = Limiter(configuration, machine).around(self._answer)
        self._gate = StartGate(machine).around(self._answer)
        self.done = anyio.Event()

    def context(self, whose: str = "fake", /, *, queued_s: float = 0.0, left_s: float = 1000.0) -> Context:
        context = Context(Call(REQUEST, "test"), 1000)
        program = Program(("fake",), Path("fake"))
        account = "account" if whose == "fake" else whose
        context.route = Route(whose, FakeAdapter(), self._settings, program, TimeoutConfig(queue=60), account)
        context.deadline, context.queued_s = anyio.current_time() + left_s, queued_s
        return context

    async def ask(self, whose: str = "fake", /, **facts: float) -> ErrorInfo | None:
        with anyio.fail_after(60):
            outcome = await self._limit(self.context(whose, **facts))
        return outcome.error if isinstance(outcome, Failed) else None

    async def start(self, **facts: float) -> None:
        with anyio.fail_after(60):
            await self._gate(self.context(**facts))

    async def _answer(self, _context: Context) -> Outcome:
        await self.done.wait()
        return Completed()


@pytest.mark.parametrize(
    ("facts", "clock"),
    [({"queued_s": 59.9}, "queue"), ({"left_s": 0.1}, "call"), ({"left_s": 59.9, "queued_s": 59.8}, "queue")],
)
async def test_nobody_waits_longer_than_the_clock_queue_or_the_call_has_left(
    tmp_path: Path, facts: dict[str, float], clock: str
) -> None:
    places = Places(tmp_path, max_concurrency=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(places.ask)
        await anyio.wait_all_tasks_blocked()
        error = await places.ask(**facts)
        assert error is not None
        assert (error.code, error.clock) == (ErrorCode.TIMEOUT, clock)
        places.done.set()


async def test_who_gave_up_makes_room_for_another_that_waits(tmp_path: Path) -> None:
    places = Places(tmp_path, max_concurrency=1, queue=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(places.ask)
        await anyio.wait_all_tasks_blocked()
        errors = [await places.ask(left_s=0.02) for _ in range(2)]
        assert [error and error.code for error in errors] == [ErrorCode.TIMEOUT] * 2
        places.done.set()


async def test_a_place_is_given_back_also_by_who_waited_for_it(tmp_path: Path) -> None:
    places = Places(tmp_path, max_concurrency=1)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(places.ask)
        await anyio.wait_all_tasks_blocked()
        places.done.set()
    assert await places.ask() is None
    taken = [Machine(lambda: tmp_path).take("account", 3) for _ in range(3)]
    assert None not in taken


async def test_who_waits_for_a_place_in_this_process_holds_none_of_the_machine(tmp_path: Path) -> None:
    places = Places(tmp_path, max_concurrency=1)
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(places.ask)
        await anyio.wait_all_tasks_blocked()
        other = Machine(lambda: tmp_path)
        assert [other.take("account", 3) is not None for _ in range(3)] == [True, True, False]
        places.done.set()
        # Those of the other process are not given back.
        tasks.cancel_scope.cancel()


async def test_who_waits_for_a_place_of_the_machine_holds_none_in_this_process(tmp_path: Path) -> None:
    places = Places(tmp_path, max_concurrency=1)
    other = Machine(lambda: tmp_path)
    taken = [other.take("account", 3) for _ in range(3)]
    places.done.set()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(places.ask)
        await anyio.wait_all_tasks_blocked()
        for _ in range(5):
            assert await places.ask("another", left_s=30) is None
        for place in taken:
            assert place is not None
            place.release()


async def test_a_start_is_kept_apart_from_the_last_one_but_not_beyond_the_calls_time(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.done.set()
    await places.start()
    began = anyio.current_time()
    await places.start(left_s=0.2)
    assert 0.2 <= anyio.current_time() - began < 60
