"""Long runs: after many calls that end in every way, nothing is left."""

import random
from pathlib import Path

import anyio
import pytest

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.schemas import LLMRequest, TimeoutOverrides
from dragoman.testing import FakeAdapter, FakeCli, Liveness
from dragoman.testing.fakes import Step

pytestmark = [pytest.mark.anyio, pytest.mark.long]

CALLS = 1500
AT_ONCE = 12
SEED = 20261121


def descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def test_calls_that_end_in_every_way_leave_no_process_and_no_descriptor(tmp_path: Path) -> None:
    chance = random.Random(SEED)  # noqa: S311 - to be repeatable
    endings: list[list[Step]] = [
        [{"line": {"text": "ok"}}, {"line": {"done": {}}}],
        [{"line": {"text": "ok"}}, {"line": {"done": {}}}, {"pause": True}],
        [{"line": {"text": "part"}}, {"pause": True}],
        [{"ignore": ["TERM"]}, {"line": {"text": "part"}}, {"pause": True}],
        [{"exit": 3}],
        [{"line": {"text": "half"}}, {"signal_self": "SEGV"}],
        [{"spew": 3_000_000, "line_bytes": 1000, "json_key": "text"}, {"line": {"done": {}}}],
        [{"grandchild": {"hold_stdout": True}}, {"line": {"done": {"text": "ok"}}}],
    ]
    configuration = Configuration.model_validate(
        {"limits": {"max_concurrency": AT_ONCE}, "providers": {"fake": {"max_concurrency": AT_ONCE}}}
    )
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    before = descriptors()
    statuses: list[str] = []
    async with Liveness() as live:
        open_before = descriptors()
        adapters: dict[str, FakeAdapter] = {}
        for number, ending in enumerate(endings):
            name = f"fake{number}"
            FakeCli(tmp_path, name).script(live.connect(name), *ending)
            adapters[name] = FakeAdapter(name, executables=(name,))
        async with Engine(configuration, adapters=adapters, environ=environ, folder=tmp_path) as engine:
            places = anyio.CapacityLimiter(AT_ONCE)

            async def one(number: int) -> None:
                async with places:
                    request = LLMRequest(
                        prompt=str(number),
                        provider=chance.choice(list(adapters)),
                        timeouts=TimeoutOverrides(idle=chance.uniform(0.05, 0.4)),
                    )
                    call = engine.submit(request)
                    if chance.random() < 0.3:
                        with anyio.move_on_after(chance.uniform(0, 0.2)):
                            await call.outcome()
                        call.cancel()
                    statuses.append((await call.outcome()).status)

            with anyio.fail_after(900):
                async with anyio.create_task_group() as tasks:
                    for number in range(CALLS):
                        tasks.start_soon(one, number)
        await live.all_gone()
        assert len(statuses) == CALLS
        assert set(statuses) == {"completed", "failed", "cancelled"}
        with anyio.fail_after(60):
            while descriptors() > open_before:
                # A connection of the test's own listener closes a moment after its process died.
                await anyio.lowlevel.checkpoint()
    assert descriptors() <= before + 1
