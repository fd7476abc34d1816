"""The gemini adapter on what gemini 0.61.0 (ACP) and 0.30.0 (stream-json) wrote; no process."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dragoman.adapters.base import (
    Act,
    Completed,
    Done,
    Emit,
    Failed,
    Installed,
    Outcome,
    Poison,
    PrivateFile,
    PrivatePath,
    Refused,
    Stdout,
    Turn,
    UserFile,
    Value,
    Write,
)
from dragoman.adapters.gemini import adapter, errors
from dragoman.adapters.gemini.lean import READING_TOOLS, SETTINGS
from dragoman.schemas import Billing, ErrorCode, Retrying, Text, Tool, Usage
from dragoman.testing import check_adapter
from dragoman.testing.conformance import Move, play

FOLDER = Path(__file__).with_name("transcripts") / "gemini"
NEW = Installed(Path("gemini"), (0, 61, 0), "0.61.0")
OLD = Installed(Path("gemini"), (0, 30, 0), "0.30.0")
HELLO = Turn("t", "hello", runs_in=Path("/private/work"))
IN_FOLDER = Turn("t", "hello", cwd=Path("/project"))


def transcript(name: str) -> list[bytes]:
    return (FOLDER / f"{name}.jsonl").read_bytes().splitlines()


def played(name: str, *, found: Installed = NEW, turn: Turn = HELLO, end: int = 0) -> list[Act]:
    moves: list[Move] = [("out", line + b"\n") for line in transcript(name)]
    return play(adapter.dialogue(adapter.plan(turn, found)), [*moves, ("exit", end)], turn)


def outcome(acts: Iterable[Act]) -> Outcome:
    [done] = [act for act in acts if isinstance(act, Done)]
    return done.outcome


def sent(acts: Iterable[Act]) -> list[dict[str, Any]]:
    return [json.loads(act.data) for act in acts if isinstance(act, Write)]


def texts(acts: Iterable[Act]) -> list[str]:
    return [act.event.text for act in acts if isinstance(act, Emit) and isinstance(act.event, Text)]


def settings(found: Installed = NEW, turn: Turn = HELLO) -> dict[str, Any]:
    content = adapter.plan(turn, found).channel.files[SETTINGS]
    assert isinstance(content, bytes)
    return json.loads(content)


def policy(turn: Turn) -> list[dict[str, Any]]:
    [file] = [argument for argument in adapter.plan(turn, NEW).channel.argv if isinstance(argument, PrivateFile)]
    assert file.prefix == "--policy="
    return tomllib.loads(file.content.decode())["rule"]


@pytest.mark.parametrize(("found", "name"), [(NEW, "tool"), (NEW, "429"), (OLD, "old-answer"), (OLD, "old-401")])
def test_it_keeps_the_contract(found: Installed, name: str) -> None:
    check_adapter(adapter, found, transcript=transcript(name))


def test_an_answer_is_streamed_and_ends_with_its_tokens_and_model() -> None:
    acts = played("answer")
    assert texts(acts) == ["The cap", "ital is", " Paris."]
    usage = Usage(input_tokens=12, output_tokens=3)
    assert outcome(acts) == Completed(
        text="The capital is Paris.", model="gemini-3.8-flash", usage=usage, billing="metered"
    )


def test_the_session_is_opened_where_it_runs_without_files_terminals_and_servers_of_ours() -> None:
    hello, session, prompt = sent(played("answer"))
    assert hello["params"]["clientCapabilities"] == {
        "fs": {"readTextFile": False, "writeTextFile": False},
        "terminal": False,
    }
    assert session["params"] == {"cwd": "/private/work", "mcpServers": []}
    assert prompt["params"]["prompt"] == [{"type": "text", "text": "hello"}]


def test_what_is_said_before_a_tool_is_streamed_and_is_no_part_of_the_answer() -> None:
    acts = played("tool")
    assert "".join(texts(acts)) == "I will look. \n\nThe capital is Paris."
    done = outcome(acts)
    assert isinstance(done, Completed)
    assert (done.text, done.model) == ("The capital is Paris.", "gemini-3.8-flash")
    [tool] = [act.event for act in acts if isinstance(act, Emit) and isinstance(act.event, Tool)]
    assert tool == Tool(name="read", detail="/project/notes.txt", reads_only=True)


@pytest.mark.parametrize(
    ("name", "code", "words", "step"),
    [
        ("400", ErrorCode.BAD_REQUEST, "the request is not valid (INVALID_ARGUMENT)", None),
        ("401", ErrorCode.AUTH, "the API key is not valid", "run `gemini`"),
        ("403", ErrorCode.AUTH, "this key may not use this model", "run `gemini`"),
        ("bad-key", ErrorCode.AUTH, "API key not valid", "run `gemini`"),
        ("no-key", ErrorCode.AUTH, "API key is missing", "run `gemini`"),
        ("sign-in-wanted", ErrorCode.AUTH, "nobody is logged in", "run `gemini`"),
        ("no-model", ErrorCode.BAD_REQUEST, "models/x is not found", "flash or pro"),
        ("429", ErrorCode.RATE_LIMITED, "too many requests", None),
        ("daily-quota", ErrorCode.QUOTA, "exhausted your daily quota", "another `model`"),
        ("500", ErrorCode.OVERLOADED, "something broke inside (INTERNAL)", None),
        ("503", ErrorCode.OVERLOADED, "not available", None),
        ("refused-connection", ErrorCode.NETWORK, "fetch failed", None),
        ("stream-cut", ErrorCode.NETWORK, "broke off", None),
        ("blocked", ErrorCode.MALFORMED_OUTPUT, "was blocked", "rephrase"),
        ("empty", ErrorCode.MALFORMED_OUTPUT, "it was empty", "ask again"),
        ("cancelled", ErrorCode.CANCELLED, "interrupted", None),
    ],
)
def test_every_failure_is_known_by_its_code(name: str, code: ErrorCode, words: str, step: str | None) -> None:
    failed = outcome(played(name))
    assert isinstance(failed, Failed)
    assert failed.error.code is code, failed.error
    assert words in failed.error.message
    assert step is None or step in (failed.error.next_step or "")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("too many requests", ErrorCode.RATE_LIMITED),
        ("the service is not available", ErrorCode.OVERLOADED),
        ("Model stream ended without a finish reason.", ErrorCode.NETWORK),
    ],
)
def test_a_500_that_stands_for_something_else_is_known_by_its_words(words: str, code: ErrorCode) -> None:
    """As 0.36.0 sends it."""
    answer = {"jsonrpc": "2.0", "id": 3, "error": {"code": 500, "message": words}}
    lines = (*transcript("answer")[:2], json.dumps(answer).encode())
    moves: list[Move] = [("out", line + b"\n") for line in lines]
    failed = outcome(play(adapter.dialogue(adapter.plan(HELLO, NEW)), moves))
    assert isinstance(failed, Failed)
    assert failed.error.code is code


def test_how_long_to_wait_is_told() -> None:
    failed = outcome(played("retry-after"))
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.retry_after_s) == (ErrorCode.RATE_LIMITED, 30)


def test_a_prompt_that_the_model_cannot_hold_is_told_as_that() -> None:
    lines = transcript("answer")
    overflow = {"jsonrpc": "2.0", "id": 3, "result": {"stopReason": "max_tokens"}}
    moves: list[Move] = [("out", line + b"\n") for line in (*lines[:3], json.dumps(overflow).encode())]
    failed = outcome(play(adapter.dialogue(adapter.plan(HELLO, NEW)), moves))
    assert isinstance(failed, Failed)
    assert failed.error.code is ErrorCode.CONTEXT_LENGTH


def test_a_login_asked_for_on_the_wire_makes_the_process_useless() -> None:
    dialogue = adapter.dialogue(adapter.plan(HELLO, NEW))
    acts = play(dialogue, [("out", transcript("sign-in-wanted")[0] + b"\n")])
    assert any(isinstance(act, Poison) for act in acts)
    failed = outcome(dialogue.begin(Turn("next", "hello")))
    assert isinstance(failed, Failed)
    assert failed.error.code is ErrorCode.AUTH


@pytest.mark.parametrize(
    ("exit_code", "stderr", "code"),
    [
        (1, "Unknown argument: acp", ErrorCode.BAD_REQUEST),
        (1, "API key not valid. Please pass a valid API key.", ErrorCode.AUTH),
        (41, "Please set an Auth method in your settings", ErrorCode.AUTH),
        (42, "No input provided via stdin", ErrorCode.CRASHED),
        (42, "Error resuming session: Invalid session identifier", ErrorCode.BAD_REQUEST),
        (44, "GEMINI_SANDBOX is true but failed", ErrorCode.POLICY),
        (52, "Error in settings.json", ErrorCode.INTERNAL),
        (53, "Reached max session turns", ErrorCode.OUTPUT_LIMIT),
        (55, "Gemini CLI is not running in a trusted directory", ErrorCode.POLICY),
        (401 % 256, "", ErrorCode.AUTH),
        (403 % 256, "", ErrorCode.AUTH),
        (429 % 256, "", ErrorCode.RATE_LIMITED),
        (503 % 256, "", ErrorCode.OVERLOADED),
        (137, "", ErrorCode.CRASHED),
        (-9, "", ErrorCode.CRASHED),
    ],
)
@pytest.mark.parametrize("found", [NEW, OLD])
def test_an_exit_in_mid_turn_is_told_by_its_code(
    found: Installed, exit_code: int, stderr: str, code: ErrorCode
) -> None:
    said: list[Move] = [("err", f"{stderr}\n".encode())] if stderr else []
    failed = outcome(play(adapter.dialogue(adapter.plan(HELLO, found)), [*said, ("exit", exit_code)]))
    assert isinstance(failed, Failed)
    assert failed.error.code is code, failed.error
    assert stderr in failed.error.message


@pytest.mark.parametrize(("found", "code"), [(NEW, ErrorCode.CRASHED), (OLD, ErrorCode.MALFORMED_OUTPUT)])
def test_to_end_well_in_mid_turn_is_no_success(found: Installed, code: ErrorCode) -> None:
    failed = outcome(play(adapter.dialogue(adapter.plan(HELLO, found)), [("exit", 0)]))
    assert isinstance(failed, Failed)
    assert failed.error.code is code


@pytest.mark.parametrize(
    ("variables", "chosen", "login", "billing"),
    [
        ((), None, "gemini-api-key", "metered"),
        ((), "oauth-personal", "oauth-personal", "subscription"),
        ((), "vertex-ai", "vertex-ai", "metered"),
        (("GOOGLE_GENAI_USE_GCA",), None, "oauth-personal", "subscription"),
        (("GEMINI_API_KEY",), "oauth-personal", "gemini-api-key", "metered"),
        (("GOOGLE_GENAI_USE_VERTEXAI",), "oauth-personal", "vertex-ai", "metered"),
        ((), "cloud-shell", "cloud-shell", None),
    ],
)
def test_it_logs_in_as_the_user_does_and_says_who_pays(
    variables: tuple[str, ...], chosen: str | None, login: str, billing: Billing | None
) -> None:
    found = Installed(
        Path("gemini"),
        (0, 61, 0),
        environment=frozenset(variables),
        settings={"login": chosen} if chosen else {},
    )
    assert settings(found)["security"]["auth"] == {"selectedType": login}
    done = outcome(played("answer", found=found))
    assert isinstance(done, Completed)
    assert done.billing == billing


def test_the_users_login_is_linked_and_everything_else_is_ours() -> None:
    launch = adapter.plan(HELLO, NEW).channel
    links = {name: file.paths for name, file in launch.files.items() if isinstance(file, UserFile)}
    assert links == {
        ".env": (".gemini/.env", ".env"),
        "home/.gemini/oauth_creds.json": (".gemini/oauth_creds.json",),
        "home/.gemini/google_accounts.json": (".gemini/google_accounts.json",),
        "home/.gemini/gemini-credentials.json": (".gemini/gemini-credentials.json",),
    }
    assert launch.env["GEMINI_CLI_HOME"] == PrivatePath("home")
    assert launch.runs_in is not None
    assert not any(name.startswith(f"{launch.runs_in.name}/") for name in launch.files)


def test_without_a_folder_it_has_no_tools() -> None:
    assert settings()["tools"]["core"] == []
    assert policy(HELLO) == [{"toolName": "*", "decision": "deny", "priority": 998}]


def test_with_a_folder_it_may_read_that_and_do_nothing_else() -> None:
    assert settings(turn=IN_FOLDER)["tools"]["core"] == list(READING_TOOLS)
    *allowed, rest = policy(IN_FOLDER)
    assert {rule["toolName"] for rule in allowed} == set(READING_TOOLS)
    assert rest == {"toolName": "*", "decision": "deny", "priority": 998}
    assert Value("--include-directories=", "/project") in adapter.plan(IN_FOLDER, NEW).channel.argv


def test_a_folder_that_its_option_cannot_name_is_refused() -> None:
    with pytest.raises(Refused, match="comma"):
        adapter.plan(Turn("t", "hi", cwd=Path("/a,b")), NEW)


@pytest.mark.parametrize(("model", "named"), [(None, "flash"), ("pro", "pro")])
def test_a_model_is_always_named_so_that_none_is_asked_which_to_take(model: str | None, named: str) -> None:
    assert Value("--model=", named) in adapter.plan(Turn("t", "hi", model=model), NEW).channel.argv


def test_an_old_version_writes_into_a_file_and_is_not_given_a_folder() -> None:
    launch = adapter.plan(HELLO, OLD).channel
    assert launch.stdout is Stdout.FILE
    assert "--output-format=stream-json" in launch.argv
    with pytest.raises(Refused, match=r"0\.30\.0 puts files"):
        adapter.plan(IN_FOLDER, OLD)


def test_an_old_version_answers() -> None:
    acts = played("old-answer", found=OLD)
    assert texts(acts) == ["The cap", "ital is", " Paris."]
    usage = Usage(input_tokens=12, cached_input_tokens=0, output_tokens=3)
    assert outcome(acts) == Completed(text="The capital is Paris.", usage=usage, billing="metered")


@pytest.mark.parametrize(
    ("name", "code"),
    [("old-401", ErrorCode.AUTH), ("old-cut", ErrorCode.NETWORK), ("old-empty", ErrorCode.MALFORMED_OUTPUT)],
)
def test_an_old_versions_failures_are_known(name: str, code: ErrorCode) -> None:
    failed = outcome(played(name, found=OLD, end=1))
    assert isinstance(failed, Failed)
    assert failed.error.code is code, failed.error


def test_a_failed_result_is_told_by_the_exit_code_and_not_by_geminis_advice() -> None:
    words = "[API Error: slow down]\nPlease wait. To increase your limits, request a quota increase"
    result = json.dumps({"type": "result", "status": "error", "error": {"message": words}, "stats": {}}).encode()
    acts = play(adapter.dialogue(adapter.plan(HELLO, OLD)), [("out", result + b"\n"), ("exit", 429 % 256)])
    failed = outcome(acts)
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.message) == (ErrorCode.RATE_LIMITED, "slow down")


def test_an_old_version_is_not_waited_for_while_it_retries() -> None:
    line = b'Attempt 1 failed with status 503. Retrying with backoff... ApiError: {"error":{"message":"busy"}}\n'
    acts = play(adapter.dialogue(adapter.plan(HELLO, OLD)), [("err", line), ("exit", 0)])
    assert any(isinstance(act, Emit) and isinstance(act.event, Retrying) for act in acts)
    failed = outcome(acts)
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.message) == (ErrorCode.OVERLOADED, "busy")


def test_a_count_of_retries_that_cannot_be_costs_no_answer() -> None:
    line = f"Attempt {'9' * 5000} failed with status 503. Retrying\n".encode()
    said = b'{"type":"message","role":"assistant","content":"x"}\n{"type":"result","status":"success"}\n'
    acts = play(adapter.dialogue(adapter.plan(HELLO, OLD)), [("err", line), ("out", said), ("exit", 0)])
    assert isinstance(outcome(acts), Completed)


def test_to_an_old_version_no_name_of_a_file_and_no_command_is_sent_as_one() -> None:
    turn = Turn("t", "/quit and mail bob@x.com about @notes.txt, not \\@this")
    acts = play(adapter.dialogue(adapter.plan(turn, OLD)), [], turn)
    [prompt] = [act.data.decode() for act in acts if isinstance(act, Write)]
    assert prompt == "The message:\n\n/quit and mail bob\\@x.com about \\@notes.txt, not \\@this"


def test_nobody_can_tell_whether_somebody_is_logged_in() -> None:
    assert adapter.logged_in(0, "", "") is None


@pytest.mark.parametrize(
    ("warning", "models", "code"),
    [
        ("", {}, ErrorCode.CONTEXT_LENGTH),
        ("", {"gemini-3.8-flash": {}}, ErrorCode.MALFORMED_OUTPUT),
        ("", None, ErrorCode.MALFORMED_OUTPUT),
        ("Loop detected, stopping execution", {}, ErrorCode.MALFORMED_OUTPUT),
    ],
)
def test_a_run_that_asked_no_model_had_a_prompt_that_was_too_long(
    warning: str, models: object, code: ErrorCode
) -> None:
    assert errors.unanswered(warning, models).code is code
