"""Answers that are not ready in time."""

from typing import Any

import anyio
import pytest

from dragoman.server.pages import json_bytes
from dragoman.testing import FakeCli, Liveness
from tests.server.conftest import Connect
from tests.server.results import DONE, answer, failure, heard, structured, texts

pytestmark = pytest.mark.anyio


async def test_an_answer_not_ready_in_time_becomes_a_job_that_wait_and_result_collect(
    connect: Connect, cli: FakeCli
) -> None:
    async with Liveness() as live, connect() as client:
        cli.script(live.connect(), {"wait": "gate"}, {"line": {"text": "Paris"}}, DONE)
        running = await client.call_tool("ask_fake", {"prompt": "hi", "max_wait_s": 0.05})
        assert not running.is_error
        reply = structured(running)
        assert reply["status"] == "running"
        job_id = reply["job_id"]
        assert texts(running) == reply["notices"]
        assert f'"wait" and job_id "{job_id}"' in texts(running)[0]

        again = await client.call_tool("job", {"action": "result", "job_id": job_id})
        assert structured(again)["status"] == "running"
        waited = await client.call_tool("job", {"action": "wait", "job_id": job_id, "max_wait_s": 0})
        assert structured(waited)["status"] == "running"

        await live.connected()
        await live.release()
        waited = await client.call_tool("job", {"action": "wait", "job_id": job_id})
        assert answer(waited) == ["Paris"]
        assert (structured(waited)["status"], structured(waited)["job_id"]) == ("completed", job_id)
        assert structured(waited)["conversation_id"] == reply["conversation_id"]
        assert (await client.call_tool("job", {"action": "result", "job_id": job_id})).content == waited.content
        assert cli.starts == 1


async def test_the_configured_wait_is_the_default_and_none_waits_to_the_end(connect: Connect, cli: FakeCli) -> None:
    async with Liveness() as live, connect(server={"max_wait_s": 0}) as client:
        # An answer may be there by the time that its job can be told.
        cli.script(live.connect(), {"pause": True})
        assert structured(await client.call_tool("ask_fake", {"prompt": "hi"}))["status"] == "running"
    cli.script({"read": "all"}, {"line": {"text": "Paris"}}, DONE)
    async with connect(server={"max_wait_s": "none"}) as client:
        assert answer(await client.call_tool("ask_fake", {"prompt": "hi"})) == ["Paris"]


async def test_cancel_ends_the_job_and_keeps_what_it_had(connect: Connect, cli: FakeCli) -> None:
    async with Liveness() as live, connect() as client:
        cli.script({"line": {"text": "Par"}}, live.connect(), {"pause": True})
        running = structured(await client.call_tool("ask_fake", {"prompt": "hi", "max_wait_s": 0}))
        await heard(client, running["job_id"])
        cancelled = await client.call_tool("job", {"action": "cancel", "job_id": running["job_id"]})
        assert not cancelled.is_error
        assert (structured(cancelled)["status"], structured(cancelled)["text"]) == ("cancelled", "Par")
        assert texts(cancelled)[0].startswith("fake cancelled: ")
        await live.all_gone()


async def test_result_tells_what_there_is_of_an_answer_that_is_not_whole_yet(connect: Connect, cli: FakeCli) -> None:
    async with Liveness() as live, connect() as client:
        cli.script({"line": {"text": "Par"}}, live.connect(), {"wait": "gate"}, {"line": {"text": "is"}}, DONE)
        running = structured(await client.call_tool("ask_fake", {"prompt": "hi", "max_wait_s": 0}))
        collect = {"action": "result", "job_id": running["job_id"]}
        so_far = await heard(client, running["job_id"])
        assert (so_far["status"], so_far["text"]) == ("running", "Par")
        assert texts(await client.call_tool("job", collect))[-1] == "So far:\nPar"
        await live.connected()
        await live.release()
        assert answer(await client.call_tool("job", {**collect, "action": "wait"})) == ["Paris"]


async def test_a_client_that_gives_up_waiting_for_a_job_does_not_end_it(connect: Connect, cli: FakeCli) -> None:
    async with Liveness() as live, connect() as client:
        cli.script(live.connect(), {"wait": "gate"}, {"line": {"text": "Paris"}}, DONE)
        running = structured(await client.call_tool("ask_fake", {"prompt": "hi", "max_wait_s": 0}))
        waiting = {"action": "wait", "job_id": running["job_id"]}
        told = anyio.Event()

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            told.set()

        async def wait() -> None:
            await client.call_tool("job", waiting, progress_callback=tell)

        async with anyio.create_task_group() as asking:
            asking.start_soon(wait)
            await live.connected()
            await told.wait()
            asking.cancel_scope.cancel()
        await live.release()
        assert answer(await client.call_tool("job", waiting)) == ["Paris"]


async def test_a_failed_job_is_a_failure_when_it_is_collected(connect: Connect, cli: FakeCli) -> None:
    cli.script({"line": {"error": {"code": "quota", "message": "used up"}}})
    async with connect() as client:
        running = structured(await client.call_tool("ask_fake", {"prompt": "hi", "max_wait_s": 0}))
        error = failure(await client.call_tool("job", {"action": "wait", "job_id": running["job_id"]}))
    assert error["code"] == "quota"


async def test_list_shows_every_job_with_its_state_and_the_start_of_its_prompt(connect: Connect, cli: FakeCli) -> None:
    async with Liveness() as live, connect() as client:
        assert texts(await client.call_tool("job", {"action": "list"})) == ["There are no jobs."]
        cli.script(live.connect(), {"pause": True})
        for prompt in ("first\nline", "x" * 100):
            await client.call_tool("ask_fake", {"prompt": prompt, "max_wait_s": 0})
        listed = await client.call_tool("job", {"action": "list"})
    second, first = structured(listed)["jobs"]
    assert (first["status"], first["provider"], first["prompt"]) == ("running", "fake", "first line")
    assert second["prompt"] == "x" * 80 + "…"
    assert [line.split()[0] for line in texts(listed)[0].splitlines()] == [second["job_id"], first["job_id"]]


@pytest.mark.parametrize(("mode", "transport"), [("auto", "streamable-http")])
async def test_the_list_comes_in_pages_none_of_which_is_too_large(connect: Connect, cli: FakeCli) -> None:
    cli.script({"read": "all"}, {"line": {"text": "Paris"}}, DONE)
    prompts = [f"{number} {letter * 100}" for number, letter in enumerate("xé日🦉\x01x日🦉\x01")]
    jobs, page = list[dict[str, Any]](), 1
    async with connect(server={"answer_bytes": 1500}) as client:
        for prompt in prompts:
            await client.call_tool("ask_fake", {"prompt": prompt, "conversation_id": "c" * 128})
        while page:
            told = structured(await client.call_tool("job", {"action": "list", "page": page}))
            assert json_bytes(told) <= 1500
            assert told["jobs"], "a full page is followed by none that is empty"
            jobs += told["jobs"]
            page = told.get("next_page", 0)
    assert [job["prompt"].split()[0] for job in jobs] == [prompt.split()[0] for prompt in reversed(prompts)]
    assert jobs[-1]["prompt"] == f"0 {'x' * 78}…"
    assert jobs[0]["prompt"].endswith(" […]")


async def test_an_unknown_job_or_action_says_what_to_do(connect: Connect) -> None:
    async with connect() as client:
        unknown = failure(await client.call_tool("job", {"action": "wait", "job_id": "nope"}))
        assert (unknown["code"], "'nope'" in unknown["message"]) == ("not_found", True)
        missing = failure(await client.call_tool("job", {"action": "wait"}))
        assert "needs the argument 'job_id'" in missing["message"]
        action = failure(await client.call_tool("job", {"action": "stop", "job_id": "nope"}))
        assert "one of: wait, result, cancel, list" in action["message"]
