"""A job in the background: the client leaves, its server ends, and the next server has the answer."""

import pytest

from dragoman.testing import FakeAdapter, FakeCli, Liveness
from tests.server.conftest import Connect
from tests.server.results import DONE, answer, heard, structured

pytestmark = pytest.mark.anyio


async def test_closing_the_client_loses_nothing_of_a_job_in_the_background(connect: Connect, cli: FakeCli) -> None:
    adapter = FakeAdapter(detaches=True)
    async with Liveness() as live:
        cli.script(
            {"read": "all"}, {"line": {"text": "Par"}}, live.connect(), {"wait": "gate"}, {"line": {"text": "is"}}, DONE
        )
        async with connect(adapter) as client:
            asked = {"prompt": "hi", "background": True, "conversation_id": "mine"}
            running = structured(await client.call_tool("ask_fake", asked))
            assert (running["status"], running["conversation_id"]) == ("running", "mine")
            await live.connected()
        async with connect(adapter) as client:
            [job] = structured(await client.call_tool("job", {"action": "list"}))["jobs"]
            assert (job["job_id"], job["status"], job["background"]) == (running["job_id"], "running", True)
            await live.release()
            done = await client.call_tool("job", {"action": "wait", "job_id": job["job_id"]})
            assert answer(done) == ["Paris"]
            shown = structured(await client.call_tool("conversation", {"action": "show", "conversation_id": "mine"}))
            assert [turn["text"] for turn in shown["turns"]] == ["Paris"]
        assert cli.starts == 1


async def test_a_job_that_was_not_in_the_background_is_interrupted_and_says_how_to_go_on(
    connect: Connect, cli: FakeCli
) -> None:
    async with Liveness() as live:
        cli.script({"line": {"text": "Par"}}, live.connect(), {"pause": True})
        async with connect() as client:
            running = structured(await client.call_tool("ask_fake", {"prompt": "hi", "max_wait_s": 0}))
            await live.connected()
            await heard(client, running["job_id"])
        await live.all_gone()
        async with connect() as client:
            found = structured(await client.call_tool("job", {"action": "result", "job_id": running["job_id"]}))
    assert (found["status"], found["text"]) == ("interrupted", "Par")
    assert found["error"]["next_step"] == "ask again, in the same conversation"
    assert found["conversation_id"] == running["conversation_id"]
