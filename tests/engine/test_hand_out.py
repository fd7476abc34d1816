"""When somebody who does not wait is told a job's id: once its child runs, unless others stand before it."""

from pathlib import Path

import anyio
import pytest

from dragoman.engine import Engine, Job
from dragoman.engine.jobs import job as module
from dragoman.engine.jobs import jobs
from dragoman.processes import Child, Command
from dragoman.schemas import LLMRequest
from dragoman.testing import FakeAdapter
from tests.engine.oracle import Oracle, keeps_sessions
from tests.engine.test_conversations import engine

pytestmark = pytest.mark.anyio

PATIENCE_S = 60


class Held(Oracle):
    """Processes that start when they are told to."""

    def __init__(self) -> None:
        super().__init__(keeps_sessions)
        self.starts = anyio.Event()

    async def spawn(self, command: Command) -> Child:
        await self.starts.wait()
        return await super().spawn(command)


async def started(running: Engine, conversation_id: str | None = None) -> Job:
    request = LLMRequest(prompt="one", provider="fake", conversation_id=conversation_id)
    return await running.jobs.start(request, face="test")


async def test_it_is_told_when_its_child_runs_however_slowly_that_starts(tmp_path: Path) -> None:
    oracle, told = Held(), anyio.Event()

    async def hand_out(job: Job) -> None:
        await job.hand_out()
        told.set()

    async with engine(tmp_path, oracle, FakeAdapter()) as running:
        job = await started(running)
        assert job.call is not None
        job.call.created -= 3  # it has taken so long already
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hand_out, job)
                with anyio.move_on_after(0.2):  # to be told too early there must be time for it
                    await told.wait()
                assert not told.is_set()
                oracle.starts.set()
                await told.wait()


@pytest.mark.parametrize("behind", ["a place", "its conversation", "a rate"])
async def test_it_is_told_at_once_where_others_stand_before_it(
    tmp_path: Path, behind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "START_S", 10 * PATIENCE_S)
    monkeypatch.setattr(module, "HAND_OUT_S", 10 * PATIENCE_S)
    limits = {"a place": {"max_concurrency": 1}, "a rate": {"requests_per_minute": 1}}.get(behind, {})
    configuration = {"providers": {"fake": limits}}
    oracle = Held()
    with anyio.fail_after(PATIENCE_S):
        async with engine(tmp_path, oracle, FakeAdapter(), configuration=configuration) as running:
            name = "talk" if behind == "its conversation" else None
            first = await started(running, name)
            await anyio.wait_all_tasks_blocked()
            second = await started(running, name)
            await second.hand_out()
            assert second.call is not None
            assert (second.call.host, second.reply().status) == (None, "running")
            for job in (second, first):
                await job.cancel()
