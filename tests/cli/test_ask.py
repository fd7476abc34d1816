"""``dragoman ask`` from outside: what it writes where, and how it ends."""

import json
import os
import signal
import subprocess
from typing import Any

import anyio
import pytest

from dragoman.cli.ask import STOPPED
from dragoman.engine.attempt.clocks import LATE_S
from dragoman.testing import FakeCli, Liveness
from tests.cli.harness import DRAGOMAN, Shell

ANSWER = [{"read": "all"}, {"out": "forty-two"}]
FAILURE_S = 120


def failing(message: str, code: int = 1) -> list[dict[str, Any]]:
    return [{"read": "all"}, {"err": f"Error: {message}\n"}, {"exit": code}]


def test_the_answer_alone_is_on_stdout_and_ends_with_one_newline(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"out": "a\n\nb\n\n\n"}, {"err": "Token usage: 3 input, 2 output\n"})
    ended = shell("ask", "llm", "question")
    assert (ended.code, ended.out, ended.err) == (0, b"a\n\nb\n", "")


def test_control_codes_and_every_character_reach_a_pipe_as_they_are(shell: Shell) -> None:
    text = "\x1b[31mé€😀\u2028\t"
    shell.llm({"read": "all"}, {"out": text})
    assert shell("ask", "llm", "question", LC_ALL="C").out == f"{text}\n".encode()


def test_one_word_is_the_prompt_for_the_first_provider_that_is_ready(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"echo_stdin": True, "as": "raw"})
    assert shell("ask", "what is this?").out == b"what is this?\n"


def test_a_provider_that_is_logged_out_is_not_chosen(shell: Shell) -> None:
    shell.llm(*ANSWER, login="no key")
    ended = shell("ask", "what is this?")
    assert ended.code == 3
    assert "dragoman: not_found: no provider is ready\nnext step: make one of these ready\n- " in ended.err
    # A line for each.
    assert "llm keys set" in next(line for line in ended.err.splitlines() if line.startswith("- llm: "))


@pytest.mark.parametrize("words", [("llm", "-"), ("-",), ("llm",), ()])
def test_the_prompt_is_read_from_stdin_where_it_is_asked_for_or_missing(shell: Shell, words: tuple[str, ...]) -> None:
    shell.llm({"read": "all"}, {"echo_stdin": True, "as": "raw"})
    assert shell("ask", *words, stdin="/help é\n@file".encode()).out == "/help é\n@file\n".encode()


def test_stdin_that_is_no_text_is_refused_with_its_place(shell: Shell) -> None:
    cli = shell.llm(*ANSWER)
    ended = shell("ask", "llm", "-", stdin=b"ab\xff")
    assert (ended.code, ended.err) == (2, "dragoman: stdin is not UTF-8 text: invalid start byte at byte 2\n")
    assert cli.starts == 0


@pytest.mark.parametrize("more", [(), ("--idempotency-key", "k")])
def test_words_that_are_no_text_are_told_as_text(shell: Shell, more: tuple[str, ...]) -> None:
    shell.llm({"read": "all"}, {"echo_stdin": True, "as": "raw"})
    ended = shell("ask", "llm", "ab\udcff", "-s", "\udcff", *more)
    assert (ended.code, ended.out.decode()) == (0, "ab�\n"), ended.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("llm", " "), "PROMPT: is empty; write a question"),
        (("llm", "hello", "-m", "-x"), "--model: is '-x': a model name does not begin with a dash"),
        (("llm", "hello", "--timeout", "-3"), "--timeout: -3.0 should be greater than 0; give another value"),
        (("llm", "hello", "world"), "3 words are too many; put the prompt in quotes"),
    ],
)
def test_words_that_make_no_question_are_explained(shell: Shell, words: tuple[str, ...], complaint: str) -> None:
    ended = shell("ask", *words)
    assert (ended.code, ended.out, ended.err) == (2, b"", f"dragoman: {complaint}\n")


def test_model_and_system_prompt_reach_the_provider(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"argv": True, "as": "raw"})
    argv = json.loads(shell("ask", "llm", "-m", "some-model", "-s", "be brief", "hello").out)
    assert any(argument.endswith("some-model") for argument in argv)
    assert any(argument.startswith("--sf=") for argument in argv)


def test_json_is_one_object_with_the_reply(shell: Shell) -> None:
    shell.llm(*ANSWER)
    ended = shell("ask", "llm", "hello", "--json")
    reply = json.loads(ended.out)
    assert (ended.code, reply["status"], reply["text"], reply["provider"]) == (0, "completed", "forty-two", "llm")
    assert ended.out.count(b"\n") == 1


@pytest.mark.parametrize("more", [["--background"], ["--idempotency-key=k"], ["--last"]])
def test_json_is_one_object_also_when_nothing_could_begin(shell: Shell, more: list[str]) -> None:
    ended = shell("ask", "lmm", "hello", "--json", *more)
    reply = json.loads(ended.out)
    assert (ended.code, reply["status"], reply["error"]["code"]) == (3, "failed", "not_found")
    assert reply["error"]["next_step"] in ended.err


def test_json_is_one_object_for_a_failure_too(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"out": "half an ans"}, {"err": "Error: Error code: 429 - slow down\n"}, {"exit": 1})
    ended = shell("ask", "llm", "hello", "--json")
    reply = json.loads(ended.out)
    assert (ended.code, reply["status"], reply["error"]["code"]) == (5, "failed", "rate_limited")
    assert reply["text"] == "half an ans"


def test_what_came_before_a_failure_is_kept_and_the_failure_is_on_stderr(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"out": "half an ans"}, {"err": "Error: Error code: 503 - later\n"}, {"exit": 1})
    ended = shell("ask", "llm", "hello")
    assert (ended.code, ended.out) == (7, b"half an ans\n")
    assert ended.err.startswith("dragoman: overloaded: ")


@pytest.mark.parametrize(
    ("code", "kind", "steps"),
    [
        (4, "auth", failing("No key found - add one using 'llm keys set openai'")),
        (5, "rate_limited", failing("Error code: 429 - too many requests")),
        (5, "quota", failing("Error code: 429 - you exceeded your current quota")),
        (7, "overloaded", failing("Error code: 503 - overloaded")),
        (7, "network", failing("Connection error.")),
        (8, "refused", failing("Error code: 400 - rejected by our content policy")),
        (9, "bad_request", failing("Unknown model: nope")),
        (9, "context_length", failing("Error code: 400 - over the context length")),
        (10, "malformed_output", [{"read": "all"}]),
        (11, "crashed", [{"read": "all"}, {"signal_self": "SEGV"}]),
    ],
)
def test_the_exit_code_tells_the_class_of_the_failure(
    shell: Shell, code: int, kind: str, steps: list[dict[str, Any]]
) -> None:
    shell.llm(*steps)
    ended = shell("ask", "llm", "hello")
    assert (ended.code, ended.out) == (code, b"")
    assert ended.err.startswith(f"dragoman: {kind}: ")


@pytest.mark.parametrize(
    ("code", "kind", "variables"),
    [
        (3, "not_found", {"DRAGOMAN_PROVIDERS__LLM__COMMAND": "no-such-program"}),
        (8, "policy", {"DRAGOMAN_DEPTH": "9"}),
        (9, "prompt_too_large", {"DRAGOMAN_LIMITS__PROMPT_BYTES": "3"}),
        (10, "output_limit", {"DRAGOMAN_LIMITS__CAPTURE_BYTES": "3"}),
    ],
)
def test_the_exit_code_tells_what_dragoman_itself_refused(
    shell: Shell, code: int, kind: str, variables: dict[str, str]
) -> None:
    shell.llm({"read": "all"}, {"out": "hello"})
    ended = Shell(shell.folder, shell.variables | variables)("ask", "llm", "hello")
    assert ended.code == code
    assert f"dragoman: {kind}: " in ended.err
    assert "next step: " in ended.err


def test_the_timeout_is_the_clock_of_the_call(shell: Shell) -> None:
    shell.llm({"pause": True})
    ended = shell("ask", "llm", "hello", "--timeout", "0.3")
    assert ended.code == 6
    assert "dragoman: timeout: " in ended.err
    assert "`call` clock" in ended.err


def test_a_folder_that_is_typed_is_one_the_provider_may_look_at(shell: Shell) -> None:
    result = {"type": "result", "subtype": "success", "is_error": False, "result": "seen"}
    FakeCli(shell.folder / "bin", "claude", version="2.1.329").script(
        {"read": "line"}, {"cwd": True, "as": "notice"}, {"line": result}
    )
    elsewhere = shell.folder / "elsewhere"
    elsewhere.mkdir()
    assert shell("ask", "claude", "hello", "--cwd", str(elsewhere)).code == 0
    ended = shell("ask", "claude", "hello", "--cwd", str(elsewhere / "nowhere"))
    assert ended.code == 2
    assert "--cwd" in ended.err


@pytest.mark.parametrize(("name", "complaint"), [("", "it is empty"), ("nowhere", "there is no folder")])
def test_a_folder_that_is_none_is_wrong_usage(shell: Shell, name: str, complaint: str) -> None:
    cli = shell.llm(*ANSWER)
    ended = shell("ask", "llm", "hello", "--cwd", name)
    assert (ended.code, complaint in ended.err, cli.starts) == (2, True, 0), ended.err


def test_quiet_leaves_only_errors_on_stderr(shell: Shell) -> None:
    (shell.work / "dragoman.toml").write_text('[providers.llm]\ncommand = "evil"\n')
    shell.llm(*ANSWER)
    assert "is ignored" in shell("ask", "llm", "hello").err
    assert shell("ask", "llm", "hello", "-q").err == ""


@pytest.mark.anyio
async def test_text_is_written_as_it_comes(shell: Shell) -> None:
    with anyio.fail_after(FAILURE_S):
        async with Liveness() as live:
            shell.llm({"read": "all"}, live.connect(), {"out": "first "}, {"wait": "gate"}, {"out": "second"})
            argv = [*DRAGOMAN, "ask", "llm", "hello"]
            async with await anyio.open_process(argv, cwd=shell.work, env=shell.variables) as process:
                assert process.stdout is not None
                assert await process.stdout.receive() == b"first "
                await live.connected()
                await live.release()
                assert b"".join([piece async for piece in process.stdout]) == b"second\n"
                assert await process.wait() == 0


@pytest.mark.anyio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_to_stop_ends_the_call_and_its_child(shell: Shell, number: signal.Signals) -> None:
    with anyio.fail_after(FAILURE_S):
        async with Liveness() as live:
            shell.llm({"read": "all"}, {"out": "begun"}, {"ignore": ["TERM"]}, live.connect(), {"pause": True})
            argv = [*DRAGOMAN, "ask", "llm", "hello"]
            async with await anyio.open_process(argv, cwd=shell.work, env=shell.variables) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                await live.connected()
                assert await process.stdout.receive() == b"begun"
                process.send_signal(number)
                assert [piece async for piece in process.stdout] == [b"\n"]
                assert [piece async for piece in process.stderr] == [f"{STOPPED}\n".encode()]
                assert await process.wait() == 130
                await live.all_gone()


@pytest.mark.anyio
async def test_a_hangup_that_is_ignored_from_outside_stays_ignored(shell: Shell) -> None:
    with anyio.fail_after(FAILURE_S):
        async with Liveness() as live:
            shell.llm({"read": "all"}, live.connect(), {"wait": "gate"}, {"out": "forty-two"})
            argv = ["/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh", *DRAGOMAN, "ask", "llm", "hello"]
            async with await anyio.open_process(argv, cwd=shell.work, env=shell.variables) as process:
                assert process.stdout is not None
                await live.connected()
                process.send_signal(signal.SIGHUP)
                await live.release()
                assert b"".join([piece async for piece in process.stdout]) == b"forty-two\n"
                assert await process.wait() == 0


@pytest.mark.anyio
async def test_what_a_cli_says_while_the_command_is_stopped_by_ctrl_z_is_no_silence(shell: Shell) -> None:
    idle_s = 1
    variables = {**shell.variables, "DRAGOMAN_PROVIDERS__LLM__TIMEOUTS__IDLE": str(idle_s)}
    with anyio.fail_after(FAILURE_S):
        async with Liveness() as live:
            steps = [{"out": "begun, "}, live.connect(), {"wait": "gate"}, {"out": "forty-two"}]
            shell.llm({"read": "all"}, *steps)
            argv = [*DRAGOMAN, "ask", "llm", "hello"]
            async with await anyio.open_process(argv, cwd=shell.work, env=shell.variables | variables) as process:
                assert process.stdout is not None
                assert await process.stdout.receive() == b"begun, "
                process.send_signal(signal.SIGSTOP)
                await live.connected()
                await live.release()
                await live.all_gone()
                await anyio.sleep(idle_s + LATE_S + 0.2)  # its clock would have fired
                process.send_signal(signal.SIGCONT)
                assert b"".join([piece async for piece in process.stdout]) == b"forty-two\n"
                assert await process.wait() == 0


@pytest.mark.anyio
async def test_a_cancelled_call_is_one_object_for_a_program(shell: Shell) -> None:
    with anyio.fail_after(FAILURE_S):
        async with Liveness() as live:
            shell.llm({"read": "all"}, {"out": "begun"}, live.connect(), {"pause": True})
            argv = [*DRAGOMAN, "ask", "llm", "hello", "--json"]
            async with await anyio.open_process(argv, cwd=shell.work, env=shell.variables) as process:
                assert process.stdout is not None
                await live.connected()
                process.send_signal(signal.SIGINT)
                reply = json.loads(b"".join([piece async for piece in process.stdout]))
                assert (reply["status"], reply["error"]["code"]) == ("cancelled", "cancelled")
                assert await process.wait() == 130


@pytest.mark.anyio
async def test_a_reader_that_goes_away_ends_the_call_without_a_word(shell: Shell) -> None:
    with anyio.fail_after(FAILURE_S):
        async with Liveness() as live:
            shell.llm({"read": "all"}, live.connect(), {"wait": "gate"}, {"spew": 1_000_000}, {"pause": True})
            reader, writer = os.pipe()
            argv = [*DRAGOMAN, "ask", "llm", "hello"]
            async with await anyio.open_process(argv, cwd=shell.work, env=shell.variables, stdout=writer) as process:
                os.close(writer)
                assert process.stderr is not None
                await live.connected()
                os.close(reader)
                await live.release()
                assert [piece async for piece in process.stderr] == []
                assert await process.wait() == 141
                await live.all_gone()


def test_ask_does_not_load_the_server(shell: Shell) -> None:
    shell.llm(*ANSWER)
    program = "import sys; from dragoman.cli import main; main(sys.argv[1:]); print('mcp' in sys.modules)"
    done = subprocess.run(
        (*DRAGOMAN[:1], "-c", program, "ask", "llm", "hello"),
        capture_output=True,
        cwd=shell.work,
        env=shell.variables,
        check=True,
    )
    assert done.stdout == b"forty-two\nFalse\n"
