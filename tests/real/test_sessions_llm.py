"""The real llm is told what was said before as messages, holds answers to a schema, and runs detached."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman.adapters.base import Completed, Turn
from dragoman.adapters.llm import adapter
from dragoman.schemas import Message
from tests.fakes import scenario as api
from tests.fakes.model_api import ModelAPI
from tests.real.channel import Channel
from tests.real.environments import llm_env

pytestmark = [pytest.mark.anyio, pytest.mark.real]

HISTORY = (
    Message(role="user", content="Who is Ann?"),
    Message(role="assistant", content="A painter."),
    Message(role="user", content="And Bo?"),
    Message(role="assistant", content="A baker."),
)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASKED = Turn("t", "Compare them.", system="Be brief.", history=HISTORY)


@pytest.fixture
def llm(hermetic_home: Path, llm_cli: Path, model_api: ModelAPI) -> Channel:
    return Channel(adapter, llm_cli, llm_env(hermetic_home, model_api.url, llm_cli), hermetic_home)


def asked(model_api: ModelAPI) -> dict[str, Any]:
    (question,) = model_api.questions
    assert question.body is not None
    return question.body


async def test_the_model_gets_the_conversation_as_messages_and_nothing_is_kept(
    llm: Channel, model_api: ModelAPI
) -> None:
    heard = await llm.ask(ASKED)
    assert isinstance(heard.outcome, Completed), heard.outcome
    assert [(each["role"], each["content"]) for each in asked(model_api)["messages"]] == [
        ("system", "Be brief."),
        ("user", "Who is Ann?"),
        ("assistant", "A painter."),
        ("user", "And Bo?"),
        ("assistant", "A baker."),
        ("user", "Compare them."),
    ]
    assert list(llm.folder.rglob("logs.db")) == []


async def test_schema_and_options_reach_the_model(llm: Channel, model_api: ModelAPI) -> None:
    model_api.scenario = api.answer('{"city": "Paris"}')
    heard = await llm.ask(replace(ASKED, schema=SCHEMA, temperature=0.0, max_tokens=50))
    assert (heard.text, type(heard.outcome)) == ('{"city": "Paris"}', Completed)
    body = asked(model_api)
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert (body["temperature"], body["max_tokens"]) == (0, 50)


async def test_a_detached_turn_needs_nobody(llm: Channel, model_api: ModelAPI) -> None:
    model_api.scenario = api.answer("Both work with their hands.")
    heard = await anyio.to_thread.run_sync(llm.detached, replace(ASKED, detached=True))
    assert (heard.text, type(heard.outcome)) == ("Both work with their hands.", Completed)
    assert len(asked(model_api)["messages"]) == 6
