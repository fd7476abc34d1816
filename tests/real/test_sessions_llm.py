"""The real llm is told what was said before as messages, keeps sessions, holds answers to a schema, runs detached."""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman.adapters.base import Completed, Failed, Session, Turn
from dragoman.adapters.llm import adapter
from dragoman.engine.attempt.layout import kept_folders
from dragoman.schemas import Bound, ErrorCode, Message, Notice
from tests.adapters.oneshot import Heard
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


def said(model_api: ModelAPI) -> list[tuple[str, str]]:
    """The messages of the last question."""
    return [(each["role"], each["content"]) for each in (model_api.questions[-1].body or {})["messages"]]


def new() -> Session:
    return Session(str(uuid.uuid4()))


def turn(prompt: str, session: Session, *, system: str | None = "Be brief.") -> Turn:
    return Turn(prompt, prompt, system=system, session=session)


def after(heard: Heard) -> Session:
    """The session of that turn, to be gone on with."""
    assert isinstance(heard.outcome, Completed), heard.outcome
    [name] = [event.native_session for event in heard.events if isinstance(event, Bound)]
    return Session(name, is_new=False)


def database_of(session: Session) -> Path:
    return kept_folders() / "llm" / f"{session.id}.db"


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


async def test_a_session_is_gone_on_with_by_its_id_and_has_every_turn_once(llm: Channel, model_api: ModelAPI) -> None:
    first = await llm.ask(turn("France?", new()))
    model_api.scenario = api.answer("Rome")
    second = await llm.ask(turn("Italy?", session := after(first)))
    assert after(second) == session
    assert said(model_api) == (
        expected := [("system", "Be brief."), ("user", "France?"), ("assistant", "Paris"), ("user", "Italy?")]
    )
    # Another session meanwhile: it is not "the last one" that is gone on with.
    await llm.ask(turn("Which?", new()))
    assert said(model_api) == [("system", "Be brief."), ("user", "Which?")]
    third = await anyio.to_thread.run_sync(llm.detached, replace(turn("Spain?", session), detached=True))
    assert after(third) == session
    assert said(model_api) == [*expected, ("assistant", "Rome"), ("user", "Spain?")]
    assert list(llm.folder.rglob("logs.db")) == [], "the person's own log is not touched"


async def test_a_session_can_begin_with_what_others_said_before(llm: Channel, model_api: ModelAPI) -> None:
    heard = await llm.ask(replace(ASKED, session=new()))
    before = said(model_api)
    assert len(before) == 6
    await llm.ask(turn("And Cy?", after(heard)))
    assert said(model_api) == [*before, ("assistant", "Paris"), ("user", "And Cy?")]


async def test_a_session_with_another_system_prompt_or_model_and_one_that_is_gone_are_lost(
    llm: Channel, model_api: ModelAPI
) -> None:
    session = after(await llm.ask(turn("France?", new())))
    gone, damaged = (replace(new(), is_new=False) for _ in range(2))
    database_of(damaged).write_bytes(b"SQLite format 3\0" + b"x" * 8192)
    for lost in (
        turn("Italy?", session, system="Be long."),
        replace(turn("Italy?", session), model="fake-model"),
        turn("Italy?", gone),
        turn("Italy?", damaged),
    ):
        heard = await llm.ask(lost)
        assert isinstance(heard.outcome, Failed)
        assert (heard.outcome.session, heard.text) == ("lost", "")
    assert len(model_api.questions) == 1, "no model was asked"
    await llm.ask(turn("Italy?", session))
    assert len(said(model_api)) == 4, "it is still there"


async def test_a_session_that_another_program_writes_to_is_busy(llm: Channel, model_api: ModelAPI) -> None:
    session = after(await llm.ask(turn("France?", new())))
    with closing(sqlite3.connect(database_of(session))) as other:
        other.execute("BEGIN EXCLUSIVE")
        heard = await llm.ask(turn("Italy?", session))
    assert isinstance(heard.outcome, Failed)
    assert (heard.outcome.session, heard.outcome.error.code) == ("busy", ErrorCode.CRASHED)
    assert len(model_api.questions) == 1


async def test_an_answer_is_not_lost_with_the_session_that_it_cannot_be_written_into(
    llm: Channel, model_api: ModelAPI
) -> None:
    session = after(await llm.ask(turn("France?", new())))
    with closing(sqlite3.connect(database_of(session))) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in {"turns", "threads", "responses"} & set(tables):
            db.execute(
                f"CREATE TRIGGER full_{table} BEFORE INSERT ON {table}"
                " BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            )
    heard = await llm.ask(turn("Italy?", session))
    assert isinstance(heard.outcome, Completed)
    assert (heard.text, heard.outcome.session) == ("Paris", "lost")
    [notice] = [event.message for event in heard.events if isinstance(event, Notice)]
    assert "disk is full" in notice


async def test_a_turn_that_failed_before_its_first_word_leaves_the_session_as_it_was(
    llm: Channel, model_api: ModelAPI
) -> None:
    session = after(await llm.ask(turn("France?", new())))
    good = model_api.scenario
    model_api.scenario = api.status(401)
    heard = await llm.ask(turn("Italy?", session))
    assert isinstance(heard.outcome, Failed)
    assert not [event for event in heard.events if isinstance(event, Bound)]
    model_api.scenario = good
    await llm.ask(turn("Spain?", session))
    assert said(model_api) == [
        ("system", "Be brief."),
        ("user", "France?"),
        ("assistant", "Paris"),
        ("user", "Spain?"),
    ]
