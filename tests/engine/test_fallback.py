"""Another provider stands in: only where it is named, only after the provider's own failures, and the reply says so."""

from pathlib import Path
from typing import Any

import pytest

from dragoman.engine import Engine
from dragoman.engine.layers.fallback import ELIGIBLE
from dragoman.schemas import ErrorCode, LLMRequest, LLMResponse
from dragoman.testing import FakeAdapter, FakeCli
from dragoman.testing.fakes import Step
from tests.engine.conftest import MakeEngine

pytestmark = pytest.mark.anyio

FINE: tuple[Step, ...] = ({"read": "all"}, {"line": {"text": "fine"}}, {"line": {"done": {}}})
ONCE = {"retry": {"max_attempts": 1}}


@pytest.fixture
def others(cli: FakeCli) -> dict[str, FakeCli]:
    return {name: FakeCli(cli.path.parent, name) for name in ("second", "third")}


def fails(code: str, *before: Step) -> tuple[Step, ...]:
    return (*before, {"line": {"error": {"code": code, "message": f"it said {code}"}}})


def adapters(**of_second: Any) -> tuple[FakeAdapter, ...]:  # noqa: ANN401 - the fields of Profile
    second = FakeAdapter("second", executables=("second",), **of_second)
    return FakeAdapter(), second, FakeAdapter("third", executables=("third",))


async def ask(running: Engine, *fallback: str, **request: object) -> LLMResponse:
    asked = {"prompt": "hi", "provider": "fake", "fallback": fallback, **request}
    return await running.submit(LLMRequest.model_validate(asked)).outcome()


@pytest.mark.parametrize("code", list(ErrorCode))
async def test_the_code_decides(
    make_engine: MakeEngine, cli: FakeCli, others: dict[str, FakeCli], code: ErrorCode
) -> None:
    cli.script(*fails(code.value))
    others["second"].script(*FINE)
    async with make_engine(*adapters(), configuration=ONCE) as running:
        reply = await ask(running, "second")
    if code in ELIGIBLE:
        assert (reply.text, reply.provider) == ("fine", "second")
        assert [attempt.provider for attempt in reply.attempts] == ["fake", "second"]
        assert reply.notices[0] == f"second answered; fake failed ({code.value}: it said {code.value})"
    else:
        assert reply.error is not None
        assert (reply.error.code, reply.provider, others["second"].starts) == (code, "fake", 0)


def test_nothing_that_is_wrong_with_the_question_is_asked_elsewhere() -> None:
    assert not ELIGIBLE & {
        *(ErrorCode.BAD_REQUEST, ErrorCode.REFUSED, ErrorCode.POLICY, ErrorCode.PROMPT_TOO_LARGE),
        *(ErrorCode.CONTEXT_LENGTH, ErrorCode.CANCELLED, ErrorCode.OUTPUT_LIMIT, ErrorCode.INTERNAL),
    }


async def test_nobody_stands_in_unless_somebody_said_so(
    make_engine: MakeEngine, cli: FakeCli, others: dict[str, FakeCli]
) -> None:
    cli.script(*fails("quota"))
    others["second"].script(*FINE)
    async with make_engine(*adapters(), configuration=ONCE) as running:
        reply = await ask(running, fallback=None)
    assert (reply.status, reply.provider, others["second"].starts) == ("failed", "fake", 0)


async def test_the_configuration_may_say_so_and_the_call_has_the_last_word(
    make_engine: MakeEngine, cli: FakeCli, others: dict[str, FakeCli]
) -> None:
    cli.script(*fails("network"))
    others["second"].script(*FINE)
    configuration = {**ONCE, "providers": {"fake": {"fallback": ["second"]}}}
    async with make_engine(*adapters(), configuration=configuration) as running:
        assert (await ask(running, fallback=None)).provider == "second"
        assert (await ask(running)).provider == "fake"


async def test_a_provider_that_is_not_there_is_a_reason_too(
    make_engine: MakeEngine, others: dict[str, FakeCli]
) -> None:
    others["second"].script(*FINE)
    async with make_engine(*adapters(), configuration=ONCE) as running:
        reply = await ask(running, "second")
    assert (reply.text, reply.provider) == ("fine", "second")
    assert "not_found" in reply.notices[0]


async def test_each_is_asked_in_turn_and_without_the_name_of_anothers_model(
    make_engine: MakeEngine, cli: FakeCli, others: dict[str, FakeCli]
) -> None:
    cli.script(*fails("overloaded", {"line": {"text": "half"}}, {"line": {"notice": "old"}}))
    others["second"].script(*fails("bad_request"))
    others["third"].script({"when_arg": "--model=opus", "steps": [{"exit": 9}]}, *FINE)
    async with make_engine(*adapters(), configuration=ONCE) as running:
        reply = await ask(running, "second", "third", model="opus")
    assert (reply.text, reply.provider) == ("fine", "third")
    assert [attempt.provider for attempt in reply.attempts] == ["fake", "second", "third"]
    assert reply.notices == (
        (
            "third answered; fake failed (overloaded: it said overloaded); "
            "second failed (bad_request: it said bad_request)"
        ),
    )


async def test_when_all_fail_the_failure_is_that_of_the_one_that_was_asked(
    make_engine: MakeEngine, cli: FakeCli, others: dict[str, FakeCli]
) -> None:
    cli.script(*fails("rate_limited"))
    others["second"].script(*fails("refused", {"line": {"text": "part"}}))
    async with make_engine(*adapters(), configuration=ONCE) as running:
        reply = await ask(running, "second")
    assert reply.error is not None
    assert (reply.error.code, reply.provider, reply.text) == (ErrorCode.RATE_LIMITED, "fake", "")
    assert "second failed (refused" in reply.notices[0]


@pytest.mark.parametrize("first", [True, False])
async def test_nobody_stands_in_for_a_call_that_may_have_changed_something(
    make_engine: MakeEngine, cli: FakeCli, others: dict[str, FakeCli], *, first: bool
) -> None:
    acts: Step = {"line": {"tool": "Write"}}
    cli.script(*fails("network", *((acts,) if first else ())))
    others["second"].script(*fails("network", acts))
    others["third"].script(*FINE)
    async with make_engine(*adapters(), configuration=ONCE) as running:
        reply = await ask(running, "second", "third")
    assert reply.error is not None
    assert (reply.error.effects, reply.provider) == ("possible", "fake" if first else "second")
    assert others["third"].starts == 0


async def test_text_that_cannot_be_taken_back_is_not_followed_by_anothers(
    make_engine: MakeEngine, cli: FakeCli, others: dict[str, FakeCli]
) -> None:
    cli.script(*fails("network", {"line": {"text": "half"}}))
    others["second"].script(*FINE)
    async with make_engine(*adapters(), configuration=ONCE) as running:
        request = LLMRequest(prompt="hi", provider="fake", fallback=("second",))
        reply = await running.submit(request, streams=True).outcome()
    assert (reply.provider, reply.text, others["second"].starts) == ("fake", "half", 0)


def test_the_page_names_each_failure_after_which_another_may_stand_in() -> None:
    page = (Path(__file__).parents[2] / "docs" / "resilience.md").read_text("utf-8")
    told = page.split("the provider's own failures (")[1].split(")")[0]
    assert {ErrorCode(each.strip().strip("`")) for each in told.split(",")} == ELIGIBLE
