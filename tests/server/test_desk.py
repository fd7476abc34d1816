"""What becomes of a call whose request is cancelled at an odd moment."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from dragoman.engine import Job
from dragoman.schemas import LLMRequest
from dragoman.server.callers import Callers, ToolCall
from dragoman.server.desk import Desk
from dragoman.server.withdrawals import Withdrawals
from dragoman.testing import FakeCli, Liveness
from tests.server.conftest import WHEN_IT_MATTERS, make

pytestmark = pytest.mark.anyio


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
                asking.start_soon(desk.answer, LLMRequest(prompt="hi", provider="fake", idempotency_key="k"), call)
            assert (await started[0].wait()).status == "cancelled"
            await live.all_gone()
