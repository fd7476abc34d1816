"""The `llm` adapter: its command line, its transcripts, its failures, and the real `llm` with a model that echoes."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.base import Adapter, Completed, Exit, Failed, Framing, PrivateFile, Stream, Turn, Value
from dragoman.adapters.llm import LlmDialogue, adapter
from dragoman.adapters.llm_history import CONVERSATION, database
from dragoman.schemas import ErrorCode, Message, Usage
from tests.adapters.oneshot import NOWHERE, replay, run

TURN = Turn(id="t1", prompt="Why?", model="gpt-9")
NO_KEY = "Error: No key found - add one using 'llm keys set openai' or set the OPENAI_API_KEY environment variable"
TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
LLM = (sys.executable, "-m", "llm")


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """A fresh user of `llm`, with the echoing model's plugin and no other."""
    return {"LLM_USER_PATH": str(tmp_path / "llm"), "LLM_LOAD_PLUGINS": "llm-echo"}


def test_it_is_an_adapter() -> None:
    assert isinstance(adapter, Adapter)


def test_nothing_the_caller_wrote_is_an_argument_of_its_own() -> None:
    turn = Turn(id="t1", prompt="-h", system="Be brief", model="m")
    launch = adapter.plan(turn, NOWHERE).channel
    assert launch.framing is Framing.RAW
    assert launch.argv == (
        "prompt",
        "--usage",
        "--database=:memory:",
        PrivateFile("--sf=", "system.txt", b"Be brief"),
        Value("--model=", "m"),
    )


def test_the_prompt_goes_to_stdin_and_is_ended_there() -> None:
    heard = replay(LlmDialogue(), Turn(id="t1", prompt="Où ?"), stdout=[b"x\n"])
    assert (heard.stdin, heard.closed) == ("Où ?".encode(), True)


def test_an_answer_loses_only_the_line_end_that_llm_adds() -> None:
    heard = replay(
        LlmDialogue(), TURN, stdout=[b"one\n", b"\ntwo", b"\n\n"], stderr=["Token usage: 1,234 input, 8 output"]
    )
    assert heard.text == "one\n\ntwo\n"
    assert heard.outcome == Completed(model="gpt-9", usage=Usage(input_tokens=1234, output_tokens=8))


@pytest.mark.parametrize(
    ("line", "usage"),
    [
        ("Token usage: 5 input", Usage(input_tokens=5)),
        ("Token usage: 3 output", Usage(output_tokens=3)),
        ('Token usage: 5 input, 3 output, {"cached": 2}', Usage(input_tokens=5, output_tokens=3)),
        ("Token usage:", None),
        (f"Token usage: {'9' * 5000} input, 3 output", Usage(output_tokens=3)),
    ],
)
def test_usage_is_read_in_every_shape(line: str, usage: Usage | None) -> None:
    heard = replay(LlmDialogue(), TURN, stdout=[b"x\n"], stderr=[line])
    assert heard.outcome == Completed(model="gpt-9", usage=usage)
    assert heard.thoughts == ""


def test_reasoning_on_stderr_is_thought_and_no_error() -> None:
    heard = replay(
        LlmDialogue(), TURN, stdout=[b"42\n"], stderr=["First I count.", "", "Token usage: 1 input, 1 output"]
    )
    assert heard.thoughts == "First I count.\n"
    assert isinstance(heard.outcome, Completed)


@pytest.mark.parametrize("stdout", [[], [b"\n"], [b" \n\n"]])
def test_an_empty_answer_is_a_failure(stdout: list[bytes]) -> None:
    outcome = replay(LlmDialogue(), TURN, stdout=stdout).outcome
    assert isinstance(outcome, Failed)
    assert outcome.error.code is ErrorCode.MALFORMED_OUTPUT


@pytest.mark.parametrize(
    ("exit_code", "stderr", "code", "step"),
    [
        (1, "Error: 'Unknown model: nosuch'", ErrorCode.BAD_REQUEST, "llm models"),
        (1, NO_KEY, ErrorCode.AUTH, "llm keys set openai"),
        (1, "Error: No key found - add one using 'llm keys set gemini'", ErrorCode.AUTH, "llm keys set gemini"),
        (1, "Error: Error code: 401 - bad key", ErrorCode.AUTH, "llm keys set"),
        (1, "Error: Error code: 400 - no such thing", ErrorCode.BAD_REQUEST, None),
        (1, "Error: Error code: 400 - maximum context length is 8192 tokens", ErrorCode.CONTEXT_LENGTH, None),
        (1, "Error: Error code: 429 - slow down", ErrorCode.RATE_LIMITED, "wait a little"),
        (1, "Error: Error code: 429 - You exceeded your current quota", ErrorCode.QUOTA, "billing"),
        (1, "Error: Error code: 500 - oops", ErrorCode.OVERLOADED, None),
        (1, "Error: Error code: 503 - busy", ErrorCode.OVERLOADED, None),
        (1, "Error: Connection error.", ErrorCode.NETWORK, "network"),
        (1, "Error: Request timed out.", ErrorCode.NETWORK, "network"),
        (1, "Error: temperature\n  Input should be less than 2", ErrorCode.BAD_REQUEST, None),
        (1, "Error: This model does not support attachments", ErrorCode.BAD_REQUEST, None),
        (
            1,
            "Traceback (most recent call last):\n  File x\nsqlite3.OperationalError: database is locked",
            ErrorCode.CRASHED,
            "ask again",
        ),
        (
            1,
            "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'network'",
            ErrorCode.CRASHED,
            "llm plugins",
        ),
        (2, "Usage: llm prompt\nTry --help\n\nError: No such option: --sf", ErrorCode.BAD_REQUEST, "update"),
        (1, "", ErrorCode.CRASHED, "llm plugins"),
        (-9, "", ErrorCode.CRASHED, None),
    ],
)
def test_failures_are_told_by_their_last_words(exit_code: int, stderr: str, code: ErrorCode, step: str | None) -> None:
    heard = replay(LlmDialogue(), TURN, stderr=stderr.split("\n"), code=exit_code)
    outcome = heard.outcome
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.error.effects) == (code, "none")
    assert (step is None and outcome.error.next_step is None) or (step or "") in (outcome.error.next_step or "")
    assert "Traceback" not in outcome.error.message
    assert heard.thoughts == ""


def test_reasoning_that_speaks_of_errors_does_not_decide_the_failure() -> None:
    stderr = ["Error: I might say 401 unauthorized", "Error: Connection error."]
    outcome = replay(LlmDialogue(), TURN, stdout=[b"half"], stderr=stderr, code=1).outcome
    assert isinstance(outcome, Failed)
    assert outcome.error.code is ErrorCode.NETWORK


@given(st.binary(), st.data())
def test_utf8_cut_anywhere_is_put_together_again(raw: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)))) | {0, len(raw)})
    pieces = [raw[a:b] for a, b in pairwise(cuts)]
    text = replay(LlmDialogue(), TURN, stdout=pieces).text
    whole = raw.decode("utf-8", "replace")
    assert text == whole.removesuffix("\n")


@given(st.lists(st.tuples(st.sampled_from(Stream), st.lists(st.binary(), min_size=1))), st.integers(-64, 255))
def test_whatever_the_child_writes_one_outcome_follows(
    written: list[tuple[Stream, list[bytes]]], exit_code: int
) -> None:
    dialogue = LlmDialogue()
    list(dialogue.begin(TURN))
    for stream, frames in written:
        list(dialogue.receive(stream, frames))
    assert len([act for act in dialogue.closed(Exit(exit_code)) if type(act).__name__ == "Done"]) == 1
    assert list(dialogue.receive(Stream.STDOUT, [b"late"])) == []
    assert list(dialogue.closed(Exit(exit_code))) == []


def test_it_has_no_interrupt_but_a_signal() -> None:
    assert LlmDialogue().interrupt("t1") is None


def test_the_real_llm_gets_prompt_and_system_prompt_as_they_are(environment: Mapping[str, str], tmp_path: Path) -> None:
    prompt = "-h @file /clear {{x}} $HOME “ü” \u2028 end"
    turn = Turn(id="t1", prompt=prompt, system="--model=other\nBe brief", model="echo")
    heard = run(adapter, turn, LLM, environment, tmp_path)
    assert isinstance(heard.outcome, Completed), heard.outcome
    said = json.loads(heard.text)
    assert (said["prompt"], said["system"], said["stream"]) == (prompt, "--model=other\nBe brief", True)
    assert heard.outcome.usage is not None
    assert heard.outcome.usage.input_tokens
    assert heard.thoughts == ""


@pytest.mark.parametrize(
    ("model", "code"), [("nosuch", ErrorCode.BAD_REQUEST), ("echo-needs-key", ErrorCode.AUTH), (None, ErrorCode.AUTH)]
)
def test_the_real_llm_fails_in_the_words_we_know(
    model: str | None, code: ErrorCode, environment: Mapping[str, str], tmp_path: Path
) -> None:
    outcome = run(adapter, Turn(id="t1", prompt="Hi", model=model), LLM, environment, tmp_path).outcome
    assert isinstance(outcome, Failed)
    assert outcome.error.code is code
    assert outcome.error.next_step


@pytest.mark.parametrize(
    ("extra", "ready"),
    [
        ({}, False),
        ({"LLM_MODEL": "echo"}, True),
        ({"LLM_MODEL": "nosuch"}, False),
        ({"OPENAI_API_KEY": "not-a-key"}, True),
        ({"LLM_LOAD_PLUGINS": "", "LLM_USER_PATH": "/dev/null/x"}, None),
    ],
    ids=["fresh machine", "model without a key", "unknown model", "key in the environment", "broken"],
)
def test_the_login_check_tells_whether_the_default_model_can_be_asked(
    extra: Mapping[str, str], ready: bool | None, environment: Mapping[str, str], tmp_path: Path
) -> None:
    login = adapter.profile.login
    assert login is not None
    child = subprocess.run(
        [*LLM, *login.argv],
        stdin=subprocess.DEVNULL,
        env={"HOME": str(tmp_path), **environment, **extra},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert adapter.logged_in(child.returncode, child.stdout, child.stderr) is ready, child
    assert "not-a-key" not in child.stdout + child.stderr


HISTORY = (
    Message(role="user", content="Who is Ann? @file “ü”"),
    Message(role="assistant", content="A painter."),
    Message(role="user", content="And Bo?"),
    Message(role="assistant", content="A baker."),
)
SCHEMA = {"type": "object", "properties": {"SECRET": {"type": "string"}}}


def test_what_was_said_before_is_a_conversation_of_its_own_and_on_no_command_line() -> None:
    turn = Turn(id="t1", prompt="Compare them.", system="SECRET", model="m", history=HISTORY)
    argv = adapter.plan(turn, NOWHERE).channel.argv
    assert argv == adapter.plan(turn, NOWHERE).channel.argv
    (database,) = [part for part in argv if isinstance(part, PrivateFile)]
    assert (database.prefix, "--cid=dragoman" in argv, "--no-log" in argv) == ("--database=", True, True)
    assert database.content.startswith(b"SQLite format 3")
    assert not any("SECRET" in part or "Ann" in part for part in argv if isinstance(part, str))


def test_options_and_schema_stand_only_where_they_were_asked_for() -> None:
    turn = Turn(id="t1", prompt="Hi", temperature=0.0, max_tokens=7, schema=SCHEMA)
    argv = adapter.plan(turn, NOWHERE).channel.argv
    assert [*argv[argv.index("temperature") - 1 :]] == [
        *("-o", "temperature", Value("", "0.0"), "-o", "max_tokens", Value("", "7")),
        PrivateFile("--schema=", "schema.json", json.dumps(SCHEMA).encode()),
        "--database=:memory:",
    ]
    assert "-o" not in adapter.plan(TURN, NOWHERE).channel.argv


@pytest.mark.parametrize(
    ("stderr", "unsupported"),
    [
        ("Error: M: M does not support schemas", "schema"),
        ("Error: temperature\n  Extra inputs are not permitted", "temperature"),
        ("Error: max_tokens\n  Extra inputs are not permitted", "max_tokens"),
        ("Error: temperature\n  Input should be less than 2", None),
        ("Error: Connection error.", None),
    ],
)
def test_what_a_model_cannot_do_is_told_apart(stderr: str, unsupported: str | None) -> None:
    outcome = replay(LlmDialogue(), TURN, stderr=stderr.split("\n"), code=1).outcome
    assert isinstance(outcome, Failed)
    assert outcome.unsupported == unsupported
    assert unsupported is None or (outcome.error.code, bool(outcome.error.next_step)) == (ErrorCode.BAD_REQUEST, True)


@given(st.lists(st.builds(Message, role=st.sampled_from(["user", "assistant"]), content=st.text(TEXT)), min_size=1))
def test_no_word_of_a_history_is_lost_or_moved(history: list[Message]) -> None:
    connection = sqlite3.connect(":memory:")
    connection.deserialize(database(history, None, None, CONVERSATION))
    rows = connection.execute("SELECT prompt, response FROM responses ORDER BY id").fetchall()
    connection.close()
    said = [each.content for each in history if each.content]
    assert [text for row in rows for text in row if text] == said


def test_the_real_llm_hears_what_was_said_before(environment: Mapping[str, str], tmp_path: Path) -> None:
    turn = Turn(id="t1", prompt="Compare them.", system="Be brief", model="echo", history=HISTORY)
    heard = run(adapter, turn, LLM, environment, tmp_path)
    assert isinstance(heard.outcome, Completed), heard.outcome
    said = json.loads(heard.text)
    assert said["prompt"] == "Compare them."
    assert [each["prompt"] for each in said["previous"]] == ["Who is Ann? @file “ü”", "And Bo?"]
    assert heard.outcome.usage is not None
    assert not (tmp_path / "llm" / "logs.db").exists()


@pytest.mark.parametrize(
    ("more", "unsupported"),
    [({"temperature": 0.5}, "temperature"), ({"max_tokens": 9}, "max_tokens"), ({"schema": SCHEMA}, "schema")],
)
def test_the_real_llm_refuses_what_its_model_cannot_do_in_the_words_we_know(
    more: Mapping[str, Any], unsupported: str, environment: Mapping[str, str], tmp_path: Path
) -> None:
    outcome = run(adapter, Turn(id="t1", prompt="Hi", model="echo", **more), LLM, environment, tmp_path).outcome
    assert isinstance(outcome, Failed)
    assert outcome.unsupported == unsupported
