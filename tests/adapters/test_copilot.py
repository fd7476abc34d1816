"""Copilot over ACP: its failures, which by the protocol are answers, told from answers; no process.

The transcripts were recorded with Copilot 1.0.102 (``old-400`` with 1.0.80) against the fake model API: without the
lists of its commands and options, and with other addresses and folders.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters import acp, gemini
from dragoman.adapters.acp.copilot import EVENT, WISHES, Beside
from dragoman.adapters.acp.dialogue import AcpDialogue, Agent
from dragoman.adapters.answer import Answer
from dragoman.adapters.base import Act, Completed, Done, Emit, Failed, Installed, Outcome, Poison, Stream, Turn, Write
from dragoman.schemas import ErrorCode, Notice, Retrying, Text
from dragoman.testing import check_adapter

FOLDER = Path(__file__).with_name("transcripts") / "copilot"
SESSION = "s1"


def recorded(name: str) -> list[bytes]:
    return (FOLDER / f"{name}.jsonl").read_bytes().splitlines()


def hear(frames: Iterable[bytes]) -> list[Act]:
    """What a dialogue makes of these lines, one after another."""
    dialogue = AcpDialogue(Agent())
    acts = [*dialogue.start(), *dialogue.begin(Turn("t", "What is the capital of France?"))]
    return acts + [act for frame in frames for act in dialogue.receive(Stream.STDOUT, [frame])]


def heard(*messages: dict[str, Any]) -> list[Act]:
    """The same, of a turn in which these are said."""
    hello = {"protocolVersion": 1, "agentInfo": {"name": "Copilot", "version": "1.0.102"}}
    opening = [{"id": 1, "result": hello}, {"id": 2, "result": {"sessionId": SESSION}}]
    end = {"id": 3, "result": {"stopReason": "end_turn"}}
    return hear(json.dumps(message).encode() for message in (*opening, *messages, end))


def event(kind: str, *, agent: str | None = None, session: str = SESSION, **data: object) -> dict[str, Any]:
    params = {"sessionId": session, "type": kind, "data": data, **({"agentId": agent} if agent else {})}
    return {"method": EVENT, "params": params}


def piece(text: str) -> dict[str, Any]:
    said = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
    return {"method": "session/update", "params": {"sessionId": SESSION, "update": said}}


def outcome(acts: Iterable[Act]) -> Outcome:
    [done] = [act for act in acts if isinstance(act, Done)]
    return done.outcome


def failure(acts: Iterable[Act]) -> Failed:
    failed = outcome(acts)
    assert isinstance(failed, Failed), failed
    return failed


def answer(acts: Iterable[Act]) -> str | None:
    done = outcome(acts)
    assert isinstance(done, Completed), done
    return done.text


def events(acts: Iterable[Act]) -> list[object]:
    return [act.event for act in acts if isinstance(act, Emit)]


def streamed(acts: Iterable[Act]) -> str:
    return "".join(each.text for each in events(acts) if isinstance(each, Text))


def methods(acts: Iterable[Act]) -> list[str]:
    return [json.loads(act.data)["method"] for act in acts if isinstance(act, Write)]


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("400", ErrorCode.BAD_REQUEST, "400 the request is not valid"),
        ("401", ErrorCode.AUTH, "COPILOT_PROVIDER_API_KEY"),
        ("404", ErrorCode.BAD_REQUEST, "Model 'fake-model' not found"),
        ("413", ErrorCode.PROMPT_TOO_LARGE, "too long"),
        ("429", ErrorCode.RATE_LIMITED, "HTTP 429: too many requests"),
        ("quota", ErrorCode.QUOTA, "HTTP 429: You exceeded your current quota"),
        ("503", ErrorCode.OVERLOADED, "HTTP 503: the service is not available"),
        ("refused-connection", ErrorCode.NETWORK, "Connection refused"),
        ("garbage", ErrorCode.NETWORK, "request ended without sending any chunks"),
        ("garbage-responses", ErrorCode.NETWORK, "stream ended without a completed response"),
        ("stream-cut", ErrorCode.NETWORK, "unexpected EOF"),
        ("stream-ended-early", ErrorCode.NETWORK, "missing finish_reason"),
        ("empty", ErrorCode.MALFORMED_OUTPUT, "No response was returned"),
        ("refusal", ErrorCode.MALFORMED_OUTPUT, "empty, or the model refused"),
        ("failed", ErrorCode.OVERLOADED, "Our servers are overloaded."),
        ("too-long", ErrorCode.CONTEXT_LENGTH, "maximum context length"),
        ("too-long-code", ErrorCode.CONTEXT_LENGTH, "Your input is too much."),
        ("tool-then-401", ErrorCode.AUTH, "COPILOT_PROVIDER_API_KEY"),
        ("denied", ErrorCode.POLICY, "asked permission for was denied"),
    ],
)
def test_what_it_calls_an_answer_is_the_failure_that_it_is(name: str, code: ErrorCode, words: str) -> None:
    acts = hear(recorded(name))
    failed = failure(acts)
    assert (failed.error.code, words in failed.error.message) == (code, True), failed.error
    assert "Error:" not in streamed(acts)
    assert "Info:" not in streamed(acts)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("answer", "Paris"),
        ("error-words", "Error: 400 the request is not valid"),
        ("info-words", "Info: see above. Paris"),
        ("503-once", "Paris"),
        ("cut-once", "Paris"),
        ("tool-then-cut-once", "Paris"),
        ("max-tokens", "ParParPar"),
        ("max-tokens-then-cut", "Paris"),
    ],
)
def test_an_answer_is_what_the_model_said_and_nothing_else(name: str, text: str) -> None:
    acts = hear(recorded(name))
    assert answer(acts) == text
    assert not any(isinstance(each, Notice) for each in events(acts))


def test_words_too_many_for_an_event_are_taken_from_the_piece_that_has_them() -> None:
    failed = failure(hear(recorded("long-words")))
    assert failed.error.code is ErrorCode.BAD_REQUEST
    assert failed.error.message.startswith("400 no no no")


def test_what_came_before_a_failure_is_kept_as_partial_text() -> None:
    assert streamed(hear(recorded("stream-cut"))) == "ParParPar"


@pytest.mark.parametrize(
    ("name", "causes"),
    [
        ("429", ["HTTP 429: too many requests"]),
        ("503", ["HTTP 503: the service is not available"] * 2),
        ("503-once", ["HTTP 503: the service is not available"]),
        ("401", ["HTTP 401: the API key is not valid"] * 2),
        ("quota", []),
        ("garbage-responses", ["streaming_error"] * 5),
    ],
)
def test_its_own_retries_are_told_with_their_cause(name: str, causes: list[str]) -> None:
    retries = [each for each in events(hear(recorded(name))) if isinstance(each, Retrying)]
    assert [each.cause for each in retries] == causes
    if name != "garbage-responses":
        assert [each.attempt for each in retries] == list(range(1, len(causes) + 1))


@pytest.mark.parametrize(
    ("name", "requests"), [("429", 2), ("quota", 1), ("503", 3), ("refused-connection", 3), ("stream-cut", 3)]
)
def test_when_it_would_go_on_trying_for_long_it_is_cancelled_and_the_cause_told(name: str, requests: int) -> None:
    lines = recorded(name)
    failures = [number for number, line in enumerate(lines) if b'"model.call_failure"' in line]
    before, after = hear(lines[: failures[requests - 1]]), hear(lines[: failures[requests - 1] + 1])
    assert not any(isinstance(act, Done) for act in before)
    assert methods(after)[-1] == "session/cancel"
    assert isinstance(outcome(after), Failed)
    assert len(hear(lines)) == len(after), "what comes later is passed over"


@pytest.mark.parametrize("name", ["400", "401", "too-long", "empty", "garbage-responses", "answer"])
def test_what_it_ends_by_itself_is_left_to_it(name: str) -> None:
    assert "session/cancel" not in methods(hear(recorded(name)))


def test_a_version_that_does_not_tell_is_not_asked() -> None:
    acts = hear(recorded("old-400"))
    failed = failure(acts)
    assert failed.error.code is ErrorCode.NOT_FOUND
    assert "1.0.80" in failed.error.message
    assert "1.0.81 or newer" in (failed.error.next_step or "")
    assert methods(acts) == ["initialize"]
    assert any(isinstance(act, Poison) for act in acts)


@pytest.mark.parametrize(
    "said", [{"name": "Copilot", "version": "1.0.81"}, {"name": "Copilot"}, {"name": "other", "version": "0.1.0"}, {}]
)
def test_any_other_agent_is_asked(said: dict[str, str]) -> None:
    hello = {"id": 1, "result": {"protocolVersion": 1, "agentInfo": said}}
    assert methods(hear([json.dumps(hello).encode()]))[-1] == "session/new"


def test_its_events_are_asked_for_of_any_agent_but_of_gemini() -> None:
    [hello] = [json.loads(act.data) for act in AcpDialogue(Agent()).start() if isinstance(act, Write)]
    assert hello["params"]["clientCapabilities"]["_meta"] == WISHES
    plan = gemini.adapter.plan(Turn("t", "hi"), Installed(Path("gemini"), (0, 61, 0)))
    [hello] = [json.loads(act.data) for act in gemini.adapter.dialogue(plan).start() if isinstance(act, Write)]
    assert "_meta" not in hello["params"]["clientCapabilities"]


def test_a_notice_of_its_own_is_no_part_of_the_answer() -> None:
    acts = heard(
        event("session.info", infoType="model", message="Another model is used."),
        piece("Info: Another model is used. See https://example.com"),
        event("session.warning", warningType="policy", message="Some tools are off."),
        piece("Warning: Some tools are off."),
        piece("Paris"),
    )
    assert answer(acts) == streamed(acts) == "Paris"
    notices = [each.message for each in events(acts) if isinstance(each, Notice)]
    assert notices == ["Another model is used.", "Some tools are off."]


def test_an_event_that_nothing_repeats_takes_nothing_from_the_answer() -> None:
    acts = heard(event("session.info", infoType="model", message="x"), piece("Info: y"), piece("Info: x"))
    assert answer(acts) == "Info: yInfo: x"


def test_a_failure_after_which_it_goes_on_is_none() -> None:
    failed = event("session.error", errorType="rate_limit", message="too many", statusCode=429)
    assert answer(heard(failed, piece("Error: too many"), piece("Paris"))) == "Paris"


def test_what_is_said_before_something_is_denied_is_not_the_answer() -> None:
    acts = heard(
        piece("I will look at it."),
        event("session.info", infoType="cancellation", message="Operation cancelled by user"),
        piece("Info: Operation cancelled by user"),
    )
    assert failure(acts).error.code is ErrorCode.POLICY
    assert streamed(acts) == "I will look at it."


def test_the_failure_of_a_helper_of_its_own_is_not_that_of_the_turn() -> None:
    failed = event("session.error", agent="a1", errorType="query", message="it broke")
    acts = heard(piece("Par"), failed, piece("Error: it broke"), piece("is"))
    assert answer(acts) == "Paris"


def test_a_failure_of_another_session_is_not_that_of_the_turn() -> None:
    failed = event("session.error", session="s2", errorType="query", message="it broke")
    assert answer(heard(failed, piece("Paris"))) == "Paris"


def test_a_time_to_wait_is_known_where_it_is_told() -> None:
    body = json.dumps({"message": "Too many requests, retry after 30s."})
    failed = event("model.call_failure", statusCode=429, retryAttempt=1, errorMessage=body)
    error = failure(heard(failed)).error
    assert (error.code, error.retry_after_s) == (ErrorCode.RATE_LIMITED, 30)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("authentication", ErrorCode.AUTH),
        ("authorization", ErrorCode.AUTH),
        ("quota", ErrorCode.QUOTA),
        ("context_limit", ErrorCode.CONTEXT_LENGTH),
        ("new", ErrorCode.INTERNAL),
    ],
)
def test_the_kind_of_a_failure_tells_more_than_its_words(kind: str, code: ErrorCode) -> None:
    failed = event("session.error", errorType=kind, message="it broke")
    assert failure(heard(failed, piece("Error: it broke"))).error.code is code


def test_it_keeps_the_contract() -> None:
    check_adapter(acp.adapter, transcript=recorded("400"))


@given(st.lists(st.text(min_size=1) | st.sampled_from(["Error: x", "Info: x", "Warning: x", "Error: ", "Info: "])))
def test_of_an_agent_without_such_events_every_piece_is_the_answer(pieces: list[str]) -> None:
    acts = heard(*(piece(text) for text in pieces))
    assert streamed(acts) == "".join(pieces)
    if "".join(pieces).strip():
        assert answer(acts) == "".join(pieces)


ANYTHING = st.none() | st.integers() | st.text() | st.lists(st.integers()) | st.dictionaries(st.text(), st.integers())
FIELDS = st.sampled_from(["message", "errorType", "statusCode", "retryAttempt", "errorMessage", "errorCode", "reason"])
KINDS = st.sampled_from([*WISHES["github.com/copilot"]["events"], "new"])
EVENTS = st.fixed_dictionaries({"type": KINDS | ANYTHING, "data": st.dictionaries(FIELDS, ANYTHING) | ANYTHING})


@given(st.lists(EVENTS))
def test_whatever_an_event_says_it_is_taken(said: list[dict[str, Any]]) -> None:
    beside = Beside("the agent", Answer())
    for each in said:
        list(beside.hear(each))
        beside.repeats("Error: x")
