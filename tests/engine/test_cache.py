"""Answers from the cache: for which questions, for how long, and that calls at once ask once."""

import json
from typing import Any

import anyio
import pytest

from dragoman.engine import Engine
from dragoman.schemas import LLMRequest, LLMResponse
from dragoman.testing import FakeAdapter, FakeCli, Liveness
from tests.engine.conftest import MakeEngine

pytestmark = pytest.mark.anyio

ON: dict[str, Any] = {"cache": {"enabled": True}}
USAGE = {"line": {"usage": {"input_tokens": 3, "output_tokens": 4}}}


def counting(cli: FakeCli) -> None:
    """A CLI that answers with the number of its start."""
    cli.scripts(*[[USAGE, {"line": {"done": {"text": str(number)}}}] for number in range(1, 30)])


async def ask(engine: Engine, prompt: str = "?", **fields: Any) -> LLMResponse:  # noqa: ANN401 - of a request
    request = LLMRequest.model_validate({"prompt": prompt, "provider": "fake", "remember": False, **fields})
    with anyio.fail_after(60):
        async with engine.asking(request) as call:
            return await call.outcome()


async def test_it_is_off_unless_asked_for(make_engine: MakeEngine, cli: FakeCli) -> None:
    counting(cli)
    async with make_engine() as engine:
        assert [(await ask(engine)).text, (await ask(engine)).text] == ["1", "2"]
        first = await ask(engine, cache=True)
        second = await ask(engine, cache=True)
    assert (first.text, first.cached, second.text, second.cached) == ("3", False, "3", True)
    assert second.public()["cached"] is True
    assert "cached" not in first.public()


async def test_the_same_question_is_asked_once_also_by_a_later_process(make_engine: MakeEngine, cli: FakeCli) -> None:
    counting(cli)
    async with make_engine(configuration=ON) as engine:
        first = await ask(engine)
        assert (await ask(engine)).cached
    async with make_engine(configuration=ON) as engine:
        again = await ask(engine)
        assert (await ask(engine, cache=False)).text == "2"
    assert (again.text, again.cached, again.provider, again.model) == (first.text, True, "fake", first.model)
    assert again.usage is None
    assert again.attempts == ()
    assert again.call_id != first.call_id
    assert cli.starts == 2


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "??"},
        {"model": "m"},
        {"system_prompt": "s"},
        {"effort": "low"},
        {"temperature": 0.5},
        {"max_tokens": 7},
        {"validators": ["regex:^[0-9]"]},
    ],
)
async def test_another_question_has_another_answer(
    make_engine: MakeEngine, cli: FakeCli, other: dict[str, Any]
) -> None:
    counting(cli)
    adapter = FakeAdapter(efforts=("low",), takes_temperature=True, takes_max_tokens=True)
    async with make_engine(adapter, configuration=ON) as engine:
        assert (await ask(engine)).text == "1"
        assert (await ask(engine, **other)).text == "2"
        assert (await ask(engine, **other)).cached


async def test_a_program_that_was_updated_is_asked_anew(make_engine: MakeEngine, cli: FakeCli) -> None:
    counting(cli)
    async with make_engine(configuration=ON) as engine:
        assert (await ask(engine)).text == "1"
    cli.path.write_text(cli.path.read_text(encoding="utf-8") + "\n# newer\n", encoding="utf-8")
    async with make_engine(configuration=ON) as engine:
        assert (await ask(engine)).text == "2"


async def test_a_conversation_a_folder_and_access_are_never_answered_from_it(
    make_engine: MakeEngine, cli: FakeCli, tmp_path: object
) -> None:
    counting(cli)
    async with make_engine(configuration=ON) as engine:
        await ask(engine)
        others: list[dict[str, Any]] = [{"cwd": str(tmp_path)}, {"conversation_id": "c", "remember": True}]
        for fields in (*others, {"access": "edit"}):
            assert not (await ask(engine, **fields)).cached
            assert not (await ask(engine, **fields)).cached
        refused = await ask(engine, cwd=str(tmp_path), cache="only")
    assert refused.error is not None
    assert refused.error.code == "not_found"


@pytest.mark.parametrize(
    "steps",
    [
        [{"line": {"error": {"code": "refused", "message": "no"}}}],
        [{"line": {"tool": "write"}}, {"line": {"done": {"text": "x"}}}],
        [{"line": {"done": {"text": "x", "finish_reason": "max_tokens"}}}],
    ],
)
async def test_failures_cut_answers_and_what_changed_something_are_not_kept(
    make_engine: MakeEngine, cli: FakeCli, steps: list[dict[str, Any]]
) -> None:
    cli.script(*steps)
    async with make_engine(configuration=ON) as engine:
        await ask(engine)
        assert not (await ask(engine)).cached
    assert cli.starts == 2


async def test_an_answer_that_is_too_old_is_asked_anew(make_engine: MakeEngine, cli: FakeCli) -> None:
    counting(cli)
    async with make_engine(configuration={"cache": {"enabled": True, "ttl_s": 1e-9}}) as engine:
        assert (await ask(engine)).text == "1"
        assert (await ask(engine)).text == "2"


async def test_only_from_the_cache_asks_nobody(make_engine: MakeEngine, cli: FakeCli) -> None:
    counting(cli)
    async with make_engine() as engine:
        missing = await ask(engine, cache="only")
        assert missing.error is not None
        assert missing.error.next_step
        assert cli.starts == 0
        await ask(engine, cache=True)
        assert (await ask(engine, cache="only")).text == "1"


async def test_calls_at_once_ask_once_and_one_that_gives_up_passes_it_on(make_engine: MakeEngine, cli: FakeCli) -> None:
    async with Liveness() as live, make_engine(configuration=ON) as engine:
        done = {"line": {"done": {"text": "now"}}}
        cli.script(live.connect(), {"wait": "gate"}, done)
        request = LLMRequest(prompt="?", provider="fake", remember=False)
        with anyio.fail_after(60):
            calls = [engine.submit(request) for _ in range(5)]
            await live.connected(1)
            calls[0].cancel()
            assert (await calls[0].outcome()).status == "cancelled"
            await live.connected(2)
            await live.release()
            replies = [await call.outcome() for call in calls[1:]]
    assert [reply.text for reply in replies] == ["now"] * 4
    assert sorted(reply.cached for reply in replies) == [False, True, True, True]
    assert cli.starts == 2


async def test_a_failure_is_shared_by_those_who_asked_at_once(make_engine: MakeEngine, cli: FakeCli) -> None:
    async with Liveness() as live, make_engine(configuration=ON) as engine:
        cli.script(live.connect(), {"wait": "gate"}, {"line": {"error": {"code": "refused", "message": "no"}}})
        request = LLMRequest(prompt="?", provider="fake", remember=False)
        with anyio.fail_after(60):
            calls = [engine.submit(request) for _ in range(3)]
            await live.connected(1)
            await live.release()
            replies = [await call.outcome() for call in calls]
    assert [reply.error and reply.error.code for reply in replies] == ["refused"] * 3
    assert cli.starts == 1


async def test_while_the_provider_is_left_alone_a_stale_answer_may_be_served(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    cli.scripts([{"line": {"done": {"text": "old"}}}], [{"exit": 3}])
    configuration = {
        "cache": {"enabled": True, "ttl_s": 1e-9},
        "breaker": {"failure_threshold": 1, "never_open_last": False},
    }
    async with make_engine(configuration=configuration) as engine:
        await ask(engine)
        assert (await ask(engine, "other")).error is not None
        refused = await ask(engine)
        assert refused.error is not None
        assert refused.error.code == "circuit_open"
        stale = await ask(engine, allow_stale=True)
    assert (stale.text, stale.cached, stale.stale) == ("old", True, True)
    assert "left alone" in stale.notices[0]


async def test_values_are_kept_as_values(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script({"line": {"done": {"text": json.dumps({"a": None})}}})
    async with make_engine(configuration=ON) as engine:
        first = await ask(engine, output_schema={"type": "object"})
        again = await ask(engine, output_schema={"type": "object"})
    assert again.cached
    assert (again.data, again.mechanism) == (first.data, first.mechanism) == ({"a": None}, "prompted")


async def test_the_cache_holds_no_more_than_it_may(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script({"read": "line"}, {"line": {"done": {"text": "x" * 1000}}})
    async with make_engine(configuration={"cache": {"enabled": True, "max_mb": 0.02}}) as engine:
        for number in range(30):
            await ask(engine, str(number))
        assert (await ask(engine, "29", cache="only")).cached
        assert (await ask(engine, "0", cache="only")).error is not None
        kept = [number for number in range(30) if (await ask(engine, str(number), cache="only")).cached]
    assert 10 <= len(kept) <= 18
    assert kept == list(range(30 - len(kept), 30))
