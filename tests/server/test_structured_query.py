"""JSON of a given shape through a tool."""

import json
from typing import Any

import anyio
import pytest

from dragoman.testing import FakeAdapter, FakeCli, Liveness
from tests.server.conftest import Connect
from tests.server.results import DONE, failure, structured, texts

pytestmark = pytest.mark.anyio

CITY = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["name", "people"],
}
PARIS = {"name": "Paris", "people": 2_100_000}


def says(cli: FakeCli, *answers: str) -> None:
    """Each start of the CLI gives the next answer, the last one for ever."""
    steps = [[{"read": "all"}, {"line": {"text": answer}}, DONE] for answer in answers]
    cli.script({"by_start": steps})


async def test_the_first_text_is_the_json_and_nothing_else_and_the_structured_part_has_the_value(
    connect: Connect, cli: FakeCli
) -> None:
    says(cli, f"Sure!\n```json\n{json.dumps(PARIS)}\n```")
    async with connect() as client:
        result = await client.call_tool("structured_query", {"prompt": "Which city?", "schema": CITY})
    assert not result.is_error
    assert json.loads(texts(result)[0]) == PARIS
    reply = structured(result)
    assert (reply["data"], reply["mechanism"], reply["extraction"]) == (PARIS, "prompted", "fenced")
    assert (reply["provider"], reply["attempts"], json.loads(reply["text"])) == ("fake", 1, PARIS)


@pytest.mark.parametrize("schema", ["name, people int", json.dumps(CITY)])
async def test_a_schema_may_be_written_in_short_or_as_text(connect: Connect, cli: FakeCli, schema: str) -> None:
    says(cli, json.dumps(PARIS))
    async with connect() as client:
        result = await client.call_tool("structured_query", {"prompt": "Which?", "schema": schema, "provider": "fake"})
    assert structured(result)["data"] == PARIS


async def test_a_cli_that_takes_a_schema_gets_it(connect: Connect, cli: FakeCli) -> None:
    cli.script({"read": "all"}, {"line": {"done": {"text": "x", "data": {"answer": None}}}})
    async with connect(FakeAdapter(native_schema="any")) as client:
        result = await client.call_tool("structured_query", {"prompt": "Which?", "schema": {"type": "null"}})
    reply = structured(result)
    assert (texts(result)[0], reply["data"], reply["mechanism"]) == ("null", None, "native")


async def test_a_wrong_answer_is_asked_for_again_and_then_a_failure_with_its_attempts(
    connect: Connect, cli: FakeCli
) -> None:
    says(cli, '{"name": "Paris"}', json.dumps(PARIS))
    async with connect() as client:
        arguments: dict[str, Any] = {"prompt": "Which city?", "schema": CITY, "max_attempts": 2}
        reply = structured(await client.call_tool("structured_query", arguments))
        assert (reply["data"], reply["attempts"]) == (PARIS, 2)
        says(cli, '{"name": "Paris"}')
        result = await client.call_tool("structured_query", arguments)
    error = failure(result)
    assert error["code"] == "schema_mismatch"
    assert "$.people: expected an integer (required), got nothing" in error["message"]
    assert structured(result)["attempts"] == 2
    assert "data" not in structured(result)


async def test_what_else_must_pass_can_be_said(connect: Connect, cli: FakeCli) -> None:
    says(cli, '{"name": "n/a", "people": 1}', json.dumps(PARIS))
    async with connect() as client:
        reply = structured(
            await client.call_tool(
                "structured_query",
                {"prompt": "Which?", "schema": CITY, "validators": ["no-placeholder"], "max_attempts": 2},
            )
        )
    assert (reply["data"], reply["attempts"]) == (PARIS, 2)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"schema": CITY}, "needs the argument 'prompt'"),
    ({"prompt": "hi"}, "needs the argument 'schema'"),
    ({"prompt": "hi", "schema": 7}, "'schema' is 7, but it must be an object"),
    ({"prompt": "hi", "schema": {"type": "strnig"}}, "The schema cannot be used"),
    ({"prompt": "hi", "schema": {"$ref": "https://example.com/s.json"}}, "The schema cannot be used"),
    ({"prompt": "hi", "schema": "name, age year"}, "the field 'age' has the type 'year'"),
    ({"prompt": "hi", "schema": CITY, "validators": ["nonsense"]}, "'nonsense' cannot be used"),
    ({"prompt": "hi", "schema": CITY, "validators": "json"}, "must be an array"),
    ({"prompt": "hi", "schema": CITY, "validators": [7]}, "validators.0"),
    ({"prompt": "hi", "schema": CITY, "max_attempts": 21}, "must be at most 20"),
    ({"prompt": "hi", "schema": CITY, "provider": "nobody"}, "there is no provider 'nobody'"),
    ({"prompt": "hi", "schema": CITY, "cwd": "/"}, "has no argument 'cwd'"),
]


async def test_what_cannot_be_asked_is_refused_in_words_and_starts_nothing(connect: Connect, cli: FakeCli) -> None:
    says(cli, json.dumps(PARIS))
    async with connect() as client:
        for arguments, cause in REFUSED:
            error = failure(await client.call_tool("structured_query", arguments))
            assert cause in error["message"], error
            assert error["code"] == ("not_found" if "nobody" in cause else "bad_request")
    assert cli.starts == 0


async def test_a_value_that_is_too_large_beside_its_text_comes_as_text_in_pages(connect: Connect, cli: FakeCli) -> None:
    value = [f"word number {number}" for number in range(1000)]
    says(cli, json.dumps(value))
    async with connect(server={"answer_bytes": 8000}) as client:
        result = await client.call_tool("structured_query", {"prompt": "Words.", "schema": {"type": "array"}})
        reply = structured(result)
        assert "data" not in reply
        assert reply["notices"]
        whole = reply["text"]
        while "next_page" in reply:
            arguments = {"action": "result", "job_id": reply["job_id"], "page": reply["next_page"]}
            reply = structured(await client.call_tool("job", arguments))
            whole += reply["text"]
    assert json.loads(whole) == value


async def test_a_slow_one_is_collected_as_a_job(connect: Connect, cli: FakeCli) -> None:
    async with Liveness() as live, connect() as client:
        cli.script({"read": "all"}, live.connect(), {"wait": "gate"}, {"line": {"text": json.dumps(PARIS)}}, DONE)
        arguments = {"prompt": "Which city?", "schema": CITY, "max_wait_s": 0}
        handed = structured(await client.call_tool("structured_query", arguments))
        assert handed["status"] == "running"
        await live.connected()
        await live.release()
        collected = await client.call_tool("job", {"action": "wait", "job_id": handed["job_id"]})
    assert structured(collected)["data"] == PARIS


async def test_the_client_sees_the_answer_grow(connect: Connect, cli: FakeCli) -> None:
    seen = anyio.Event()

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        if 'so far: {"name": "Par"}' in (message or ""):
            seen.set()

    async with Liveness() as live, connect() as client:
        begins, ends = {"line": {"text": '{"name": "Par'}}, {"line": {"text": 'is"}'}}
        cli.script({"read": "all"}, live.connect(), begins, {"wait": "gate"}, ends, DONE)

        async def ask() -> None:
            arguments = {"prompt": "Which city?", "schema": "name"}
            result = await client.call_tool("structured_query", arguments, progress_callback=tell)
            assert structured(result)["data"] == {"name": "Paris"}

        async with anyio.create_task_group() as asking:
            asking.start_soon(ask)
            await seen.wait()
            await live.release()
