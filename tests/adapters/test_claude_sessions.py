"""What claude keeps, is held to and does alone: sessions, schemas, limits and detached runs; no process.

Lines as claude 2.1.329 prints them, which 2.1.197 does too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dragoman.adapters.base import (
    FLUSH_S,
    STOP_BY_SIGNAL,
    Act,
    Close,
    Completed,
    Done,
    Emit,
    Exit,
    Failed,
    Installed,
    Outcome,
    Refused,
    Session,
    Stream,
    Turn,
    Value,
    Write,
)
from dragoman.adapters.claude import ClaudeDialogue, adapter
from dragoman.schemas import Bound, ErrorCode, Event, Text, Tool, Usage

CURRENT = Installed(Path("/bin/claude"), (2, 1, 329), "2.1.329")
OLD = Installed(Path("/bin/claude"), (2, 1, 197), "2.1.197")
ID = "3b241101-e2bb-4255-8caf-4136c566a962"
PLAIN = Turn("t", "hi")
NEW = Turn("t", "hi", session=Session(ID))
AGAIN = Turn("t", "hi", session=Session(ID, is_new=False, last_turn="u-1 0.25"))
FORK = Turn("t", "hi", session=Session(ID, is_new=False, fork=True, last_turn="u-1 0.25"))
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TYPED = Turn("t", "hi", schema=SCHEMA)


def begun(turn: Turn) -> ClaudeDialogue:
    dialogue = ClaudeDialogue()
    list(dialogue.start())
    list(dialogue.begin(turn))
    return dialogue


def say(dialogue: ClaudeDialogue, *lines: dict[str, Any]) -> list[Act]:
    return list(dialogue.receive(Stream.STDOUT, [json.dumps(line).encode() for line in lines]))


def events(acts: Iterable[Act]) -> list[Event]:
    return [act.event for act in acts if isinstance(act, Emit)]


def outcome(acts: Iterable[Act]) -> Outcome:
    (done,) = [act for act in acts if isinstance(act, Done)]
    return done.outcome


VERSION = {"claude_code_version": "2.1.329"}


def init(session: str = ID) -> dict[str, Any]:
    return {"type": "system", "subtype": "init", "model": "m", "apiKeySource": "none", "session_id": session} | VERSION


def result(**more: object) -> dict[str, Any]:
    usage = {"input_tokens": 12, "output_tokens": 3}
    good = {"type": "result", "subtype": "success", "is_error": False, "result": "Paris.", "usage": usage}
    return {**good, "total_cost_usd": 0.5, **more}


SAID = {"type": "assistant", "uuid": "u-2", "message": {"id": "x", "content": [{"type": "text", "text": "Paris."}]}}


def arguments(turn: Turn, found: Installed = CURRENT) -> set[object]:
    return set(adapter.plan(turn, found).channel.argv)


class TestASession:
    def test_nothing_is_kept_without_one(self) -> None:
        assert "--no-session-persistence" in arguments(PLAIN)
        assert events(say(begun(PLAIN), init(), SAID, result())) == [Text(text="Paris.")]

    def test_it_is_named_by_us_and_gone_on_with_by_that_name(self) -> None:
        assert Value("--session-id=", ID) in arguments(NEW)
        assert {Value("--resume=", ID), "--system-prompt-snapshot"} <= arguments(AGAIN)
        for turn in (NEW, AGAIN, FORK):
            assert "--no-session-persistence" not in arguments(turn)
            assert adapter.plan(turn, CURRENT).channel.finish_s == FLUSH_S

    def test_a_flag_that_an_old_version_lacks_is_not_given_to_it(self) -> None:
        assert "--system-prompt-snapshot" not in arguments(AGAIN, OLD)

    def test_the_model_of_the_turn_before_does_not_stick(self) -> None:
        assert "--model=default" in arguments(AGAIN)
        assert "--model=default" not in arguments(NEW)
        assert "--model=default" not in arguments(Turn("t", "hi", model="opus", session=AGAIN.session))

    def test_a_copy_is_made_up_to_the_last_good_turn(self) -> None:
        assert {Value("--resume=", ID), "--fork-session", Value("--resume-session-at=", "u-1")} <= arguments(FORK)
        whole = Turn("t", "hi", session=Session(ID, is_new=False, fork=True))
        assert not any(isinstance(word, Value) and "session-at" in word.prefix for word in arguments(whole))

    def test_it_is_told_as_soon_as_it_is_known_and_its_turn_at_the_end(self) -> None:
        dialogue = begun(NEW)
        assert events(say(dialogue, init(), init())) == [Bound(native_session=ID)]
        acts = say(dialogue, SAID, result())
        assert events(acts)[-1] == Bound(native_session=ID, native_turn="u-2 0.5")
        assert acts.index(Emit("t", events(acts)[-1])) < [isinstance(act, Done) for act in acts].index(True)

    def test_a_copy_has_a_name_of_its_own(self) -> None:
        assert events(say(begun(FORK), init("other"))) == [Bound(native_session="other")]

    def test_another_one_than_the_one_asked_for_is_lost_and_its_answer_is_not_waited_for(self) -> None:
        acts = say(begun(AGAIN), init("other"))
        failed = outcome(acts)
        assert isinstance(failed, Failed)
        assert failed.session == "lost"
        assert [json.loads(act.data)["request"] for act in acts if isinstance(act, Write)] == [{"subtype": "interrupt"}]

    @pytest.mark.parametrize(
        "words",
        [f"No conversation found with session ID: {ID}", "No message found with message.uuid of: u-1"],
    )
    def test_one_that_is_gone_is_lost(self, words: str) -> None:
        line = result(subtype="error_during_execution", is_error=True, result=None, errors=[words], usage={})
        failed = outcome(say(begun(FORK), line))
        assert isinstance(failed, Failed)
        assert (failed.session, failed.error.code, failed.error.message) == ("lost", ErrorCode.BAD_REQUEST, words)

    def test_one_whose_name_is_taken_is_lost(self) -> None:
        dialogue = begun(NEW)
        list(dialogue.receive(Stream.STDERR, [f"Error: Session ID {ID} is already in use.".encode()]))
        failed = outcome(dialogue.closed(Exit(1)))
        assert isinstance(failed, Failed)
        assert failed.session == "lost"

    def test_without_one_such_words_are_a_failure_like_any_other(self) -> None:
        line = result(is_error=True, result="No conversation found with session ID: x")
        failed = outcome(say(begun(PLAIN), line))
        assert isinstance(failed, Failed)
        assert failed.session is None

    @pytest.mark.parametrize(
        ("turn", "cost"),
        [
            (NEW, 0.5),
            (AGAIN, 0.25),
            (Turn("t", "hi", session=Session(ID, is_new=False, last_turn="u-1 0.75")), 0.5),
            (Turn("t", "hi", session=Session(ID, is_new=False, last_turn="u-1")), None),
        ],
        ids=["new", "gone on with", "a total that began anew", "a total that is not known"],
    )
    def test_a_turns_cost_is_not_the_whole_sessions(self, turn: Turn, cost: float | None) -> None:
        done = outcome(say(begun(turn), init(), SAID, result()))
        assert isinstance(done, Completed)
        assert done.usage == Usage(input_tokens=12, cached_input_tokens=0, output_tokens=3, cost_usd=cost)

    @pytest.mark.parametrize("turn", [NEW, AGAIN], ids=["new", "gone on with"])
    def test_a_cost_that_no_number_can_hold_is_unknown(self, turn: Turn) -> None:
        done = outcome(say(begun(turn), init(), SAID, result(total_cost_usd=10**400)))
        assert isinstance(done, Completed)
        assert done.usage == Usage(input_tokens=12, cached_input_tokens=0, output_tokens=3)

    def test_what_an_old_version_counts_is_not_known(self) -> None:
        old = init() | {"claude_code_version": "2.1.197"}
        for turn, cost in ((NEW, 0.5), (AGAIN, None)):
            done = outcome(say(begun(turn), old, SAID, result()))
            assert isinstance(done, Completed)
            assert done.usage is not None
            assert done.usage.cost_usd == cost


def answering(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a turn in which the model used the tool that stands for the schema."""
    block: dict[str, Any] = {"type": "tool_use", "name": "StructuredOutput", "input": {}}
    pieces = json.dumps(answer)
    usage = {"input_tokens": 10, "cache_read_input_tokens": 2, "output_tokens": 1}
    stream: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m1", "usage": usage}},
        {"type": "content_block_start", "content_block": block},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": pieces[:5]}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": pieces[5:]}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}},
    ]
    use = {"type": "assistant", "uuid": "u-2", "message": {"id": "m1", "content": [{**block, "input": answer}]}}
    return [*({"type": "stream_event", "event": event} for event in stream), use, {"type": "user", "uuid": "u-3"}]


EXHAUSTED = result(
    subtype="error_max_structured_output_retries",
    is_error=True,
    result=None,
    terminal_reason="structured_output_retry_exhausted",
    errors=["Failed to provide valid structured output after 0 attempts"],
    usage={"input_tokens": 0, "output_tokens": 0},
)


class TestASchema:
    def test_the_answer_streams_as_text_comes_as_data_and_is_no_tool(self) -> None:
        answer = {"city": "Paris"}
        end = result(result='{"city":"Paris"}', structured_output=answer)
        acts = say(begun(TYPED), init(), *answering(answer), end)
        assert not [event for event in events(acts) if isinstance(event, Tool)]
        assert "".join(event.text for event in events(acts) if isinstance(event, Text)) == json.dumps(answer)
        done = outcome(acts)
        assert isinstance(done, Completed)
        assert (done.text, done.data) == ('{"city":"Paris"}', answer)

    def test_claude_asks_no_second_time_by_itself(self) -> None:
        assert adapter.plan(TYPED, CURRENT).channel.env["MAX_STRUCTURED_OUTPUT_RETRIES"] == "0"

    def test_an_answer_that_does_not_match_is_given_to_who_validates_with_its_tokens(self) -> None:
        done = outcome(say(begun(TYPED), init(), *answering({"town": "Paris"}), EXHAUSTED))
        assert isinstance(done, Completed)
        assert (done.text, done.data) == ('{"town": "Paris"}', {"town": "Paris"})
        assert done.usage == Usage(input_tokens=12, cached_input_tokens=2, output_tokens=3, cost_usd=0.5)

    def test_prose_is_too(self) -> None:
        acts = say(begun(TYPED), init(), SAID, EXHAUSTED)
        done = outcome(acts)
        assert isinstance(done, Completed)
        assert (done.text, done.data) == (None, None)
        assert events(acts) == [Text(text="Paris.")]

    def test_the_turn_ends_behind_the_tools_result(self) -> None:
        turn = Turn("t", "hi", schema=SCHEMA, session=Session(ID))
        end = result(result='{"city":"Paris"}', structured_output={"city": "Paris"})
        acts = say(begun(turn), init(), *answering({"city": "Paris"}), end)
        assert events(acts)[-1] == Bound(native_session=ID, native_turn="u-3 0.5")

    def test_a_version_that_cannot_be_told_of_it_is_not_taken_at_its_word(self) -> None:
        response = {"subtype": "error", "request_id": "initialize", "error": "Unsupported control request subtype"}
        acts = say(begun(TYPED), {"type": "control_response", "response": response}, init(), SAID, result())
        failed = outcome(acts)
        assert isinstance(failed, Failed)
        assert failed.error.next_step == "update claude"
        assert Close() in acts


class TestLimits:
    def test_how_hard_it_thinks_is_an_argument(self) -> None:
        assert Value("--effort=", "xhigh") in arguments(Turn("t", "hi", effort="xhigh"))

    def test_an_answer_ends_at_its_limit_instead_of_being_asked_for_three_times_more(self) -> None:
        turn = Turn("t", "hi", max_tokens=50)
        assert adapter.plan(turn, CURRENT).channel.env["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "50"
        assert "CLAUDE_CODE_MAX_OUTPUT_TOKENS" not in adapter.plan(PLAIN, CURRENT).channel.env
        start = {"type": "message_start", "message": {"id": "m1", "usage": {"input_tokens": 12}}}
        words = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Par"}}
        end = {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 50}}
        lines = [{"type": "stream_event", "event": event} for event in (start, words, end)]
        acts = say(begun(turn), init(), *lines, result())
        usage = Usage(input_tokens=12, cached_input_tokens=0, output_tokens=50)
        assert outcome(acts) == Completed(finish_reason="max_tokens", model="m", usage=usage, billing="subscription")
        assert events(acts) == [Text(text="Par")]
        assert [json.loads(act.data)["request"] for act in acts if isinstance(act, Write)] == [{"subtype": "interrupt"}]
        assert not [act for act in say(begun(PLAIN), init(), *lines) if isinstance(act, Done)]


def test_a_version_that_reads_nothing_from_a_file_does_not_go_on_without_us() -> None:
    with pytest.raises(Refused, match=r"2\.1\.197 cannot go on alone"):
        adapter.plan(Turn("t", "hi", detached=True), OLD)


def test_what_goes_on_without_us_is_told_everything_at_once_and_stopped_by_signals() -> None:
    turn = Turn("t", "hi", detached=True)
    dialogue = ClaudeDialogue()
    list(dialogue.start())
    *writes, end = dialogue.begin(turn)
    assert [json.loads(act.data)["type"] for act in writes if isinstance(act, Write)] == ["control_request", "user"]
    assert end == Close()
    assert adapter.plan(turn, CURRENT).channel.stop == STOP_BY_SIGNAL
