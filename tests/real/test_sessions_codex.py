"""The real codex keeps, goes on with and copies sessions, answers to a schema and runs detached."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman.adapters.base import Completed, Failed, Session, Turn
from dragoman.adapters.codex import adapter
from dragoman.schemas import Bound, LLMRequest, LLMResponse, Usage
from tests.adapters.oneshot import Heard
from tests.fakes import scenario as api
from tests.fakes.http1 import Request
from tests.fakes.model_api import ModelAPI
from tests.real.channel import PATIENCE_S, Channel
from tests.real.environments import codex_env
from tests.real.providers import real

pytestmark = [pytest.mark.anyio, pytest.mark.real]

NEW = Session("2b0cbd2a-6d40-4a1c-9d3c-4b1f7d3f6c55")
NOBODY = "01a1fbf5-e4eb-70a1-8000-000000000000"
MODEL = "gpt-5.5"
SPY = """
[mcp_servers.spy]
command = "/bin/sh"
args = ["-c", "echo started > {spied}; exec cat"]
"""


@pytest.fixture(params=["app-server", "exec"])
def codex(request: pytest.FixtureRequest, hermetic_home: Path, codex_native_cli: Path, model_api: ModelAPI) -> Channel:
    """codex by each of its transports, for a user with an MCP server of their own."""
    environment = codex_env(hermetic_home, model_api.url, codex_native_cli, stored=request.param == "app-server")
    with (hermetic_home / ".codex" / "config.toml").open("a") as file:
        file.write(SPY.format(spied=hermetic_home / "spied"))
    return Channel(adapter, codex_native_cli, environment, hermetic_home)


def turn(prompt: str, session: Session | None = None) -> Turn:
    return Turn(prompt, prompt, model=MODEL, session=session)


async def ask(codex: Channel, api: ModelAPI, asked: Turn | str, session: Session | None = None) -> Heard:
    # exec leaves out the user's configuration, and with it the address of the fake API.
    said = turn(asked, session) if isinstance(asked, str) else asked
    return await codex.ask(said, "-c", f"openai_base_url={api.url}/v1")


def goes_on(bound: Bound) -> Session:
    return Session(bound.native_session, is_new=False)


def by_exec(codex: Channel) -> bool:
    return "CODEX_API_KEY" in codex.environment


def bound(heard: Heard) -> Bound:
    assert isinstance(heard.outcome, Completed), heard.outcome
    return [event for event in heard.events if isinstance(event, Bound)][-1]


def body(question: Request) -> dict[str, Any]:
    assert question.body is not None
    return question.body


def said(question: Request) -> Sequence[tuple[str, str]]:
    messages = [item for item in body(question)["input"] if item["type"] == "message"]
    return [
        (item["role"], "".join(part["text"] for part in item["content"]))
        for item in messages
        if item["role"] in ("user", "assistant")
    ]


def instructions(question: Request) -> str:
    developer = [item for item in body(question)["input"] if item.get("role") == "developer"]
    return "".join(part["text"] for item in developer for part in item["content"])


def sessions(codex: Channel) -> list[Path]:
    return list((codex.folder / ".codex" / "sessions").rglob("*.jsonl"))


async def test_a_session_is_gone_on_with_and_each_turn_counts_its_own_tokens(
    codex: Channel, model_api: ModelAPI
) -> None:
    model_api.play(api.answer("Paris."), api.answer("Rome.", input_tokens=30, output_tokens=7))
    first = bound(await ask(codex, model_api, replace(turn("France?", NEW), system="Be brief.")))
    assert (first.native_turn is None) == by_exec(codex)
    again = replace(turn("Italy?", goes_on(first)), system="Shout.", effort="high")
    heard = await ask(codex, model_api, again)
    assert heard.text == "Rome."
    assert bound(heard).native_session == first.native_session
    question = model_api.questions[-1]
    assert said(question) == [("user", "France?"), ("assistant", "Paris."), ("user", "Italy?")]
    assert (instructions(question), body(question)["reasoning"]["effort"]) == ("Shout.", "high")
    assert isinstance(heard.outcome, Completed)
    own = Usage(input_tokens=30, cached_input_tokens=0, output_tokens=7)
    assert heard.outcome.usage == (None if by_exec(codex) else own)
    bound(await ask(codex, model_api, "Spain?", goes_on(first)))
    # An effort does not stick.
    assert body(model_api.questions[-1])["reasoning"]["effort"] == "medium"
    assert len(model_api.questions) == 3
    assert len(sessions(codex)) == 1
    assert not (codex.folder / "spied").exists()


async def test_a_copy_has_what_was_said_and_leaves_the_session_as_it_was(codex: Channel, model_api: ModelAPI) -> None:
    first = bound(await ask(codex, model_api, "one", NEW))
    bound(await ask(codex, model_api, "two", goes_on(first)))
    # exec cannot leave out what came last, and names no turns either.
    fork = replace(goes_on(first), fork=True, last_turn=first.native_turn)
    copy = bound(await ask(codex, model_api, "three", fork))
    assert copy.native_session != first.native_session
    prompts = [text for role, text in said(model_api.questions[-1]) if role == "user"]
    assert prompts == (["one", "two", "three"] if by_exec(codex) else ["one", "three"])
    bound(await ask(codex, model_api, "four", goes_on(first)))
    assert "three" not in [text for _, text in said(model_api.questions[-1])]
    assert not (codex.folder / "spied").exists()


@pytest.mark.parametrize("fork", [False, True])
@pytest.mark.parametrize("session", [NOBODY, "last"])
async def test_a_session_that_is_not_there_is_known_before_a_model_is_asked(
    codex: Channel, model_api: ModelAPI, session: str, fork: bool
) -> None:
    heard = await ask(codex, model_api, "hi", Session(session, is_new=False, fork=fork))
    assert isinstance(heard.outcome, Failed)
    assert heard.outcome.session == "lost"
    assert heard.outcome.error.effects == "none"
    assert model_api.questions == []
    assert sessions(codex) == []


async def test_a_session_that_another_program_writes_to_can_be_copied(codex: Channel, model_api: ModelAPI) -> None:
    session = goes_on(bound(await ask(codex, model_api, "one", NEW)))
    model_api.scenario = held = api.answer("done", gated=True)
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, codex, model_api, "two", session)
            await model_api.wait_questions(2)
            heard = await ask(codex, model_api, "three", session)
            assert isinstance(heard.outcome, Failed)
            assert heard.outcome.session == "busy"
            assert len(model_api.questions) == 2
            model_api.scenario = api.answer("copied")
            copy = await ask(codex, model_api, "three", replace(session, fork=True))
            assert bound(copy).native_session != session.id
            held.release()


async def test_without_a_session_nothing_is_kept(codex: Channel, model_api: ModelAPI) -> None:
    heard = await ask(codex, model_api, "hi")
    assert isinstance(heard.outcome, Completed)
    assert not any(isinstance(event, Bound) for event in heard.events)
    assert sessions(codex) == []


async def test_codex_holds_the_answer_to_a_schema(codex: Channel, model_api: ModelAPI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    model_api.scenario = api.answer('{"city": "Paris"}')
    heard = await ask(codex, model_api, replace(turn("Where?"), schema=schema))
    assert isinstance(heard.outcome, Completed)
    assert json.loads(heard.outcome.text or "") == {"city": "Paris"}
    form = body(model_api.questions[-1])["text"]["format"]
    assert (form["type"], form["strict"], form["schema"]) == ("json_schema", True, schema)


@pytest.mark.parametrize("codex", ["app-server"], indirect=True)
async def test_a_detached_turn_needs_nobody_and_keeps_its_session(codex: Channel, model_api: ModelAPI) -> None:
    model_api.play(api.answer("Paris."), api.answer("Rome."))
    base = f"openai_base_url={model_api.url}/v1"
    detached = replace(turn("France?", NEW), detached=True)
    heard = await anyio.to_thread.run_sync(codex.detached, detached, "-c", base)
    assert heard.text == "Paris."
    heard = await ask(codex, model_api, "Italy?", goes_on(bound(heard)))
    assert [text for _, text in said(model_api.questions[-1])] == ["France?", "Paris.", "Italy?"]


async def test_a_conversation_goes_on_in_its_session_also_in_the_background(
    hermetic_home: Path, codex_cli: Path, model_api: ModelAPI
) -> None:
    provider = real("codex", hermetic_home, codex_cli)
    model_api.play(api.answer("Paris."), api.status(400), api.answer("Rome."), api.answer("Madrid."))
    async with provider.engine(model_api.url) as engine:

        async def ask(prompt: str, **more: Any) -> LLMResponse:  # noqa: ANN401 - whatever a request may have
            request = LLMRequest(prompt=prompt, provider="codex", conversation_id="trip", model=MODEL, **more)
            with anyio.fail_after(PATIENCE_S):
                return await engine.submit(request).outcome()

        assert (await ask("France?")).text == "Paris."
        assert (await ask("Nothing?")).status == "failed"
        reply = await ask("Italy?")
        assert (reply.text, reply.notices) == ("Rome.", ())
        reply = await ask("Spain?", background=True)
        assert (reply.text, reply.notices) == ("Madrid.", ()), reply
    assert [text for _, text in said(model_api.questions[-1])] == ["France?", "Paris.", "Italy?", "Rome.", "Spain?"]
