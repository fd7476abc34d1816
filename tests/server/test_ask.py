"""One question through a tool: the answer, failures, arguments that are not taken."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman.testing import FakeAdapter, FakeCli, Liveness
from tests.server.conftest import Connect
from tests.server.results import DONE, answer, failure, structured, texts

pytestmark = pytest.mark.anyio


async def test_the_answer_is_the_whole_text_and_the_same_in_the_structured_part(connect: Connect, cli: FakeCli) -> None:
    cli.script({"read": "all"}, {"line": {"usage": {"input_tokens": 3}}}, {"line": {"text": "Paris"}}, DONE)
    async with connect() as client:
        result = await client.call_tool("ask_fake", {"prompt": "What is the capital of France?"})
    assert not result.is_error
    assert answer(result) == ["Paris"]
    reply = structured(result)
    assert (reply["status"], reply["text"], reply["provider"], reply["model"]) == ("completed", "Paris", "fake", "m")
    assert (reply["usage"], reply["attempts"], reply["finish_reason"]) == ({"input_tokens": 3}, 1, "stop")
    assert "job_id" not in reply


async def test_prompt_model_system_prompt_and_folder_reach_the_provider(
    connect: Connect, cli: FakeCli, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    cli.script(
        {"read": "all"},
        {"echo_stdin": True, "as": "text", "pick": "prompt"},
        {"echo_stdin": True, "as": "text", "pick": "system"},
        {"argv": True, "as": "argv"},
        {"cwd": True, "as": "cwd"},
        DONE,
    )
    arguments = {"prompt": "-p /x @y ", "system_prompt": "Be brief.", "model": "big", "cwd": str(folder)}
    async with connect() as client:
        result = await client.call_tool("ask_fake", arguments)
    reply = structured(result)
    assert reply["text"] == "-p /x @y Be brief."
    # What the fake adapter does not know it shows as notices; a client that sees only the text sees them after it.
    assert reply["notices"] == ['{"argv": ["--model=big"]}', f'{{"cwd": "{folder}"}}']
    assert answer(result) == [reply["text"], "\n".join(f"Note: {notice}" for notice in reply["notices"])]


async def test_an_answer_cut_at_the_token_limit_says_so_beside_the_text(connect: Connect, cli: FakeCli) -> None:
    cli.script({"line": {"text": "One, two"}}, {"line": {"done": {"finish_reason": "max_tokens"}}})
    async with connect() as client:
        result = await client.call_tool("ask_fake", {"prompt": "Count."})
    assert structured(result)["finish_reason"] == "max_tokens"
    assert answer(result) == ["One, two", "Note: the answer was cut at the provider's limit of tokens"]


async def test_a_failure_has_code_cause_next_step_and_what_was_received_in_both_parts(
    connect: Connect, cli: FakeCli
) -> None:
    error = {"code": "rate_limited", "message": "slow down", "retry_after_s": 30}
    cli.script({"line": {"text": "Par"}}, {"line": {"error": error}})
    async with connect() as client:
        result = await client.call_tool("ask_fake", {"prompt": "hi"})
    found = failure(result)
    assert (found["code"], found["message"], found["retry_after_s"]) == ("rate_limited", "slow down", 30)
    assert structured(result)["text"] == "Par"
    assert texts(result)[0].startswith("fake failed: rate_limited: slow down\nNext step: ")
    assert texts(result)[0].endswith("Try again in 30 s.")
    assert texts(result)[1] == "Received before that:\nPar"


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (
        {"promt": "hi"},
        "ask_fake has no argument 'promt'; did you mean 'prompt'?",
        "the arguments of ask_fake are: prompt, conversation_id, model, system_prompt, cwd, timeout_s,",
    ),
    ({"prompt": "hi", "zzz": 1}, "ask_fake has no argument 'zzz'", "the arguments of ask_fake are:"),
    ({}, "ask_fake needs the argument 'prompt'", "the arguments of ask_fake are:"),
    ({"prompt": None}, "ask_fake needs the argument 'prompt'", "the arguments of ask_fake are:"),
    ({"prompt": 7}, "'prompt' is 7, but it must be a string", "correct 'prompt'"),
    ({"prompt": "hi", "timeout_s": "long"}, "'timeout_s' is 'long', but it must be a number", "correct"),
    ({"prompt": "hi", "timeout_s": True}, "'timeout_s' is True, but it must be a number", "correct"),
    ({"prompt": "hi", "timeout_s": 0}, "'timeout_s' is 0, but it must be more than 0", "correct"),
    (
        {"prompt": "hi", "conversation_id": "a b"},
        "conversation_id: an id has up to 128 letters",
        "correct 'conversation",
    ),
    ({"prompt": "hi", "idempotency_key": ""}, "idempotency_key: String should have at least 1 char", "correct 'idem"),
    ({"prompt": "hi", "max_wait_s": -1}, "'max_wait_s' is -1, but it must be at least 0", "correct"),
    ({"prompt": "hi", "timeout_s": 10**400}, "but it must be a smaller number", "correct 'timeout_s'"),
    ({"prompt": " "}, "prompt: is empty; write a question", "correct 'prompt'"),
    ({"prompt": "hi", "model": "--sandbox"}, "a model name does not begin with a dash", "correct 'model'"),
]


async def test_arguments_that_do_not_work_are_refused_in_words_and_start_nothing(
    connect: Connect, cli: FakeCli
) -> None:
    cli.script(DONE)
    async with connect() as client:
        for arguments, cause, next_step in REFUSED:
            error = failure(await client.call_tool("ask_fake", arguments))
            assert error["code"] == "bad_request"
            assert cause in error["message"]
            assert error["next_step"].startswith(next_step)
    assert cli.starts == 0


async def test_null_is_an_argument_left_out(connect: Connect, cli: FakeCli) -> None:
    cli.script({"line": {"text": "Paris"}}, DONE)
    async with connect() as client:
        result = await client.call_tool("ask_fake", {"prompt": "hi", "model": None, "timeout_s": None})
    assert answer(result) == ["Paris"]


async def test_what_a_provider_cannot_take_is_an_unknown_argument(connect: Connect, cli: FakeCli) -> None:
    cli.script(DONE)
    adapter = FakeAdapter(takes_model=False, takes_system_prompt=False, reads_folder=False)
    async with connect(adapter) as client:
        for name in ("model", "system_prompt", "cwd", "effort", "temperature", "max_tokens", "background"):
            error = failure(await client.call_tool("ask_fake", {"prompt": "hi", name: "x"}))
            known = "prompt, conversation_id, timeout_s, idempotency_key, max_wait_s"
            assert error["next_step"] == f"the arguments of ask_fake are: {known}"


async def test_timeout_s_is_the_clock_of_the_call(connect: Connect, cli: FakeCli) -> None:
    async with Liveness() as live, connect() as client:
        cli.script(live.connect(), {"pause": True})
        error = failure(await client.call_tool("ask_fake", {"prompt": "hi", "timeout_s": 0.5}))
        assert (error["code"], error["clock"]) == ("timeout", "call")
        await live.all_gone()


async def test_an_unknown_tool_is_told_the_nearest_and_the_known_ones(connect: Connect, cli: FakeCli) -> None:
    cli.script(DONE)
    async with connect() as client:
        error = failure(await client.call_tool("ask_fakes", {"prompt": "hi"}))
    assert error["message"] == "there is no tool 'ask_fakes'; did you mean 'ask_fake'?"
    assert error["next_step"] == "the tools are: ask_fake, structured_query, ask_many, job, conversation, providers"


async def test_a_provider_that_is_not_installed_is_answered_with_how_to_install_it(connect: Connect) -> None:
    async with connect(FakeAdapter(executables=("no-such-program",))) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["job", "conversation", "providers"]
        error = failure(await client.call_tool("ask_fake", {"prompt": "hi"}))
    assert error["code"] == "not_found"
    assert error["next_step"] == FakeAdapter().profile.install_hint


async def test_a_client_that_cancels_its_request_ends_the_child(connect: Connect, cli: FakeCli) -> None:
    async with Liveness() as live, connect() as client:
        cli.script(live.connect(), {"pause": True})
        async with anyio.create_task_group() as asking:
            asking.start_soon(client.call_tool, "ask_fake", {"prompt": "hi"})
            await live.connected()
            asking.cancel_scope.cancel()
        await live.all_gone()


async def test_providers_tell_their_state_and_deep_their_version(connect: Connect, cli: FakeCli) -> None:
    cli.script(DONE)
    missing = FakeAdapter("lost", executables=("no-such-program",))
    async with connect(FakeAdapter(), missing) as client:
        shallow = await client.call_tool("providers")
        deep = await client.call_tool("providers", {"deep": True})
        refused = await client.call_tool("providers", {"deep": "yes"})
    fake, lost = structured(shallow)["providers"]
    assert (fake["name"], fake["state"], fake.get("version")) == ("fake", "ready", None)
    assert (lost["state"], lost["next_step"]) == ("missing", missing.profile.install_hint)
    assert structured(deep)["providers"][0]["version"] == "1.2.3"
    assert texts(deep)[0].splitlines()[0].startswith("fake: ready; 1.2.3; ")
    assert texts(deep)[0].splitlines()[1].startswith("lost: missing; ")
    assert failure(refused)["message"] == "'deep' is 'yes', but it must be a boolean"
