"""Copilot over ACP, as its user would name it: what is an answer, and what is not. Its failures are in `failures`."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.schemas import ErrorCode, LLMRequest, LLMResponse, Retrying
from tests.fakes import scenario as api
from tests.fakes.model_api import ModelAPI
from tests.real.channel import PATIENCE_S
from tests.real.environments import base_env, copilot_settings

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.long]

LIKE_A_FAILURE = "Error: 400 the request is not valid"


@pytest.fixture
def options() -> list[str]:
    """What its user adds to the command."""
    return []


@pytest.fixture
def engine(copilot_cli: Path, hermetic_home: Path, model_api: ModelAPI, options: list[str]) -> Engine:
    settings = {"command": ["copilot", "--acp", *options], "env": copilot_settings(model_api.url, copilot_cli)}
    configuration = Configuration.model_validate({"providers": {"acp": settings}})
    return Engine(configuration, environ=base_env(hermetic_home, copilot_cli), folder=hermetic_home)


async def ask(engine: Engine, prompt: str, conversation: str | None = None) -> LLMResponse:
    with anyio.fail_after(PATIENCE_S):
        request = LLMRequest(prompt=prompt, provider="acp", conversation_id=conversation)
        return await engine.submit(request).outcome()


async def test_an_answer_that_reads_as_its_failures_do_is_an_answer(engine: Engine, model_api: ModelAPI) -> None:
    async with engine:
        model_api.scenario = api.answer(LIKE_A_FAILURE)
        assert (await ask(engine, "What does it say?")).text == LIKE_A_FAILURE
        model_api.scenario = api.status(400)
        assert (await ask(engine, "What does it say?")).error is not None


async def test_the_half_of_an_answer_that_is_told_again_is_told_once(engine: Engine, model_api: ModelAPI) -> None:
    model_api.play(api.cut_after(["Par"]), api.answer("Paris"))
    async with engine:
        with anyio.fail_after(PATIENCE_S):
            call = engine.submit(LLMRequest(prompt="What is the capital of France?", provider="acp"))
            retries = [event.cause async for event in call.log.follow() if isinstance(event, Retrying)]
            reply = await call.outcome()
    assert (reply.text, reply.notices, len(retries)) == ("Paris", (), 1), reply.error
    assert "unexpected EOF" in retries[0]


async def test_a_conversation_goes_on_in_its_session_after_an_answer_like_a_failure(
    engine: Engine, model_api: ModelAPI
) -> None:
    async with engine:
        for answer in (LIKE_A_FAILURE, "Rome"):
            model_api.scenario = api.answer(answer)
            assert (await ask(engine, f"Say {answer}!", "a")).text == answer
    sent = model_api.questions[-1].raw.decode()
    assert sent.index("Say Error") < sent.index("Say Rome!")


WITHOUT = ["--deny-tool=shell", "--deny-tool=write"]


@pytest.mark.parametrize("options", [[], WITHOUT], ids=["asking", "not asking"])
async def test_what_is_denied_ends_its_turn_unless_it_is_told_not_to_ask(
    engine: Engine, model_api: ModelAPI, hermetic_home: Path, options: list[str]
) -> None:
    project = hermetic_home / "project"
    project.mkdir()
    model_api.play(api.use_tool("bash", command="touch new", description="Touch"), api.answer("done"))
    async with engine:
        with anyio.fail_after(PATIENCE_S):
            reply = await engine.submit(LLMRequest(prompt="hi", provider="acp", cwd=project)).outcome()
    assert not (project / "new").exists()
    if options:
        assert reply.text == "done", reply.error
    else:
        assert reply.error is not None
        assert reply.error.code is ErrorCode.POLICY
        assert "--deny-tool" in (reply.error.next_step or "")
        assert any("was denied" in notice for notice in reply.notices)
