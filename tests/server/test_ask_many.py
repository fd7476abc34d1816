"""``ask_many``: several questions at once."""

import json
from typing import Any

import anyio
import pytest
from mcp_types import TextResourceContents

from dragoman.server.pages import json_bytes
from dragoman.testing import FakeAdapter, FakeCli, Liveness
from tests.server.conftest import Connect
from tests.server.results import failure, structured, texts

pytestmark = pytest.mark.anyio


def two(cli: FakeCli) -> tuple[FakeAdapter, FakeAdapter]:
    cli.script({"line": {"done": {"text": "Paris."}}})
    other = FakeCli(cli.path.parent, "dragoman-other")
    other.script({"line": {"done": {"text": "paris"}}})
    return FakeAdapter(), FakeAdapter("other", executables=("dragoman-other",))


async def test_every_prompt_goes_to_every_provider_and_each_answer_is_told(connect: Connect, cli: FakeCli) -> None:
    async with connect(*two(cli)) as client:
        result = await client.call_tool("ask_many", {"prompts": ["a", "b"], "providers": ["fake", "other"]})
    assert not result.is_error
    assert texts(result)[0] == "[1] fake: Paris.\n\n[2] other: paris\n\n[3] fake: Paris.\n\n[4] other: paris"
    answers = structured(result)["data"]["answers"]
    assert [(each["number"], each["provider"], each["text"]) for each in answers] == [
        (1, "fake", "Paris."),
        (2, "other", "paris"),
        (3, "fake", "Paris."),
        (4, "other", "paris"),
    ]


@pytest.mark.parametrize(("mode", "transport"), [("auto", "streamable-http")])
@pytest.mark.parametrize(("said", "pages"), [("yes", 1), ("some words " * 30, 3)])
async def test_many_answers_come_in_pages_none_of_which_is_too_large(
    connect: Connect, cli: FakeCli, said: str, pages: int
) -> None:
    cli.script({"line": {"done": {"text": said}}})
    asked = {"prompts": [str(number) for number in range(24)], "providers": ["fake"]}
    async with connect(server={"answer_bytes": 3000}) as client:
        results = [await client.call_tool("ask_many", asked)]
        job_id = structured(results[0])["call_id"]
        while page := structured(results[-1]).get("next_page"):
            results.append(await client.call_tool("job", {"action": "result", "job_id": job_id, "page": page}))
        [content] = (await client.read_resource(f"dragoman://jobs/{job_id}")).contents
    assert isinstance(content, TextResourceContents)
    assert len(json.loads(content.text)["data"]["answers"]) == 24
    assert "".join(structured(result)["text"] for result in results).count(said.strip()) == 24
    assert len(results) >= pages
    for result in results:
        assert json_bytes(structured(result)) <= 3000
        assert "data" not in structured(result)
        assert f"the resource dragoman://jobs/{job_id} has it" in structured(result)["notices"][0]


async def test_pairs_are_asked_as_they_are_and_a_vote_is_told_first(connect: Connect, cli: FakeCli) -> None:
    pairs = [{"provider": "fake", "prompt": "?"}, {"provider": "other", "prompt": "?"}]
    async with connect(*two(cli)) as client:
        result = await client.call_tool("ask_many", {"pairs": pairs, "combine": "vote"})
    assert texts(result)[0].startswith("[vote] 2 of 2 say so (1, 2): Paris.")
    assert structured(result)["data"]["combined"][0]["numbers"] == [1, 2]


async def test_a_failure_is_one_answer_among_the_others_and_all_failed_is_a_failure(
    connect: Connect, cli: FakeCli
) -> None:
    adapters = two(cli)
    cli.script({"line": {"error": {"code": "refused", "message": "no"}}})
    async with connect(*adapters) as client:
        some = await client.call_tool("ask_many", {"prompts": ["?"], "providers": ["fake", "other"]})
        none = await client.call_tool("ask_many", {"prompts": ["?", "!"], "providers": ["fake"]})
    assert not some.is_error
    assert "[1] fake failed: refused: no" in texts(some)[0]
    assert failure(none)["code"] == "refused"


async def test_progress_tells_how_many_are_there_and_what_takes_long_is_a_job(connect: Connect, cli: FakeCli) -> None:
    told: list[str] = []
    here = anyio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(str(message))
        if "1 of 2" in str(message):
            here.set()

    adapters = two(cli)
    async with Liveness() as live, connect(*adapters) as client:
        cli.script(live.connect(), {"wait": "gate"}, {"line": {"done": {"text": "slow"}}})
        arguments: dict[str, Any] = {"prompts": ["?"], "providers": ["fake", "other"]}

        async def ask() -> None:
            result = await client.call_tool("ask_many", arguments, progress_callback=hear)
            assert "slow" in texts(result)[0]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await live.connected()
            await here.wait()
            await live.release()
        running = await client.call_tool("ask_many", {**arguments, "max_wait_s": 0})
        job_id = structured(running)["job_id"]
        await live.connected(2)
        await live.release()
        collected = await client.call_tool("job", {"action": "wait", "job_id": job_id})
    assert structured(collected)["status"] == "completed"
    assert [each["text"] for each in structured(collected)["data"]["answers"]] == ["slow", "paris"]


NO_QUESTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"prompts": []},
    {"prompts": [1]},
    {"prompts": [" "]},
    {"prompts": ["?"], "pairs": [{"prompt": "?"}]},
    {"pairs": ["?"]},
    {"pairs": [{"promt": "?"}]},
    {"prompts": ["?"] * 501},
    {"prompts": ["?"], "combine": "judge"},
    {"prompts": ["?"], "judge": "fake"},
)


async def test_what_is_no_question_is_told_and_nothing_is_asked(connect: Connect, cli: FakeCli) -> None:
    cli.script({"line": {"done": {"text": "x"}}})
    async with connect() as client:
        results = [await client.call_tool("ask_many", arguments) for arguments in NO_QUESTIONS]
    told = [failure(result)["code"] for result in results]
    assert told == ["bad_request"] * len(NO_QUESTIONS), dict(enumerate(told))
    assert cli.starts == 0


@pytest.mark.parametrize(
    "named", [{"providers": ["fake", "faek"]}, {"combine": "judge", "judge": "faek", "providers": ["fake"]}]
)
async def test_a_name_that_nobody_has_is_told_before_anybody_is_asked(
    connect: Connect, cli: FakeCli, named: dict[str, Any]
) -> None:
    cli.script({"line": {"done": {"text": "x"}}})
    async with connect() as client:
        result = await client.call_tool("ask_many", {"prompts": ["?"], **named})
    assert failure(result)["code"] == "not_found"
    assert failure(result)["next_step"].startswith("did you mean 'fake'?")
    assert cli.starts == 0


@pytest.mark.parametrize(("mode", "transport"), [("auto", "streamable-http")])
async def test_what_is_told_of_a_call_that_cannot_begin_is_not_too_large_either(connect: Connect) -> None:
    async with connect(server={"answer_bytes": 3000}) as client:
        result = await client.call_tool("ask_many", {"prompts": ["?"], "providers": ["x" * 9000]})
    assert failure(result)["message"].endswith("x […]")
    assert json_bytes(structured(result)) <= 3000
    assert structured(result)["notices"] == ["the error is shortened here"]
