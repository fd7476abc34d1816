"""The `local` adapter: the child's own words become events and failures with a next step."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters import local
from dragoman.adapters.base import Adapter, Completed, Exit, Failed, PrivateFile, Stream, Turn
from dragoman.adapters.local import LocalDialogue, adapter
from dragoman.local import __main__ as child
from dragoman.local import llm_plugin
from dragoman.schemas import ErrorCode, Usage
from tests.adapters.oneshot import NOWHERE, replay

TURN = Turn(id="t1", prompt="Capital of France?")


def test_it_is_an_adapter_that_needs_no_login_and_comes_last() -> None:
    assert isinstance(adapter, Adapter)
    profile = adapter.profile
    assert (profile.module, profile.login, profile.billing) == ("dragoman.local", None, "local")
    assert adapter.logged_in(0, "", "") is True
    assert profile.order > 50


def test_child_and_adapter_mean_the_same_words() -> None:
    assert (local.NOTICE, local.UNAVAILABLE) == (child.NOTICE, child.UNAVAILABLE)
    assert (local.CUT, local.LEFT_OUT) == (llm_plugin.CUT, llm_plugin.LEFT_OUT)


def test_the_command_line_carries_no_word_of_the_caller() -> None:
    turn = Turn(id="t1", prompt="-h", system="Be brief")
    assert adapter.plan(turn, NOWHERE).channel.argv == (
        "prompt",
        "--usage",
        "--database=:memory:",
        PrivateFile("--sf=", "system.txt", b"Be brief"),
    )


def test_the_reply_says_that_it_is_small_and_local() -> None:
    stderr = ["dragoman.local: fetching the model's weights: 32 %", "Token usage: 27 input, 8 output"]
    heard = replay(LocalDialogue(), TURN, stdout=[b"Paris.\n"], stderr=stderr)
    assert heard.text == "Paris."
    assert heard.notices == ["fetching the model's weights: 32 %", local.SMALL]
    usage = Usage(input_tokens=27, output_tokens=8)
    assert heard.outcome == Completed(model=local.MODEL, usage=usage, billing="local")


def test_an_answer_that_was_cut_says_so() -> None:
    heard = replay(LocalDialogue(), TURN, stdout=[b"a a a\n"], stderr=[f"{local.CUT} 256"])
    assert isinstance(heard.outcome, Completed)
    assert heard.outcome.finish_reason == "max_tokens"
    assert f"{local.CUT} 256" in heard.notices


def test_what_it_was_not_told_is_said() -> None:
    heard = replay(LocalDialogue(), TURN, stdout=[b"Paris.\n"], stderr=[f"{local.LEFT_OUT} 3"])
    assert heard.notices == [f"{local.LEFT_OUT} 3", local.SMALL]


def test_a_schema_that_no_grammar_can_hold_is_told_apart() -> None:
    stderr = [f"Error: smollm2 {llm_plugin.UNSUPPORTED}: error at #/items: schema must be an object"]
    outcome = replay(LocalDialogue(), TURN, stderr=stderr, code=1).outcome
    assert isinstance(outcome, Failed)
    assert (outcome.unsupported, outcome.error.code) == ("schema", ErrorCode.BAD_REQUEST)


@pytest.mark.parametrize(
    ("exit_code", "stderr", "code", "words"),
    [
        (69, ["Error: no network", "Next: Run `x fetch`"], ErrorCode.NOT_FOUND, "Run `x fetch`"),
        (-signal.SIGILL, [], ErrorCode.NOT_FOUND, "AVX2"),
        (1, ["Error: request (9999 tokens) exceeds the available context size"], ErrorCode.CONTEXT_LENGTH, "9999"),
        (-signal.SIGKILL, [], ErrorCode.CRASHED, "signal 9"),
    ],
)
def test_failures_say_what_to_do(exit_code: int, stderr: list[str], code: ErrorCode, words: str) -> None:
    outcome = replay(LocalDialogue(), TURN, stderr=stderr, code=exit_code).outcome
    assert isinstance(outcome, Failed)
    assert outcome.error.code is code
    assert words in f"{outcome.error.message} {outcome.error.next_step}"
    assert outcome.model == local.MODEL


@given(st.lists(st.tuples(st.sampled_from(Stream), st.lists(st.binary(), min_size=1))), st.integers(-64, 255))
def test_whatever_the_child_writes_one_outcome_follows(
    written: list[tuple[Stream, list[bytes]]], exit_code: int
) -> None:
    dialogue = LocalDialogue()
    list(dialogue.begin(TURN))
    for stream, frames in written:
        list(dialogue.receive(stream, frames))
    assert len([act for act in dialogue.closed(Exit(exit_code)) if type(act).__name__ == "Done"]) == 1


def test_weights_that_do_not_load_are_told_with_what_to_do() -> None:
    words = "Error: the model does not load from '/x.gguf': Failed to init server, please check the input params."
    outcome = replay(LocalDialogue(), TURN, stderr=[words], code=1).outcome
    assert isinstance(outcome, Failed)
    assert outcome.error.code is ErrorCode.NOT_FOUND
    assert outcome.error.message.startswith("the model does not load from '/x.gguf'")
    assert "remove that file" in (outcome.error.next_step or "")
