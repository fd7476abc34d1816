"""The real claude keeps, goes on with and copies sessions, answers to a schema, ends at a limit and runs detached."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

import anyio.to_thread
import pytest

from dragoman.adapters.base import Completed, Failed, Session, Turn
from dragoman.adapters.claude import adapter
from dragoman.schemas import Bound, ErrorCode, Usage
from tests.adapters.oneshot import Heard
from tests.fakes import scenario as api
from tests.fakes.http1 import Request
from tests.fakes.model_api import ModelAPI
from tests.real import toolchain
from tests.real.channel import Channel
from tests.real.environments import claude_env

pytestmark = [pytest.mark.anyio, pytest.mark.real]

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture
def claude(hermetic_home: Path, claude_cli: Path, model_api: ModelAPI) -> Channel:
    environment = claude_env(hermetic_home, model_api.url, claude_cli, subscription=True)
    version = tuple(map(int, toolchain.pinned("@anthropic-ai/claude-code").split(".")))
    return Channel(adapter, claude_cli, environment, hermetic_home, version)


def turn(
    prompt: str,
    session: Session | None = None,
    *,
    system: str | None = None,
    schema: Mapping[str, object] | None = None,
    model: str | None = None,
    effort: str | None = None,
    max_tokens: int | None = None,
    detached: bool = False,
) -> Turn:
    return Turn(
        prompt,
        prompt,
        session=session,
        system=system,
        schema=schema,
        model=model,
        effort=effort,
        max_tokens=max_tokens,
        detached=detached,
    )


def new() -> Session:
    return Session(str(uuid.uuid4()))


def bound(heard: Heard) -> Bound:
    assert isinstance(heard.outcome, Completed), heard.outcome
    return [event for event in heard.events if isinstance(event, Bound)][-1]


def after(heard: Heard, *, fork: bool = False) -> Session:
    """The session of that turn, to be gone on with."""
    name = bound(heard)
    return Session(name.native_session, is_new=False, fork=fork, last_turn=name.native_turn)


def said(question: Request) -> list[tuple[str, str]]:
    """What stands in a question, but for what claude says of the machine it runs on."""
    messages = (question.body or {})["messages"]
    parts = [
        (message["role"], [{"text": content}] if isinstance(content := message["content"], str) else content)
        for message in messages
    ]
    return [
        (role, part["text"])
        for role, content in parts
        if role != "system"
        for part in content
        if part.get("text") and not part["text"].startswith("<system-reminder>")
    ]


def system(question: Request) -> str:
    return (question.body or {})["system"][-1]["text"]


def kept(claude: Channel) -> list[str]:
    return [path.stem for path in (claude.folder / ".claude" / "projects").rglob("*.jsonl")]


async def test_a_session_is_gone_on_with_and_each_turn_has_its_own_instructions_model_and_cost(
    claude: Channel, model_api: ModelAPI
) -> None:
    first = await claude.ask(turn("France?", session := new(), system="Be brief.", model="opus"))
    second = await claude.ask(turn("Italy?", after(first), system="Be long.", effort="low"))
    assert bound(first).native_session == bound(second).native_session == session.id
    assert kept(claude) == [session.id]
    asked, again = model_api.questions
    assert said(again) == [("user", "France?"), ("assistant", "Paris"), ("user", "Italy?")]
    assert (system(asked), system(again)) == ("Be brief.", "Be long.")
    models = [(question.body or {})["model"] for question in model_api.questions]
    assert ["opus" in model for model in models] == [True, False]
    assert (again.body or {})["output_config"]["effort"] == "low"
    dear, cheap = [heard.outcome.usage for heard in (first, second)]
    assert dear is not None
    assert cheap is not None
    assert 0 < (cheap.cost_usd or 0) < (dear.cost_usd or 0), "the session's cost, not the turn's"


async def test_a_copy_goes_on_from_the_last_good_turn_and_leaves_the_session_as_it_was(
    claude: Channel, model_api: ModelAPI
) -> None:
    first = await claude.ask(turn("France?", session := new()))
    model_api.scenario = api.status(400)
    failed = await claude.ask(turn("Spain?", after(first)))
    assert isinstance(failed.outcome, Failed)
    model_api.scenario = api.answer("Rome")
    copy = await claude.ask(turn("Italy?", after(first, fork=True)))
    assert bound(copy).native_session != session.id
    assert said(model_api.questions[-1]) == [("user", "France?"), ("assistant", "Paris"), ("user", "Italy?")]
    assert sorted(kept(claude)) == sorted({session.id, bound(copy).native_session})


async def test_a_session_that_is_gone_or_taken_is_lost_before_the_model_is_asked(
    claude: Channel, model_api: ModelAPI
) -> None:
    first = await claude.ask(turn("France?", session := new()))
    for wrong in (
        Session(str(uuid.uuid4()), is_new=False),
        Session(session.id, is_new=False, fork=True, last_turn=str(uuid.uuid4())),
        session,
    ):
        outcome = (await claude.ask(turn("Italy?", wrong))).outcome
        assert isinstance(outcome, Failed)
        assert (outcome.session, outcome.error.code) == ("lost", ErrorCode.BAD_REQUEST)
    assert bound(first).native_session == session.id
    assert len(model_api.questions) == 1


async def test_nothing_is_kept_without_a_session(claude: Channel) -> None:
    heard = await claude.ask(turn("France?"))
    assert (heard.text, kept(claude)) == ("Paris", [])
    assert not [event for event in heard.events if isinstance(event, Bound)]


async def test_a_schema_is_answered_in_data_and_asked_about_once_and_the_next_turn_knows_the_answer(
    claude: Channel, model_api: ModelAPI
) -> None:
    model_api.scenario = api.use_tool("StructuredOutput", town="Paris")
    wrong = await claude.ask(turn("France?", new(), schema=SCHEMA))
    assert isinstance(wrong.outcome, Completed)
    assert (wrong.outcome.data, wrong.outcome.text) == ({"town": "Paris"}, '{"town": "Paris"}')
    assert wrong.outcome.usage is not None
    assert (wrong.outcome.usage.input_tokens, wrong.outcome.usage.output_tokens) == (12, 3)
    assert len(model_api.questions) == 1
    [tool] = (model_api.questions[0].body or {})["tools"]
    assert tool["input_schema"]["properties"] == SCHEMA["properties"]
    model_api.scenario = api.use_tool("StructuredOutput", city="Paris")
    right = await claude.ask(turn("It is called city.", after(wrong), schema=SCHEMA))
    assert isinstance(right.outcome, Completed)
    assert right.outcome.data == {"city": "Paris"}
    assert right.text == '{"city": "Paris"}'
    model_api.scenario = api.answer("So it is.")
    for session in (after(right, fork=True), after(right)):
        assert (await claude.ask(turn("Sure?", session))).text == "So it is."
        sent = model_api.questions[-1].raw.decode()
        assert '"input":{"city":"Paris"}' in sent
        assert "Structured output provided successfully" in sent


async def test_prose_in_place_of_an_answer_to_a_schema_is_not_asked_about_again(
    claude: Channel, model_api: ModelAPI
) -> None:
    heard = await claude.ask(turn("France?", schema=SCHEMA))
    assert isinstance(heard.outcome, Completed)
    assert (heard.outcome.data, heard.text) == (None, "Paris")
    assert len(model_api.questions) == 1


async def test_an_answer_ends_at_its_limit_and_can_be_gone_on_with(claude: Channel, model_api: ModelAPI) -> None:
    model_api.play(api.too_long("Par"), api.answer("is"))
    cut = await claude.ask(turn("France?", new(), max_tokens=50))
    assert isinstance(cut.outcome, Completed)
    assert (cut.text, cut.outcome.finish_reason) == ("Par", "max_tokens")
    assert cut.outcome.usage == Usage(input_tokens=12, cached_input_tokens=0, output_tokens=3)
    assert (model_api.questions[0].body or {})["max_tokens"] == 50
    model_api.scenario = api.answer("is")
    assert (await claude.ask(turn("Go on.", after(cut)))).text == "is"
    words = said(model_api.questions[-1])
    assert words[:2] == [("user", "France?"), ("assistant", "Par")]
    assert words[-1] == ("user", "Go on.")


async def test_it_goes_on_alone_with_all_it_needs_in_a_file(claude: Channel, model_api: ModelAPI) -> None:
    model_api.scenario = api.big(1_000_000)
    session = new()
    heard = await anyio.to_thread.run_sync(claude.detached, turn("France?", session, system="Be brief.", detached=True))
    assert heard.text == model_api.scenario.text
    assert bound(heard).native_session == session.id
    assert system(model_api.questions[0]) == "Be brief."
