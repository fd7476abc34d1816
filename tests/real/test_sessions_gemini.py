"""The real gemini keeps and goes on with sessions, each in a home of its own, takes a temperature and runs detached."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import anyio.to_thread
import pytest

from dragoman.adapters.base import Completed, Failed, Session, Turn
from dragoman.adapters.gemini import adapter
from dragoman.engine.attempt.layout import kept_folders
from dragoman.schemas import Bound
from tests.adapters.oneshot import Heard
from tests.fakes import scenario as api
from tests.fakes.http1 import Request
from tests.fakes.model_api import ModelAPI
from tests.real import toolchain
from tests.real.channel import Channel
from tests.real.environments import gemini_env

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@pytest.fixture
def gemini(hermetic_home: Path, gemini_cli: Path, model_api: ModelAPI) -> Channel:
    environment = gemini_env(hermetic_home, model_api.url, gemini_cli)
    version = tuple(map(int, toolchain.pinned("@google/gemini-cli").split(".")))
    return Channel(adapter, gemini_cli, environment, hermetic_home, version)


def turn(prompt: str, session: Session | None = None, *, system: str | None = None) -> Turn:
    return Turn(prompt, prompt, session=session, system=system)


def new() -> Session:
    return Session(str(uuid.uuid4()))


def after(heard: Heard) -> Session:
    """The session of that turn, to be gone on with."""
    assert isinstance(heard.outcome, Completed), heard.outcome
    [name] = {event.native_session for event in heard.events if isinstance(event, Bound)}
    return Session(name, is_new=False)


def said(question: Request) -> list[tuple[str, str]]:
    """What stands in a question, but for what gemini says of the machine it runs on."""
    return [
        ("assistant" if content["role"] == "model" else "user", part["text"])
        for content in (question.body or {})["contents"]
        for part in content["parts"]
        if not part["text"].startswith("<session_context>")
    ]


def system(question: Request) -> str:
    return (question.body or {})["systemInstruction"]["parts"][0]["text"]


def chats(session: Session) -> list[Path]:
    home = kept_folders() / "gemini" / session.id.partition("/")[0] / "home"
    return [path for path in home.rglob("session-*.jsonl") if session.id[-36:][:8] in path.name]


async def test_a_session_is_gone_on_with_within_a_minute_and_later_and_nothing_of_it_gets_lost(
    gemini: Channel, model_api: ModelAPI
) -> None:
    first = await gemini.ask(turn("France?", new(), system="Be brief."))
    model_api.scenario = api.answer("Rome")
    second = await gemini.ask(turn("Italy?", session := after(first), system="Be long."))
    assert after(second) == session
    assert second.text == "Rome", "what was said before is no part of the answer"
    expected = [("user", "France?"), ("assistant", "Paris"), ("user", "Italy?")]
    assert said(model_api.questions[-1]) == expected
    assert [system(question) for question in model_api.questions] == ["Be brief.", "Be long."]
    # As if it had been written down in another minute: gemini then begins another file for the session.
    [written] = chats(session)
    written.rename(written.with_name(f"session-2026-01-01T00-00-{written.name.rpartition('-')[2]}"))
    for city in ("Spain?", "Malta?"):
        heard = await gemini.ask(turn(city, session))
        assert heard.text == "Rome"
        expected += [("assistant", "Rome"), ("user", city)]
        assert said(model_api.questions[-1]) == expected
    assert len(model_api.questions) == 4
    assert not (gemini.folder / ".gemini" / "tmp").exists(), "the person's own home is not touched"


async def test_a_session_that_is_gone_is_lost_before_the_model_is_asked(gemini: Channel, model_api: ModelAPI) -> None:
    first = await gemini.ask(turn("France?", new()))
    nobody = Session(f"{after(first).id.partition('/')[0]}/{uuid.uuid4()}", is_new=False)
    elsewhere = Session(f"{uuid.uuid4()}/{after(first).id.partition('/')[2]}", is_new=False)
    for wrong in (nobody, elsewhere):
        outcome = (await gemini.ask(turn("Italy?", wrong))).outcome
        assert isinstance(outcome, Failed)
        assert outcome.session == "lost"
    assert len(model_api.questions) == 1


async def test_nothing_is_kept_without_a_session(gemini: Channel) -> None:
    heard = await gemini.ask(turn("France?"))
    assert heard.text == "Paris"
    assert not [event for event in heard.events if isinstance(event, Bound)]
    assert not kept_folders().exists()


async def test_a_long_session_is_told_again_to_its_end_before_the_answer(gemini: Channel, model_api: ModelAPI) -> None:
    session = after(await gemini.ask(turn("France?", new())))
    [written] = chats(session)
    messages = [json.loads(line) for line in written.read_text().splitlines() if line.startswith('{"id"')]
    with written.open("a") as file:
        for _ in range(300):
            file.writelines(f"{json.dumps({**message, 'id': str(uuid.uuid4())})}\n" for message in messages[-2:])
    model_api.scenario = api.answer("Rome")
    heard = await gemini.ask(turn("Italy?", session))
    assert heard.text == "Rome"
    assert len(said(model_api.questions[-1])) == 603


async def test_it_goes_on_alone_in_the_session_of_one_that_did_not_and_the_other_way(
    gemini: Channel, model_api: ModelAPI
) -> None:
    def alone(prompt: str, session: Session) -> Turn:
        return Turn(prompt, prompt, session=session, temperature=0.25, detached=True)

    begun = await anyio.to_thread.run_sync(gemini.detached, alone("France?", new()))
    session = after(begun)
    model_api.scenario = api.big(300_000)
    talked = await gemini.ask(turn("Italy?", session))
    gone_on = await anyio.to_thread.run_sync(gemini.detached, alone("Spain?", session))
    assert after(talked) == after(gone_on) == session
    assert (begun.text, gone_on.text) == ("Paris", model_api.scenario.text)
    assert [role for role, _ in said(model_api.questions[-1])] == ["user", "assistant"] * 2 + ["user"]
    temperatures = [(question.body or {})["generationConfig"]["temperature"] for question in model_api.questions]
    assert temperatures == [0.25, 1, 0.25]
