"""What becomes of a call whose request is cancelled at an odd moment."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from mcp.server.context import ServerRequestContext
from mcp_types import CallToolResult

from dragoman.engine import Job
from dragoman.schemas import LLMRequest
from dragoman.server.callers import Callers, ToolCall
from dragoman.server.desk import Desk
from dragoman.server.withdrawals import Withdrawals
from dragoman.testing import FakeCli, Liveness
from tests.server.conftest import WHEN_IT_MATTERS, make
from tests.server.results import DONE, answer
from tests.server.scripted import Made

pytestmark = pytest.mark.anyio

REQUEST = LLMRequest(prompt="hi", provider="fake", idempotency_key="k")


def called(made: Made) -> ToolCall:
    """A call whose request its client can take back."""
    context = cast("Any", SimpleNamespace(request_context=SimpleNamespace(meta=None)))
    nobody = Callers(made.configuration.server, "p").of(None)
    return ToolCall("ask_fake", {}, replace(nobody, context=context))


async def test_a_request_that_is_cancelled_while_its_job_is_written_down_leaves_no_job_that_runs(
    tmp_path: Path, cli: FakeCli
) -> None:
    made = make(tmp_path, "streamable-http")
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with Liveness() as live, made.engine() as engine:
            cli.script(live.connect(), {"pause": True})
            started = list[Job]()

            async def start(request: LLMRequest, **given: Any) -> Job:  # noqa: ANN401 - passed on
                asking.cancel_scope.cancel()
                await anyio.lowlevel.checkpoint()
                started.append(await engine.jobs.start(request, **given))
                return started[0]

            slow = SimpleNamespace(jobs=SimpleNamespace(start=start))
            desk = Desk(cast("Any", slow), Withdrawals())
            call = ToolCall("ask_fake", {}, Callers(made.configuration.server, "p").of(None))
            async with anyio.create_task_group() as asking:
                asking.start_soon(desk.answer, REQUEST, call)
            assert (await started[0].wait()).status == "cancelled"
            await live.all_gone()


class Slow(Withdrawals):
    """The reason of a request that was taken back comes when it is told to: it was no time limit."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.comes = anyio.Event(), anyio.Event()

    async def time_ran_out(self, ctx: ServerRequestContext[Any, Any]) -> bool:
        self.asked.set()
        with anyio.CancelScope(shield=True):
            await self.comes.wait()
        return False


async def test_who_repeats_a_call_while_the_first_is_being_taken_back_gets_the_answer(
    tmp_path: Path, cli: FakeCli
) -> None:
    made, reasons = make(tmp_path, "streamable-http"), Slow()
    call = called(made)
    answers: list[CallToolResult] = []
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with Liveness() as live, made.engine() as engine:
            cli.script(live.connect(), {"wait": "gate"}, {"line": {"text": "Paris"}}, DONE)
            desk = Desk(engine, reasons)

            async def repeat() -> None:
                answers.append(await desk.answer(REQUEST, call))

            async with anyio.create_task_group() as tasks:
                async with anyio.create_task_group() as first:
                    first.start_soon(desk.answer, REQUEST, call)
                    await live.connected()
                    first.cancel_scope.cancel()
                    with anyio.CancelScope(shield=True):
                        await reasons.asked.wait()
                        tasks.start_soon(repeat)
                        await anyio.wait_all_tasks_blocked()
                        reasons.comes.set()
                await live.release()
    assert answer(answers[0]) == ["Paris"]
    assert cli.starts == 1


async def test_a_call_that_all_who_wait_for_it_take_back_at_once_ends(tmp_path: Path, cli: FakeCli) -> None:
    made, reasons = make(tmp_path, "streamable-http"), Slow()
    call = called(made)
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with Liveness() as live, made.engine() as engine:
            cli.script(live.connect(), {"pause": True})
            desk = Desk(engine, reasons)
            async with anyio.create_task_group() as asking:
                asking.start_soon(desk.answer, REQUEST, call)
                await live.connected()
                asking.start_soon(desk.answer, REQUEST, call)
                await anyio.wait_all_tasks_blocked()
                reasons.comes.set()
                asking.cancel_scope.cancel()
            await live.all_gone()
