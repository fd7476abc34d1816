"""The ACP dialogue with any agent: what is asked, what is denied, how turns end; no process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dragoman.adapters.acp import adapter
from dragoman.adapters.acp.dialogue import AcpDialogue, Agent
from dragoman.adapters.base import (
    Act,
    Completed,
    Dialogue,
    Done,
    Emit,
    Exit,
    Failed,
    Installed,
    Outcome,
    Poison,
    Stream,
    Turn,
    Write,
)
from dragoman.schemas import ErrorCode, Notice, Text, Thought, Usage
from dragoman.testing import check_adapter

FOUND = Installed(Path("agent"))
HELLO: dict[str, Any] = {"protocolVersion": 1, "agentCapabilities": {}}
SESSION: dict[str, Any] = {"sessionId": "s1"}
END: dict[str, Any] = {"stopReason": "end_turn"}


def reply(number: int, result: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def failure(number: int, code: int, message: str, data: object = None) -> dict[str, Any]:
    error = {"code": code, "message": message, **({"data": data} if data is not None else {})}
    return {"jsonrpc": "2.0", "id": number, "error": error}


def update(what: str, *, session: str = "s1", **more: object) -> dict[str, Any]:
    params = {"sessionId": session, "update": {"sessionUpdate": what, **more}}
    return {"jsonrpc": "2.0", "method": "session/update", "params": params}


def said(text: str, session: str = "s1") -> dict[str, Any]:
    return update("agent_message_chunk", content={"type": "text", "text": text}, session=session)


def asked(number: object, method: str, **params: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": {"sessionId": "s1", **params}}


def hear(dialogue: Dialogue, *messages: object) -> list[Act]:
    frames = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
    return [act for frame in frames for act in dialogue.receive(Stream.STDOUT, [frame])]


def talk(*messages: object, turn: Turn | None = None) -> list[Act]:
    """A turn from its beginning, with these messages of the agent's."""
    dialogue = AcpDialogue(Agent())
    return [*dialogue.start(), *dialogue.begin(turn or Turn("t", "hi")), *hear(dialogue, *messages)]


def outcome(acts: Iterable[Act]) -> Outcome:
    [done] = [act for act in acts if isinstance(act, Done)]
    return done.outcome


def error_of(acts: Iterable[Act]) -> tuple[ErrorCode, str]:
    failed = outcome(acts)
    assert isinstance(failed, Failed), failed
    return failed.error.code, failed.error.message


def written(acts: Iterable[Act]) -> list[dict[str, Any]]:
    return [json.loads(act.data) for act in acts if isinstance(act, Write)]


def methods(acts: Iterable[Act]) -> list[str]:
    return [message["method"] for message in written(acts) if "method" in message]


def test_it_keeps_the_contract() -> None:
    options = [{"optionId": "a", "kind": "allow_once"}, {"optionId": "r", "kind": "reject_once"}]
    offer: dict[str, Any] = {"models": {"availableModels": [{"modelId": "m"}]}, "configOptions": []}
    lines: Sequence[object] = [
        reply(1, HELLO),
        reply(2, SESSION | offer),
        said("I look. "),
        update("agent_thought_chunk", content={"type": "text", "text": "hm"}),
        update("tool_call", title="Read", kind="read", locations=[{"path": "/p"}]),
        asked(7, "session/request_permission", toolCall={"title": "rm"}, options=options),
        asked("x", "fs/read_text_file", path="/etc/hosts"),
        said("Paris."),
        reply(3, END | {"usage": {"inputTokens": 1, "outputTokens": 2, "cachedReadTokens": 0}}),
    ]
    check_adapter(adapter, transcript=[json.dumps(line).encode() for line in lines])


def test_text_thoughts_and_tokens() -> None:
    usage = {"inputTokens": 12, "outputTokens": 3, "cachedReadTokens": 4, "totalTokens": 19}
    thought = update("agent_thought_chunk", content={"type": "text", "text": "hm"})
    acts = talk(reply(1, HELLO), reply(2, SESSION), thought, said("Par"), said("is"), reply(3, END | {"usage": usage}))
    assert [act.event for act in acts if isinstance(act, Emit)] == [
        Thought(text="hm"),
        Text(text="Par"),
        Text(text="is"),
    ]
    counted = Usage(input_tokens=12, cached_input_tokens=4, output_tokens=3)
    assert outcome(acts) == Completed(text="Paris", usage=counted)


def test_the_folder_of_the_session_is_where_the_agent_runs() -> None:
    turn = Turn("t", "hi", cwd=Path("/project"), runs_in=Path("/project"))
    [_, session] = written(talk(reply(1, HELLO), turn=turn))
    assert session["params"] == {"cwd": "/project", "mcpServers": []}


def test_what_needs_permission_is_denied_in_the_agents_own_words() -> None:
    options = [{"optionId": "yes", "kind": "allow_once"}, {"optionId": "never", "kind": "reject_always"}]
    ask = asked(9, "session/request_permission", toolCall={"title": "rm -rf build"}, options=options)
    acts = talk(reply(1, HELLO), reply(2, SESSION), ask)
    assert written(acts)[-1] == {
        "jsonrpc": "2.0",
        "id": 9,
        "result": {"outcome": {"outcome": "selected", "optionId": "never"}},
    }
    [notice] = [act.event for act in acts if isinstance(act, Emit)]
    assert isinstance(notice, Notice)
    assert "rm -rf build" in notice.message


@pytest.mark.parametrize("options", [[], [{"optionId": "yes", "kind": "allow_once"}], None, [1]])
def test_without_an_option_to_deny_the_question_is_cancelled(options: object) -> None:
    ask = asked(9, "session/request_permission", toolCall={}, options=options)
    answer = written(talk(reply(1, HELLO), reply(2, SESSION), ask))[-1]
    assert answer["result"] == {"outcome": {"outcome": "cancelled"}}


@pytest.mark.parametrize("method", ["fs/read_text_file", "fs/write_text_file", "terminal/create", "_vendor/any"])
def test_any_other_request_is_answered_that_there_is_no_such_method(method: str) -> None:
    answer = written(talk(reply(1, HELLO), reply(2, SESSION), asked("a-1", method)))[-1]
    assert (answer["id"], answer["error"]["code"]) == ("a-1", -32601)


@pytest.mark.parametrize("prompt", ["/help", "  /quit", "\n$cmd", "\ufeff/x"])
def test_a_prompt_that_looks_like_a_command_is_sent_as_text(prompt: str) -> None:
    ask = written(talk(reply(1, HELLO), reply(2, SESSION), turn=Turn("t", prompt)))[-1]
    [block] = ask["params"]["prompt"]
    assert block["text"].endswith(prompt)
    assert not block["text"].strip().startswith(("/", "$"))


def test_a_prompt_that_names_a_file_is_sent_as_it_is() -> None:
    ask = written(talk(reply(1, HELLO), reply(2, SESSION), turn=Turn("t", "see @notes.txt")))[-1]
    assert ask["params"]["prompt"] == [{"type": "text", "text": "see @notes.txt"}]


@pytest.mark.parametrize(
    ("offer", "method", "choice"),
    [
        (
            {"configOptions": [{"id": "mode"}, {"id": "llm", "category": "model"}]},
            "session/set_config_option",
            {"configId": "llm", "value": "big"},
        ),
        ({"models": {"availableModels": [{"modelId": "small"}]}}, "session/set_model", {"modelId": "big"}),
    ],
)
def test_a_model_is_chosen_in_the_way_the_agent_offers(
    offer: dict[str, Any], method: str, choice: dict[str, Any]
) -> None:
    acts = talk(reply(1, HELLO), reply(2, SESSION | offer), reply(3, {}), turn=Turn("t", "hi", model="big"))
    [chosen, prompt] = written(acts)[-2:]
    assert (chosen["method"], chosen["params"]) == (method, {"sessionId": "s1", **choice})
    assert prompt["method"] == "session/prompt"


def test_an_agent_without_a_choice_of_models_is_not_asked_with_another_one() -> None:
    acts = talk(reply(1, HELLO), reply(2, SESSION), turn=Turn("t", "hi", model="big"))
    assert error_of(acts)[0] is ErrorCode.BAD_REQUEST
    assert methods(acts)[-1] == "session/new"


def test_a_model_that_the_agent_refuses_is_the_failure() -> None:
    offer = {"models": {"availableModels": [{"modelId": "small"}]}}
    refused = failure(3, -32602, "Invalid params", {"details": "unknown model: big"})
    acts = talk(reply(1, HELLO), reply(2, SESSION | offer), refused, turn=Turn("t", "hi", model="big"))
    assert error_of(acts) == (ErrorCode.BAD_REQUEST, "Invalid params: unknown model: big")


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("refusal", ErrorCode.REFUSED),
        ("cancelled", ErrorCode.CANCELLED),
        ("max_turn_requests", ErrorCode.OUTPUT_LIMIT),
    ],
)
def test_a_turn_that_ended_badly_is_a_failure_even_with_text(reason: str, code: ErrorCode) -> None:
    acts = talk(reply(1, HELLO), reply(2, SESSION), said("Par"), reply(3, {"stopReason": reason}))
    assert error_of(acts)[0] is code


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("end_turn", ErrorCode.MALFORMED_OUTPUT),
        ("max_tokens", ErrorCode.OUTPUT_LIMIT),
        ("", ErrorCode.MALFORMED_OUTPUT),
    ],
)
def test_no_text_is_no_answer(reason: str, code: ErrorCode) -> None:
    assert error_of(talk(reply(1, HELLO), reply(2, SESSION), reply(3, {"stopReason": reason})))[0] is code


def test_an_answer_that_reached_the_limit_of_tokens_says_so() -> None:
    done = outcome(talk(reply(1, HELLO), reply(2, SESSION), said("Par"), reply(3, {"stopReason": "max_tokens"})))
    assert isinstance(done, Completed)
    assert (done.text, done.finish_reason) == ("Par", "max_tokens")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ((-32000, "Authentication required"), ErrorCode.AUTH),
        ((429, "slow down"), ErrorCode.RATE_LIMITED),
        ((429, "your quota is used up"), ErrorCode.QUOTA),
        ((401, "no"), ErrorCode.AUTH),
        ((503, "no"), ErrorCode.OVERLOADED),
        ((-32603, "Internal error", {"details": "connection refused"}), ErrorCode.NETWORK),
        ((-32603, "Internal error", {"details": "API Error: 429 Too Many Requests"}), ErrorCode.RATE_LIMITED),
        ((-32603, "Internal error"), ErrorCode.INTERNAL),
    ],
)
@pytest.mark.parametrize("step", [2, 3])
def test_an_error_is_known_by_its_code_or_its_words(error: tuple[Any, ...], code: ErrorCode, step: int) -> None:
    before = [reply(1, HELLO), reply(2, SESSION)][: step - 1]
    assert error_of(talk(*before, failure(step, *error)))[0] is code


@pytest.mark.parametrize("answer", [failure(1, -32600, "what?"), reply(1, {"protocolVersion": 2}), reply(1, {})])
def test_an_agent_of_another_protocol_answers_no_turn(answer: dict[str, Any]) -> None:
    dialogue = AcpDialogue(Agent())
    acts = [*dialogue.start(), *dialogue.begin(Turn("t", "hi")), *hear(dialogue, answer)]
    assert any(isinstance(act, Poison) for act in acts)
    assert isinstance(outcome(acts), Failed)
    assert isinstance(outcome(dialogue.begin(Turn("next", "hi"))), Failed)


def test_a_turn_is_cancelled_by_a_notification_and_ends_with_the_agents_answer() -> None:
    dialogue = AcpDialogue(Agent())
    begun = [*dialogue.start(), *dialogue.begin(Turn("t", "hi")), *hear(dialogue, reply(1, HELLO), reply(2, SESSION))]
    assert methods(begun)[-1] == "session/prompt"
    [cancel] = written(dialogue.interrupt("t") or ())
    assert (cancel["method"], cancel["params"], "id" in cancel) == ("session/cancel", {"sessionId": "s1"}, False)
    acts = hear(dialogue, said("late"), reply(3, {"stopReason": "cancelled"}), said("later"))
    assert error_of(acts)[0] is ErrorCode.CANCELLED
    assert [act.event for act in acts if isinstance(act, Emit)] == [Text(text="late")]


@pytest.mark.parametrize("answers", [0, 1])
def test_a_turn_that_is_given_up_before_its_session_is_never_asked(answers: int) -> None:
    dialogue = AcpDialogue(Agent())
    acts = [*dialogue.start(), *dialogue.begin(Turn("t", "hi"))]
    acts += hear(dialogue, *[reply(1, HELLO)][:answers])
    acts += dialogue.interrupt("t") or ()
    acts += hear(dialogue, *[reply(1, HELLO), reply(2, SESSION)][answers:])
    assert error_of(acts)[0] is ErrorCode.CANCELLED
    assert "session/prompt" not in methods(acts)


def test_two_turns_each_have_their_own_session() -> None:
    dialogue = AcpDialogue(Agent())
    acts = [*dialogue.start(), *dialogue.begin(Turn("a", "hi")), *dialogue.begin(Turn("b", "hi"))]
    acts += hear(dialogue, reply(1, HELLO), reply(2, {"sessionId": "sa"}), reply(3, {"sessionId": "sb"}))
    acts += hear(dialogue, said("B", "sb"), said("A", "sa"), said("?", "other"), reply(5, END), reply(4, END))
    answers = {
        act.turn: act.outcome.text for act in acts if isinstance(act, Done) and isinstance(act.outcome, Completed)
    }
    assert answers == {"a": "A", "b": "B"}


def test_an_agent_that_ends_tells_by_its_stderr_why() -> None:
    dialogue = AcpDialogue(Agent())
    acts = [*dialogue.start(), *dialogue.begin(Turn("t", "hi"))]
    acts += dialogue.receive(Stream.STDERR, [b"please log in first"])
    acts += dialogue.closed(Exit(1))
    code, message = error_of(acts)
    assert code is ErrorCode.AUTH
    assert "log in first" in message


@pytest.mark.parametrize("line", [b"[info] starting", b"", b"\xff", b"[]", b"1"])
def test_lines_that_are_no_messages_are_passed_over(line: bytes) -> None:
    acts = talk(line, reply(1, HELLO), line, reply(2, SESSION), said("Paris"), line, reply(3, END))
    assert isinstance(outcome(acts), Completed)
