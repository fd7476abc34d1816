"""A call that is made twice runs once."""

from pathlib import Path

import anyio
import pytest
from mcp.client import Client
from mcp_types import Implementation, RequestParamsMeta

from dragoman.testing import FakeCli, Liveness
from tests.server.conftest import WHEN_IT_MATTERS, Connect, listening, make
from tests.server.results import DONE, answer, failure, structured

pytestmark = pytest.mark.anyio


async def test_a_repeated_call_gets_the_answer_of_the_first(connect: Connect, cli: FakeCli) -> None:
    async with Liveness() as live, connect() as client:
        cli.script(live.connect(), {"wait": "gate"}, {"line": {"text": "Paris"}}, DONE)
        asked = {"prompt": "hi", "idempotency_key": "k"}
        running = structured(await client.call_tool("ask_fake", {**asked, "max_wait_s": 0}))
        again = structured(await client.call_tool("ask_fake", {**asked, "max_wait_s": 0.01}))
        assert again["job_id"] == running["job_id"]
        await live.connected()
        await live.release()
        assert answer(await client.call_tool("ask_fake", asked)) == ["Paris"]
        assert answer(await client.call_tool("ask_fake", asked)) == ["Paris"]
        assert cli.starts == 1
        other = failure(await client.call_tool("ask_fake", {**asked, "prompt": "ho"}))
        assert (other["code"], "'k'" in other["message"]) == ("bad_request", True)


BY_CLIENT = pytest.mark.parametrize(
    "meta",
    [
        {"claudecode/toolUseId": "call_1"},
        {"callId": "call_1", "x-codex-turn-metadata": {"turn_id": "t"}},
        {"callId": "é" * 999},
    ],
)


@BY_CLIENT
async def test_the_clients_own_name_for_a_call_is_a_key(
    connect: Connect, cli: FakeCli, meta: RequestParamsMeta
) -> None:
    async with Liveness() as live, connect() as client:
        cli.script(live.connect(), {"wait": "gate"}, {"line": {"text": "Paris"}}, DONE)
        asked = {"prompt": "hi", "max_wait_s": 0}
        running = structured(await client.call_tool("ask_fake", asked, meta=meta))
        again = structured(await client.call_tool("ask_fake", {**asked, "max_wait_s": 0.01}, meta=meta))
        assert again["job_id"] == running["job_id"]
        others = [("ask_fake", {"prompt": "ho"}), ("ask_many", {"prompts": ["hi"], "providers": ["fake"]})]
        for tool, other in others:
            refused = failure(await client.call_tool(tool, other, meta=meta))
            assert refused["code"] == "bad_request"
            assert refused["next_step"] == f"fetch job {running['job_id']!r}, then ask again"
        await live.connected()
        await live.release()
        assert answer(await client.call_tool("ask_fake", {"prompt": "hi"}, meta=meta)) == ["Paris"]
        assert cli.starts == 1


@BY_CLIENT
async def test_a_name_that_the_client_gives_again_is_another_call_when_the_first_has_ended(
    connect: Connect, cli: FakeCli, meta: RequestParamsMeta
) -> None:
    """Some models number their calls anew in each turn."""
    cli.script({"read": "all"}, {"line": {"text": "Paris"}}, DONE)
    async with connect() as client:
        first, again, other, other_again, unnamed = [
            structured(await client.call_tool("ask_fake", {"prompt": prompt}, meta=each))["call_id"]
            for prompt, each in (("hi", meta), ("hi", meta), ("ho", meta), ("ho", meta), ("ho", None))
        ]
        assert (again, other_again) == (first, other)
        assert len({first, other, unnamed}) == cli.starts == 3


async def test_a_call_that_two_wait_for_ends_when_both_have_cancelled(connect: Connect, cli: FakeCli) -> None:
    async with Liveness() as live, connect() as client:
        cli.script(live.connect(), {"wait": "gate"}, {"line": {"text": "Paris"}}, DONE)
        asked = {"prompt": "hi", "idempotency_key": "k"}
        told = [anyio.Event(), anyio.Event()]

        async def ask(number: int) -> None:
            async def tell(progress: float, total: float | None, message: str | None) -> None:
                told[number].set()

            await client.call_tool("ask_fake", asked, progress_callback=tell)

        async with anyio.create_task_group() as first:
            first.start_soon(ask, 0)
            await live.connected()
            async with anyio.create_task_group() as second:
                second.start_soon(ask, 1)
                await told[1].wait()
                second.cancel_scope.cancel()
            [job] = structured(await client.call_tool("job", {"action": "list"}))["jobs"]
            assert job["status"] == "running"
            first.cancel_scope.cancel()
        await live.all_gone()


async def test_the_keys_of_another_client_are_others(cli: FakeCli, tmp_path: Path) -> None:
    cli.script({"read": "all"}, {"line": {"text": "Paris"}}, DONE)
    found = set[str]()
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with listening(make(tmp_path, "streamable-http")) as url:
            for name, mode in (("one", "auto"), ("two", "auto"), ("one", "legacy"), ("one", "legacy")):
                async with Client(url, mode=mode, client_info=Implementation(name=name, version="1")) as client:
                    asked = {"prompt": "hi", "idempotency_key": "k"}
                    found.add(structured(await client.call_tool("ask_fake", asked))["call_id"])
    assert (len(found), cli.starts) == (4, 4)
