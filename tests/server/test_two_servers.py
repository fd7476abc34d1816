"""Two servers of one machine: what one began, the other can go on with."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from mcp.client import Client

from dragoman.testing import FakeCli, Liveness
from tests.server.conftest import WHEN_IT_MATTERS, make, reached
from tests.server.results import DONE, answer, structured, texts

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["stdio", "streamable-http"])
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def two(tmp_path: Path, cli: FakeCli, transport: str) -> AsyncGenerator[tuple[Client, Client]]:
    """Two clients, each with a server of its own."""
    cli.script(DONE)
    made = make(tmp_path, transport)
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(Client(await stack.enter_async_context(reached(made)), mode="auto"))
                for _ in range(2)
            ]
            yield clients[0], clients[1]


async def test_one_collects_the_job_of_the_other_with_signs_of_life(two: tuple[Client, Client], cli: FakeCli) -> None:
    one, other = two
    async with Liveness() as live:
        cli.script(live.connect(), {"wait": "gate"}, {"line": {"text": "Paris"}}, DONE)
        running = structured(await one.call_tool("ask_fake", {"prompt": "the capital", "max_wait_s": 0}))
        await live.connected()
        [job] = structured(await other.call_tool("job", {"action": "list"}))["jobs"]
        assert (job["job_id"], job["status"], job["prompt"]) == (running["job_id"], "running", "the capital")
        lines = list[str]()
        told = anyio.Event()

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            lines.append(str(message))
            told.set()

        async def release() -> None:
            await told.wait()
            await live.release()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(release)
            waiting = {"action": "wait", "job_id": job["job_id"]}
            assert answer(await other.call_tool("job", waiting, progress_callback=tell)) == ["Paris"]
        assert lines[0].startswith("fake has been working for ")
        assert cli.starts == 1


async def test_one_cancels_the_job_of_the_other(two: tuple[Client, Client], cli: FakeCli) -> None:
    one, other = two
    async with Liveness() as live:
        cli.script({"line": {"text": "Par"}}, live.connect(), {"pause": True})
        running = structured(await one.call_tool("ask_fake", {"prompt": "hi", "max_wait_s": 0}))
        await live.connected()
        cancelled = structured(await other.call_tool("job", {"action": "cancel", "job_id": running["job_id"]}))
        await live.all_gone()
        if cancelled["status"] == "running":
            # It is not waited for longer than some seconds that the other server hears of it.
            cancelled = structured(await other.call_tool("job", {"action": "wait", "job_id": running["job_id"]}))
        assert cancelled["status"] == "cancelled"


async def test_a_conversation_goes_on_in_the_other(two: tuple[Client, Client], cli: FakeCli) -> None:
    one, other = two
    cli.script({"read": "all"}, {"echo_stdin": True, "as": "text", "pick": "prompt"}, DONE)
    first = structured(await one.call_tool("ask_fake", {"prompt": "My name is Ada."}))
    asked = {"prompt": "What is it?", "conversation_id": first["conversation_id"]}
    assert "My name is Ada." in structured(await other.call_tool("ask_fake", asked))["text"]
    shown = await one.call_tool("conversation", {"action": "show", "conversation_id": first["conversation_id"]})
    assert [turn["prompt"] for turn in structured(shown)["turns"]] == ["My name is Ada.", "What is it?"]
    assert "[2] user: What is it?" in texts(shown)[0]
