"""A call that is made twice runs once."""

from pathlib import Path
from typing import cast

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


@pytest.mark.parametrize("name", ["claudecode/toolUseId", "callId"])
async def test_the_clients_own_name_for_a_call_is_a_key_but_not_for_another_question(
    connect: Connect, cli: FakeCli, name: str
) -> None:
    cli.script({"read": "all"}, {"line": {"text": "Paris"}}, DONE)
    async with connect() as client:
        meta = cast("RequestParamsMeta", {name: "call_1"})
        first = structured(await client.call_tool("ask_fake", {"prompt": "hi"}, meta=meta))
        again = structured(await client.call_tool("ask_fake", {"prompt": "hi"}, meta=meta))
        assert (again["call_id"], cli.starts) == (first["call_id"], 1)
        other = structured(await client.call_tool("ask_fake", {"prompt": "ho"}, meta=meta))
        unnamed = structured(await client.call_tool("ask_fake", {"prompt": "hi"}))
        assert len({first["call_id"], other["call_id"], unnamed["call_id"]}) == 3


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
