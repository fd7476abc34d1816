"""codex's own sessions, schemas and efforts, as its adapter asks for them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dragoman.adapters.base import (
    FLUSH_S,
    Close,
    Completed,
    Done,
    Emit,
    Exit,
    Failed,
    Installed,
    PrivateFile,
    Refused,
    Session,
    Stream,
    Turn,
    Value,
    Write,
)
from dragoman.adapters.codex import adapter
from dragoman.adapters.codex.exec import ExecDialogue
from dragoman.schemas import Bound, ErrorCode, Usage
from tests.adapters.codex_server import COMPLETED, MESSAGE, NEW, Server, events, note, outcome, say, sent

ID = "01a1fdc9-9ba7-75b1-9795-c394d1fc90be"
OTHER = "01a1fdc9-9cdf-7a53-8360-59a6808103e8"
OLD = Installed(Path("/bin/codex"), (0, 150, 0), "0.150.0")
SCHEMA = {"type": "object", "properties": {"SECRET": {"type": "string"}}}
BUSY = f"thread {ID} already has an active writer"
GONE = f"no rollout found for thread id {ID}"


def turn(session: Session | None, **more: Any) -> Turn:  # noqa: ANN401 - whatever a turn may have
    return Turn("t", "hi", session=session, **more)


def opened(server: Server, asked: Turn) -> dict[str, Any]:
    """The request that opens the turn's thread."""
    (config,) = sent(server.dialogue.begin(asked))
    (thread,) = sent(say(server.dialogue, {"id": config["id"], "result": {"config": {"mcp_servers": {"a": {}}}}}))
    return thread


def failure(acts: Any) -> Failed:  # noqa: ANN401 - acts of any kind
    end = outcome(acts)
    assert isinstance(end, Failed)
    return end


@pytest.mark.parametrize(
    ("session", "method", "more"),
    [
        (None, "thread/start", {"ephemeral": True}),
        (Session(ID), "thread/start", {"ephemeral": False}),
        (Session(ID, is_new=False), "thread/resume", {"threadId": ID, "excludeTurns": True}),
        (
            Session(ID, is_new=False, fork=True, last_turn="tu-1"),
            "thread/fork",
            {"threadId": ID, "excludeTurns": True, "ephemeral": False, "lastTurnId": "tu-1"},
        ),
    ],
)
def test_each_way_to_a_thread_is_held_to_the_same(session: Session | None, method: str, more: dict[str, Any]) -> None:
    request = opened(Server(), turn(session, system="Be brief.", model="gpt"))
    params = request["params"]
    assert request["method"] == method
    assert {name: params[name] for name in params.keys() - more.keys()} == {
        "sandbox": "read-only",
        "approvalPolicy": "never",
        "config": {"mcp_servers": {"a": {"enabled": False}}, "projects": {}},
        "model": "gpt",
        "baseInstructions": "Be brief.",
    }
    assert {name: params[name] for name in more} == more


def test_the_session_and_the_turn_are_told_as_soon_as_they_have_names() -> None:
    server = Server()
    thread = opened(server, turn(Session(ID, is_new=False)))
    acts = say(server.dialogue, {"id": thread["id"], "result": {"thread": {"id": ID}}})
    assert events(acts) == [Bound(native_session=ID)]
    (start,) = sent(acts)
    acts = say(server.dialogue, {"id": start["id"], "result": {"turn": {"id": "tu-2"}}})
    assert events(acts) == [Bound(native_session=ID, native_turn="tu-2")]


def test_a_turn_without_a_session_is_bound_to_nothing() -> None:
    server = Server()
    thread = opened(server, turn(None))
    acts = say(server.dialogue, {"id": thread["id"], "result": {"thread": {"id": ID}}})
    (start,) = sent(acts)
    assert events(acts) == events(say(server.dialogue, {"id": start["id"], "result": {"turn": {"id": "tu-2"}}})) == []


@pytest.mark.parametrize("fork", [False, True])
@pytest.mark.parametrize(
    ("words", "reason", "code"),
    [
        (GONE, "lost", ErrorCode.BAD_REQUEST),
        ("invalid session id: invalid length", "lost", ErrorCode.BAD_REQUEST),
        ("turn not found: tu-1", "lost", ErrorCode.BAD_REQUEST),
        (BUSY, "busy", ErrorCode.OVERLOADED),
    ],
)
def test_a_thread_that_is_refused_is_lost_or_busy(words: str, reason: str, code: ErrorCode, fork: bool) -> None:
    server = Server()
    thread = opened(server, turn(Session(ID, is_new=False, fork=fork)))
    end = failure(say(server.dialogue, {"id": thread["id"], "error": {"code": -32600, "message": words}}))
    assert (end.session, end.error.code, end.error.effects) == (reason, code, "none")
    assert words in end.error.message
    assert end.error.next_step


def test_a_new_thread_that_is_refused_is_no_lost_session() -> None:
    server = Server()
    thread = opened(server, turn(Session(ID)))
    end = failure(say(server.dialogue, {"id": thread["id"], "error": {"code": -32600, "message": "no such model"}}))
    assert end.session is None


def test_another_thread_than_the_one_asked_for_is_never_spoken_to() -> None:
    server = Server()
    thread = opened(server, turn(Session(ID, is_new=False)))
    acts = say(server.dialogue, {"id": thread["id"], "result": {"thread": {"id": OTHER}}})
    assert (failure(acts).session, sent(acts), events(acts)) == ("lost", [], [])
    server = Server()
    thread = opened(server, turn(Session(ID, is_new=False, fork=True)))
    acts = say(server.dialogue, {"id": thread["id"], "result": {"thread": {"id": OTHER}}})
    assert events(acts) == [Bound(native_session=OTHER)]


def test_the_tokens_are_those_of_the_turn_and_not_of_the_whole_thread() -> None:
    def counts(total: int, last: int) -> dict[str, Any]:
        names = ("inputTokens", "cachedInputTokens", "outputTokens")
        return {"total": dict.fromkeys(names, total), "last": dict.fromkeys(names, last)}

    server = Server()
    thread = opened(server, turn(Session(ID, is_new=False)))
    (start,) = sent(say(server.dialogue, {"id": thread["id"], "result": {"thread": {"id": ID}}}))
    told_again = note("thread/tokenUsage/updated", ID, turnId="tu-1", tokenUsage=counts(20, 20))
    assert events(say(server.dialogue, told_again)) == []
    say(server.dialogue, {"id": start["id"], "result": {"turn": {"id": "tu-2"}}})
    acts = say(
        server.dialogue,
        note("thread/tokenUsage/updated", ID, turnId="tu-2", tokenUsage=counts(25, 5)),
        note("thread/tokenUsage/updated", ID, turnId="tu-2", tokenUsage=counts(32, 7)),
        note("item/completed", ID, item=MESSAGE),
        {**COMPLETED, "params": {**COMPLETED["params"], "threadId": ID}},
    )
    end = outcome(acts)
    assert isinstance(end, Completed)
    assert end.usage == Usage(input_tokens=12, cached_input_tokens=12, output_tokens=12)


def test_effort_and_schema_go_with_the_turn_alone() -> None:
    _, start = Server().begin(turn(None, effort="high", schema=SCHEMA))
    assert (start["effort"], start["outputSchema"]) == ("high", SCHEMA)
    _, start = Server().begin(turn(None))
    assert {"effort", "outputSchema"}.isdisjoint(start)


@pytest.mark.parametrize(
    ("session", "words"),
    [
        (Session(ID), ["-"]),
        (Session(ID, is_new=False), ["resume", Value("", ID), "-"]),
        (Session(ID, is_new=False, fork=True), ["fork", Value("", ID), "-"]),
    ],
)
def test_exec_names_the_session_behind_its_options(session: Session, words: list[object]) -> None:
    launch = adapter.plan(turn(session, effort="low", schema=SCHEMA), OLD).channel
    assert list(launch.argv[-len(words) :]) == words
    assert "--ephemeral" not in launch.argv
    assert launch.finish_s == FLUSH_S
    assert Value("model_reasoning_effort=", "low") in launch.argv
    (schema,) = [each for each in launch.argv if isinstance(each, PrivateFile) and each.prefix == "--output-schema="]
    assert b"SECRET" in schema.content
    assert not any("SECRET" in each for each in launch.argv if isinstance(each, str))


def test_a_detached_turn_is_asked_by_exec_whatever_the_version() -> None:
    argv = adapter.plan(turn(None, detached=True), NEW).channel.argv
    assert argv[0] == "exec"
    assert not any(
        step.act in ("eof", "interrupt") for step in adapter.plan(turn(None, detached=True), NEW).channel.stop
    )
    assert adapter.plan(turn(None), NEW).channel.argv[0] == "app-server"


@pytest.mark.parametrize(
    "session",
    [
        Session("--last", is_new=False),
        Session("my-thread", is_new=False),
        Session(ID, is_new=False, fork=True, last_turn="tu-1"),
    ],
)
def test_exec_asks_nobody_about_a_session_it_cannot_name(session: Session) -> None:
    argv = adapter.plan(turn(session), OLD).channel.argv
    assert Value("", session.id) not in argv
    dialogue = ExecDialogue()
    acts = list(dialogue.begin(turn(session)))
    assert failure(acts).session == "lost"
    assert Close() in acts
    assert not any(isinstance(act, Write) for act in acts)
    assert list(dialogue.closed(Exit(1))) == []


def test_exec_is_bound_to_the_session_it_tells() -> None:
    dialogue = ExecDialogue()
    list(dialogue.begin(turn(Session(ID))))
    assert events(say(dialogue, {"type": "thread.started", "thread_id": OTHER})) == [Bound(native_session=OTHER)]


def test_exec_that_begins_another_session_is_given_up() -> None:
    dialogue = ExecDialogue()
    list(dialogue.begin(turn(Session(ID, is_new=False))))
    acts = say(dialogue, {"type": "thread.started", "thread_id": OTHER}, {"type": "turn.started"})
    assert failure(acts).session == "lost"
    assert not any(isinstance(act, Emit) for act in acts)


@pytest.mark.parametrize(("words", "reason"), [(GONE, "lost"), (BUSY, "busy")])
def test_exec_that_opens_no_session_tells_why(words: str, reason: str) -> None:
    dialogue = ExecDialogue()
    list(dialogue.begin(turn(Session(ID, is_new=False))))
    list(dialogue.receive(Stream.STDERR, [f"Error: thread/resume failed: {words} (code -32600)".encode()]))
    assert failure(dialogue.closed(Exit(1))).session == reason


def test_exec_that_fails_in_its_session_has_not_lost_it() -> None:
    dialogue = ExecDialogue()
    list(dialogue.begin(turn(Session(ID, is_new=False))))
    say(dialogue, {"type": "thread.started", "thread_id": ID})
    acts = say(dialogue, {"type": "turn.failed", "error": {"message": "unexpected status 401 Unauthorized"}})
    assert (failure(acts).session, failure(acts).error.code) == (None, ErrorCode.AUTH)
    assert len([act for act in acts if isinstance(act, Done)]) == 1


def exec_with(settings: dict[str, str], *environment: str) -> tuple[object, ...]:
    found = replace(NEW, settings=settings, environment=frozenset(environment))
    return adapter.plan(turn(None, detached=True), found).channel.argv


def test_exec_asks_where_the_user_has_codex_ask() -> None:
    settings = {"HOME openai_base_url": "http://gateway/v1", "CODEX_HOME openai_base_url": "http://other/v1"}
    assert Value("openai_base_url=", "http://gateway/v1") in exec_with(settings)
    assert Value("openai_base_url=", "http://other/v1") in exec_with(settings, "CODEX_HOME")
    assert not any("openai_base_url" in str(word) for word in exec_with({}))
    exec_with({"HOME model_provider": "openai"})
    with pytest.raises(Refused, match="azure") as caught:
        exec_with({"HOME model_provider": "azure"})
    assert "background" in (caught.value.error.next_step or "")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ('model = "gpt"\nopenai_base_url = "http://a/v1"\n\n[features]\nx = true\n', "http://a/v1"),
        ("openai_base_url='http://a/v1'", "http://a/v1"),
        ('# openai_base_url = "http://a/v1"\n', None),
        ('[profiles.x]\nopenai_base_url = "http://a/v1"\n', None),
        ("", None),
    ],
)
def test_only_a_key_before_the_first_table_is_the_users_own(text: str, url: str | None) -> None:
    setting = adapter.profile.settings["HOME openai_base_url"]
    found = re.search(setting.pattern, text)
    assert (found[1] if found else None) == url
