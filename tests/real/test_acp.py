"""The provider for any agent that speaks ACP, with a real one: gemini, as its user would name it."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.schemas import ErrorCode, LLMRequest, Notice, Text
from tests.fakes import scenario as api
from tests.fakes.model_api import ModelAPI
from tests.real.channel import PATIENCE_S
from tests.real.environments import DUMMY_KEY, gemini_env
from tests.real.providers import all_gone

pytestmark = [pytest.mark.anyio, pytest.mark.real]

MODEL = "gemini-3.5-flash-lite"
"""Without one, gemini asks another model which to take."""


@pytest.fixture
def engine(gemini_cli: Path, hermetic_home: Path, model_api: ModelAPI) -> Engine:
    environment = gemini_env(hermetic_home, model_api.url, gemini_cli)
    own = {
        "GEMINI_API_KEY": DUMMY_KEY,
        "GOOGLE_GEMINI_BASE_URL": model_api.url,
        "GEMINI_CLI_NO_RELAUNCH": "true",
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
    }
    settings = {"command": ["gemini", "--acp"], "env": own}
    once = {"max_attempts": 1}
    configuration = Configuration.model_validate({"providers": {"acp": settings}, "retry": once})
    return Engine(configuration, environ=environment, folder=hermetic_home)


async def test_it_answers_with_the_model_that_was_asked_for(engine: Engine, model_api: ModelAPI) -> None:
    async with engine:
        with anyio.fail_after(PATIENCE_S):
            request = LLMRequest(prompt="/about this", provider="acp", model=MODEL)
            reply = await engine.submit(request).outcome()
    assert (reply.text, reply.model) == ("Paris", MODEL), reply.error
    assert "/about this" in model_api.questions[-1].raw.decode()


async def test_a_conversation_goes_on_in_its_session_or_told_again_and_old_answers_are_not_given_again(
    engine: Engine, model_api: ModelAPI
) -> None:
    async with engine:
        for city in ("Paris", "Rome"):
            model_api.scenario = api.answer(city)
            request = LLMRequest(prompt=f"{city}?", provider="acp", model=MODEL, conversation_id="cities")
            with anyio.fail_after(PATIENCE_S):
                assert (await engine.submit(request).outcome()).text == city
    sent = model_api.questions[-1].raw.decode()
    assert sent.index("Paris?") < sent.rindex("Paris") < sent.index("Rome?")


async def test_what_the_agent_asks_permission_for_is_denied(
    engine: Engine, model_api: ModelAPI, hermetic_home: Path
) -> None:
    project = hermetic_home / "project"
    project.mkdir()
    model_api.play(api.use_tool("write_file", file_path=str(project / "new"), content="x"), api.answer("done"))
    async with engine:
        with anyio.fail_after(PATIENCE_S):
            call = engine.submit(LLMRequest(prompt="hi", provider="acp", model=MODEL, cwd=project))
            notices = [event async for event in call.log.follow() if isinstance(event, Notice)]
            assert (await call.outcome()).text == "done"
    assert not (project / "new").exists()
    assert any("asked for permission and was denied" in notice.message for notice in notices)


async def test_a_cancel_ends_it(engine: Engine, model_api: ModelAPI, hermetic_home: Path) -> None:
    model_api.scenario = api.stall_after(["Par"])
    async with engine:
        call = engine.submit(LLMRequest(prompt="hi", provider="acp", model=MODEL))
        with anyio.fail_after(PATIENCE_S):
            async for event in call.log.follow():
                if isinstance(event, Text):
                    call.cancel()
            assert (await call.outcome()).status == "cancelled"
        await model_api.wait_idle()
        await all_gone(hermetic_home)


async def test_a_failure_of_its_model_is_known(engine: Engine, model_api: ModelAPI) -> None:
    model_api.scenario = api.status(401)
    async with engine:
        with anyio.fail_after(PATIENCE_S):
            reply = await engine.submit(LLMRequest(prompt="hi", provider="acp")).outcome()
    assert reply.error is not None
    assert reply.error.code is ErrorCode.AUTH
    assert "the API key is not valid" in reply.error.message
    assert reply.error.next_step


async def test_without_a_command_it_says_which_setting_to_make(hermetic_home: Path) -> None:
    async with Engine(Configuration(), environ={"PATH": "/usr/bin:/bin"}, folder=hermetic_home) as engine:
        reply = await engine.submit(LLMRequest(prompt="hi", provider="acp")).outcome()
    assert reply.error is not None
    assert reply.error.code is ErrorCode.NOT_FOUND
    assert "`command` under [providers.acp]" in (reply.error.next_step or "")
