"""The dialogue with ``codex exec --json``."""

from typing import Any

import pytest

from dragoman.adapters.base import (
    Close,
    Completed,
    Exit,
    Ready,
    Stream,
    Write,
)
from dragoman.adapters.codex.exec import ExecDialogue
from dragoman.schemas import ErrorCode, Retrying, Text, Thought, Tool, Usage
from tests.adapters.codex_server import TURN, events, failed, outcome, say


def test_exec_answers_and_fails_in_its_own_words() -> None:
    dialogue = ExecDialogue()
    assert list(dialogue.start()) == [Ready()]
    assert list(dialogue.begin(TURN)) == [Write(TURN.prompt.encode()), Close()]
    acts = say(
        dialogue,
        {"type": "thread.started", "thread_id": "x"},
        {"type": "item.completed", "item": {"type": "reasoning", "text": "hm"}},
        {"type": "item.started", "item": {"type": "command_execution", "command": "ls"}},
        {"type": "item.completed", "item": {"type": "agent_message", "text": "Paris."}},
        {"type": "turn.completed", "usage": {"input_tokens": 5, "cached_input_tokens": 0, "output_tokens": 2}},
    )
    assert events(acts) == [
        Thought(text="hm"),
        Tool(name="shell", detail="ls", reads_only=True),
        Text(text="Paris."),
    ]
    usage = Usage(input_tokens=5, cached_input_tokens=0, output_tokens=2)
    assert outcome(acts) == Completed(text="Paris.", usage=usage)
    assert list(dialogue.closed(Exit(0))) == []


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "turn.failed", "error": {"message": "unexpected status 401 Unauthorized: x"}}, ErrorCode.AUTH),
        (
            {"type": "turn.failed", "error": {"message": "exceeded retry limit, last status: 429"}},
            ErrorCode.RATE_LIMITED,
        ),
        ({"type": "turn.failed", "error": {"message": "Quota exceeded. Check your plan"}}, ErrorCode.QUOTA),
        ({"type": "error", "message": "Reconnecting... 1/5 (unexpected status 401 Unauthorized)"}, ErrorCode.AUTH),
        ({"type": "turn.completed", "usage": {}}, ErrorCode.MALFORMED_OUTPUT),
    ],
)
def test_exec_failures_get_their_code(message: dict[str, Any], code: ErrorCode) -> None:
    dialogue = ExecDialogue()
    list(dialogue.begin(TURN))
    assert failed(say(dialogue, message)) is code


def test_exec_sits_through_a_blocked_websocket_too() -> None:
    dialogue = ExecDialogue()
    list(dialogue.begin(TURN))
    blocked = "unexpected status 403 Forbidden: x, url: ws://h/v1/responses"
    retries = [{"type": "error", "message": f"Reconnecting... {number}/5 ({blocked})"} for number in range(2, 6)]
    fallen = {"type": "error", "message": f"Falling back from WebSockets to HTTPS transport. {blocked}"}
    waiting = say(dialogue, *retries, {"type": "item.completed", "item": fallen})
    assert events(waiting) == [Retrying(attempt=number, cause=blocked) for number in range(1, 5)]
    over_https = "unexpected status 403 Forbidden: x, url: http://h/v1/responses"
    assert failed(say(dialogue, {"type": "error", "message": f"Reconnecting... 1/5 ({over_https})"})) is ErrorCode.AUTH


def test_exec_that_ends_without_an_event_is_told_by_its_stderr() -> None:
    dialogue = ExecDialogue()
    list(dialogue.begin(TURN))
    list(dialogue.receive(Stream.STDERR, [b"Reading prompt from stdin...", b"Error: input is not valid UTF-8"]))
    assert failed(dialogue.closed(Exit(1))) in (ErrorCode.BAD_REQUEST, ErrorCode.CRASHED)
