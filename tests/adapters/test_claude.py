"""The claude adapter, from lines as claude 2.1.329 prints them; no process."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.base import (
    Act,
    Close,
    Completed,
    Done,
    Emit,
    Exit,
    Failed,
    Installed,
    Ready,
    Refused,
    Session,
    Stream,
    Turn,
    Value,
    Write,
)
from dragoman.adapters.claude import ClaudeDialogue, adapter
from dragoman.schemas import ErrorCode, Retrying, Text, Thought, Tool, Usage
from dragoman.testing import check_adapter

CURRENT = Installed(Path("/bin/claude"), (2, 1, 329), "2.1.329")
TURN = Turn("t", "What is the capital of France?")


def opened(turn: Turn = TURN) -> ClaudeDialogue:
    dialogue = ClaudeDialogue()
    assert list(dialogue.start()) == [Ready()]
    list(dialogue.begin(turn))
    return dialogue


def say(dialogue: ClaudeDialogue, *lines: dict[str, Any]) -> list[Act]:
    return list(dialogue.receive(Stream.STDOUT, [json.dumps(line).encode() for line in lines]))


def events(acts: Iterable[Act]) -> list[object]:
    return [act.event for act in acts if isinstance(act, Emit)]


def outcome(acts: Iterable[Act]) -> Completed | Failed:
    (done,) = [act for act in acts if isinstance(act, Done)]
    return done.outcome


def failure(acts: Iterable[Act]) -> Failed:
    failed = outcome(acts)
    assert isinstance(failed, Failed)
    return failed


def delta(text: str, message: str = "msg_1") -> list[dict[str, Any]]:
    return [
        {"type": "stream_event", "event": {"type": "message_start", "message": {"id": message}}},
        {
            "type": "stream_event",
            "event": {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
        },
        {
            "type": "stream_event",
            "event": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}},
        },
    ]


def written(acts: Iterable[Act]) -> list[dict[str, Any]]:
    writes = [act.data for act in acts if isinstance(act, Write)]
    assert all(data.count(b"\n") == 1 for data in writes)
    return [json.loads(data) for data in writes]


INIT = {"type": "system", "subtype": "init", "model": "claude-opus-5-5", "apiKeySource": "none"}
RESULT = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "result": "Paris.",
    "stop_reason": "end_turn",
    "total_cost_usd": 0.01,
    "usage": {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 10, "output_tokens": 7},
}


def test_it_keeps_the_contract() -> None:
    answered: dict[str, Any] = {"subtype": "success", "request_id": "initialize", "response": {}}
    lines: list[dict[str, Any]] = [{"type": "control_response", "response": answered}, INIT, *delta("Paris."), RESULT]
    check_adapter(adapter, CURRENT, transcript=[json.dumps(line).encode() for line in lines])


def test_a_question_is_streamed_and_ends_with_its_usage_and_an_end_of_input() -> None:
    assistant = {"type": "assistant", "message": {"id": "msg_1", "content": [{"type": "text", "text": "Paris."}]}}
    dialogue = opened()
    acts = [*say(dialogue, INIT, *delta("Par")), *say(dialogue, *delta("is.")[2:], assistant, RESULT)]
    assert events(acts) == [Text(text="Par"), Text(text="is.")]
    assert outcome(acts) == Completed(
        text="Paris.",
        model="claude-opus-5-5",
        usage=Usage(input_tokens=115, cached_input_tokens=100, output_tokens=7, cost_usd=0.01),
        billing="subscription",
    )
    assert acts[-1] == Close()


def test_pieces_that_are_read_at_once_are_one_event_unless_something_stands_between_them() -> None:
    thinking = {"type": "stream_event", "event": {"type": "content_block_delta", "delta": {"thinking": "hm"}}}
    one, two = delta("is ")[2:], delta("it?")[2:]
    assert events(say(opened(), *delta("Paris "), *one, *two, thinking, *one, *two)) == [
        Text(text="Paris is it?"),
        Thought(text="hm"),
        Text(text="is it?"),
    ]


def test_text_that_was_not_streamed_is_taken_from_the_message() -> None:
    assistant = {"type": "assistant", "message": {"id": "msg_9", "content": [{"type": "text", "text": "Paris."}]}}
    assert events(say(opened(), assistant)) == [Text(text="Paris.")]


def test_a_second_text_begins_a_paragraph_and_tools_are_told_with_what_they_can_do() -> None:
    use = {"type": "tool_use", "name": "Read", "input": {"file_path": "a.py"}}
    write = {"type": "tool_use", "name": "Write", "input": {"file_path": "b.py"}}
    tool = {"type": "assistant", "message": {"id": "msg_1", "content": [use, write]}}
    assert events(say(opened(), *delta("I look."), tool, *delta("Found.", "msg_2"))) == [
        Text(text="I look."),
        Tool(name="Read", detail="a.py", reads_only=True),
        Tool(name="Write", detail="b.py", reads_only=False),
        Text(text="\n\n"),
        Text(text="Found."),
    ]


def test_thinking_is_told_apart_and_subagents_are_not_the_answer() -> None:
    thinking = {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}}
    sub = [{**line, "parent_tool_use_id": "x"} for line in delta("inner")]
    assert events(say(opened(), {"type": "stream_event", "event": thinking}, *sub)) == [Thought(text="hm")]


def test_its_own_retry_is_told_with_the_cause() -> None:
    line = {"type": "system", "subtype": "api_retry", "attempt": 2, "retry_delay_ms": 619, "error_status": 529}
    acts = say(opened(), {**line, "error": "overloaded"})
    assert events(acts) == [Retrying(attempt=2, cause="overloaded (HTTP 529)", delay_s=0.619)]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ({"api_error_status": 401, "result": "Invalid API key"}, ErrorCode.AUTH),
        ({"api_error_status": 403, "result": "Failed to authenticate"}, ErrorCode.AUTH),
        ({"api_error_status": 404, "result": "There's an issue with the selected model (X)"}, ErrorCode.BAD_REQUEST),
        ({"api_error_status": 400, "result": "API Error: 400 nope"}, ErrorCode.BAD_REQUEST),
        ({"api_error_status": 400, "result": "Credit balance is too low"}, ErrorCode.QUOTA),
        (
            {"api_error_status": 413, "terminal_reason": "image_error", "result": "Request too large"},
            ErrorCode.PROMPT_TOO_LARGE,
        ),
        (
            {"api_error_status": 400, "terminal_reason": "prompt_too_long", "result": "Prompt is too long"},
            ErrorCode.CONTEXT_LENGTH,
        ),
        ({"terminal_reason": "blocking_limit", "result": "Prompt is too long"}, ErrorCode.CONTEXT_LENGTH),
        ({"api_error_status": 429, "result": "API Error: Request rejected (429)"}, ErrorCode.RATE_LIMITED),
        ({"api_error_status": 429, "result": "You've hit your usage limit, resets at 3am"}, ErrorCode.QUOTA),
        (
            {"api_error_status": 429, "result": "Server is temporarily limiting requests (not your usage limit)"},
            ErrorCode.RATE_LIMITED,
        ),
        ({"api_error_status": 529, "result": "API Error: Repeated 529 Overloaded errors."}, ErrorCode.OVERLOADED),
        ({"api_error_status": 500, "result": "API Error: 500 Internal server error."}, ErrorCode.OVERLOADED),
        ({"result": "API Error: Connection refused (ECONNREFUSED)"}, ErrorCode.NETWORK),
        ({"result": "Request timed out. No data arrived for more than 5 minutes"}, ErrorCode.NETWORK),
        ({"result": "Not logged in · Please run /login"}, ErrorCode.AUTH),
        ({"result": "API Error: Opus 5.5's safeguards flagged this message"}, ErrorCode.REFUSED),
        ({"result": "exceeded the 100 output token maximum"}, ErrorCode.OUTPUT_LIMIT),
        ({"result": "API returned an empty or malformed response (HTTP 200)"}, ErrorCode.NETWORK),
        ({"subtype": "error_during_execution", "terminal_reason": "aborted_streaming"}, ErrorCode.CRASHED),
        (
            {"subtype": "error_max_turns", "terminal_reason": "max_turns", "errors": ["too many"]},
            ErrorCode.OUTPUT_LIMIT,
        ),
        ({"terminal_reason": "budget_exhausted", "errors": ["Reached maximum budget ($1)"]}, ErrorCode.POLICY),
        ({"result": "something nobody has seen"}, ErrorCode.INTERNAL),
    ],
)
def test_each_failure_gets_its_code(line: dict[str, Any], code: ErrorCode) -> None:
    failed = failure(say(opened(), {"type": "result", "subtype": "success", "is_error": True, **line}))
    assert failed.error.code is code
    assert failed.error.message


def test_the_errors_own_text_is_not_the_answer() -> None:
    content = [{"type": "text", "text": "API Error: 500"}]
    synthetic = {"type": "assistant", "message": {"id": "x", "model": "<synthetic>", "content": content}}
    assert events(say(opened(), synthetic)) == []


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        ("Error: claude native binary not installed.", 1, ErrorCode.NOT_FOUND),
        ("", 0, ErrorCode.MALFORMED_OUTPUT),
        ("", 143, ErrorCode.CRASHED),
        ("", -11, ErrorCode.CRASHED),
        ("Error: something odd", 1, ErrorCode.CRASHED),
        ("Error: piped stdin input exceeds 10MB.", 1, ErrorCode.PROMPT_TOO_LARGE),
    ],
)
def test_an_end_without_a_result_is_a_failure(words: str, exit_code: int, code: ErrorCode) -> None:
    dialogue = opened()
    list(dialogue.receive(Stream.STDERR, [words.encode()] if words else [b"x"][:0]))
    assert failure(dialogue.closed(Exit(exit_code))).error.code is code


def test_after_the_result_the_end_of_the_process_says_nothing_more() -> None:
    dialogue = opened()
    say(dialogue, RESULT)
    assert list(dialogue.closed(Exit(143))) == []
    assert say(dialogue, RESULT, *delta("late")) == []


def test_the_prompt_goes_to_stdin_word_for_word_but_never_as_a_command() -> None:
    def sent(prompt: str) -> dict[str, Any]:
        _, message = written(ClaudeDialogue().begin(Turn("t", prompt)))
        return message

    assert sent("--help @/etc/passwd")["message"]["content"] == "--help @/etc/passwd"
    assert sent("/cost")["message"]["content"] == "\n/cost"
    assert sent("a\u2028b\nc")["client_composed"] is True


def test_nothing_a_caller_wrote_stands_in_the_arguments_but_the_model() -> None:
    schema = {"type": "object", "title": "SCHEMA"}
    turn = Turn("t", "PROMPT", system="SYSTEM", model="opus", schema=schema)
    launch = adapter.plan(turn, CURRENT).channel
    assert not any(word in str(launch) for word in ("PROMPT", "SYSTEM", "SCHEMA"))
    assert Value("--model=", "opus") in launch.argv
    asked, _ = written(ClaudeDialogue().begin(turn))
    assert asked["request"] == {"subtype": "initialize", "systemPrompt": "SYSTEM", "jsonSchema": schema}


def test_without_a_folder_there_are_no_tools_and_with_one_they_only_read() -> None:
    plain = [word for word in adapter.plan(TURN, CURRENT).channel.argv if isinstance(word, str)]
    assert plain[plain.index("--tools") + 1] == ""
    looking = adapter.plan(Turn("t", "hi", cwd=Path("/p")), CURRENT).channel.argv
    assert looking[looking.index("--tools") + 1] == "Read,Grep,Glob"
    assert {"--restricted", "dontAsk"} <= {word for word in looking if isinstance(word, str)}
    with pytest.raises(Refused) as caught:
        adapter.plan(Turn("t", "hi", cwd=Path("/p")), Installed(Path("/bin/claude"), (2, 1, 197), "2.1.197"))
    assert caught.value.error.code is ErrorCode.POLICY


def test_an_interrupt_ends_the_input_too() -> None:
    acts = list(opened().interrupt("t") or ())
    assert isinstance(acts[0], Write)
    assert json.loads(acts[0].data)["request"] == {"subtype": "interrupt"}
    assert acts[1] == Close()


def test_the_login_is_what_the_cli_says() -> None:
    assert adapter.logged_in(0, '{"loggedIn": true}', "") is True
    assert adapter.logged_in(1, '{"loggedIn": false}', "") is False
    assert adapter.logged_in(1, "unknown command", "") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    *("type", "subtype", "event", "message", "content", "delta", "text", "usage", "errors", "input"),
                    *("uuid", "session_id", "total_cost_usd", "structured_output", "response", "stop_reason", "name"),
                )
            )
            | st.text(max_size=3),
            inner
            | st.sampled_from(["result", "assistant", "stream_event", "system", "init", "api_retry", "tool_use"])
            | st.sampled_from(["success", "error_max_structured_output_retries", "StructuredOutput", "message_delta"]),
            max_size=5,
        )
    ),
    max_leaves=20,
)


KEPT = Turn("t", "hi", session=Session("s", is_new=False, fork=True), schema={"type": "object"}, max_tokens=9)


@given(
    st.sampled_from([TURN, KEPT]),
    st.lists(st.binary(max_size=20) | JSON.map(lambda value: json.dumps(value).encode()), min_size=1),
)
def test_whatever_comes_nothing_is_raised(turn: Turn, frames: list[bytes]) -> None:
    dialogue = opened(turn)
    list(dialogue.receive(Stream.STDOUT, frames))
    list(dialogue.receive(Stream.STDERR, frames))
    list(dialogue.closed(Exit(1)))
