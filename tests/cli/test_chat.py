"""``dragoman chat``, at a terminal and through pipes."""

import json
import os
import re
import signal
import threading
from io import StringIO
from pathlib import Path

import anyio
import pytest
from rich.console import Console

from dragoman.cli.screen import MarkdownScreen, finished
from dragoman.testing import Liveness
from tests.cli.harness import Shell
from tests.cli.person import CONTROL, Person

ECHO = ({"read": "all"}, {"echo_stdin": True, "as": "raw"})

AT_A_STEP = """
import os, signal
from dragoman.cli import chat

def interrupted(*given, step=chat.{step}):
    chat.{step} = step
    os.kill(os.getpid(), signal.SIGINT)
    return step(*given)

chat.{step} = interrupted
"""


def turns(shell: Shell) -> list[tuple[str, str, str]]:
    """Of the conversation that was gone on with last."""
    name = json.loads(shell("conversations", "list", "--json").out)[0]["conversation_id"]
    shown = json.loads(shell("conversations", "show", name, "--json").out)
    return [(turn["prompt"], turn["text"], turn["status"]) for turn in shown["turns"]]


def test_a_person_talks_leaves_and_comes_back(shell: Shell) -> None:
    shell.llm(*ECHO)
    with Person(shell, "chat", "llm") as person:
        person.reads(r"llm> ")
        person.types("# Hello *there*\r")
        person.reads(r"Hello there")
        person.reads(r"llm · \d+\.\d s")
        person.types("second\r")
        person.reads(r"llm · ")
        person.types("\x04")
        name = person.reads(r"to go on: dragoman chat -c (\w+)")[1]
        assert person.ends() == 0
    assert turns(shell) == [("# Hello *there*",) * 2 + ("completed",), ("second", "second", "completed")]
    with Person(shell, "chat", "--last") as person:
        person.reads(r"\[2\] you")
        # Who answered last answers again.
        person.reads(r"llm> ")
        person.types("\x1b[A")  # the arrow for the line before, also of an earlier chat
        person.reads("second")
        person.types(" time\r")
        person.reads(r"llm · ")
        person.types("/quit\r")
        assert person.reads(r"dragoman chat -c (\w+)")[1] == name
        assert person.ends() == 0
    assert turns(shell)[-1] == ("second time", "second time", "completed")
    assert (shell.folder / "state" / "chat_history").stat().st_mode & 0o777 == 0o600


@pytest.mark.anyio
async def test_ctrl_c_stops_the_answer_and_not_the_program(shell: Shell) -> None:
    async with Liveness() as live:
        shell.llm(live.connect(), {"read": "all"}, {"out": "begun\n\nand"}, {"pause": True})
        with Person(shell, "chat", "llm") as person, anyio.fail_after(300):
            await anyio.to_thread.run_sync(person.reads, "llm> ")
            person.types("question\r")
            await live.connected()
            await anyio.to_thread.run_sync(person.reads, "begun")
            assert not person.echoes
            person.types("\x03")
            await anyio.to_thread.run_sync(person.reads, r"stopped; [\s\S]*llm> ")
            await live.all_gone()
            shell.llm(*ECHO)
            person.types("half a line")
            await anyio.to_thread.run_sync(person.reads, "half a line")
            person.types("\x03")
            await anyio.to_thread.run_sync(person.reads, "llm> ")
            person.types("again\r")
            await anyio.to_thread.run_sync(person.reads, r"again[\s\S]*again[\s\S]*llm · ")
            person.types("\x04")
            assert await anyio.to_thread.run_sync(person.ends) == 0
    assert turns(shell) == [("question", "begun\n\nand", "cancelled"), ("again", "again", "completed")]


@pytest.mark.anyio
@pytest.mark.parametrize("step", ["_submit", "silent_keys", "screen"])
async def test_ctrl_c_right_behind_return_stops_the_answer(shell: Shell, step: str) -> None:
    # The signal comes at this step, which a person meets only by chance.
    (shell.folder / "sitecustomize.py").write_text(AT_A_STEP.format(step=step), encoding="utf-8")
    async with Liveness() as live:
        shell.llm(live.connect(), {"read": "all"}, {"pause": True})
        with Person(shell, "chat", "llm", PYTHONPATH=str(shell.folder)) as person, anyio.fail_after(300):
            await anyio.to_thread.run_sync(person.reads, "llm> ")
            person.types("question\r")
            await anyio.to_thread.run_sync(person.reads, r"stopped; [\s\S]*llm> ")
            shell.llm(*ECHO)
            person.types("again\r")
            await anyio.to_thread.run_sync(person.reads, "llm · ")
            person.types("\x04")
            name = (await anyio.to_thread.run_sync(person.reads, r"to go on: dragoman chat -c (\w+)"))[1]
            assert await anyio.to_thread.run_sync(person.ends) == 0
        await live.all_gone()
    # No conversation that the chat did not know of.
    assert [info["conversation_id"] for info in json.loads(shell("conversations", "list", "--json").out)] == [name]
    # Whether it had begun by then is chance.
    assert turns(shell)[-1] == ("again", "again", "completed")
    assert turns(shell)[:-1] in ([], [("question", "", "cancelled")])


@pytest.mark.anyio
async def test_what_is_typed_during_an_answer_is_read_after_it_as_it_was_typed(shell: Shell) -> None:
    async with Liveness() as live:
        shell.llm(live.connect(), {"out": "begun\n\nand"}, {"wait": "gate"}, {"out": "ended"})
        with Person(shell, "chat", "llm") as person, anyio.fail_after(300):
            await anyio.to_thread.run_sync(person.reads, "llm> ")
            person.types("one\r")
            await live.connected()
            await anyio.to_thread.run_sync(person.reads, "begun")
            person.types("/history\r\x04")
            await live.release()
            await anyio.to_thread.run_sync(person.reads, r"llm · [\s\S]*to go on: ")
            assert await anyio.to_thread.run_sync(person.ends) == 0


def test_a_failure_ends_nothing_and_the_terminal_is_as_it_was(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"err": "Error: Error code: 400 - what?\n"}, {"exit": 1})
    with Person(shell, "chat", "llm") as person:
        person.reads("llm> ")
        person.types("one\r")
        person.reads(r"bad_request: [\s\S]*llm> ")
        shell.llm(*ECHO)
        person.types("two\r")
        person.reads(r"llm · [\s\S]*llm> ")
        os.kill(person.process.pid, signal.SIGTERM)
        assert person.ends() == 130
        assert person.echoes


def test_commands_change_how_it_goes_on(shell: Shell) -> None:
    shell.llm(*ECHO)
    with Person(shell, "chat") as person:
        person.reads("dragoman> ")
        person.types("/pro\tll\t\r")
        person.reads("llm> ")
        person.types("/provider nobody\r")
        person.reads(r"no provider 'nobody'[\s\S]*llm> ")
        person.types("/model some-model\r")
        person.reads("llm> ")
        person.types("/system Be brief.\r")
        person.reads("llm> ")
        person.types("a \\\r")
        person.reads("… ")
        person.types("b\r")
        person.reads(r"llm · ")
        person.types("/new\r")
        person.reads("llm> ")
        person.types("//slash\r")
        person.reads(r"llm · ")
        person.types("/list\r")
        person.reads(r"begins[\s\S]*/slash[\s\S]*a b[\s\S]*llm> ")
        first = json.loads(shell("conversations", "list", "--json").out)[1]
        assert (first["title"].split(), first["system_prompt"]) == (["a", "b"], "Be brief.")
        person.types(f"/resume {first['conversation_id'][:8]}\t\r")
        person.reads(r"\[1\] you[\s\S]*llm> ")
        person.types("more\r")
        person.reads(r"llm · ")
        person.types("/export talk.md\r")
        person.reads("written to talk.md")
        person.types("/help\r")
        person.reads(r"/resume ID[\s\S]*llm> ")
        person.types("/quit\r")
        assert person.ends() == 0
    assert [prompt for prompt, _, _ in turns(shell)] == ["a \nb", "more"]
    assert "## You\n\nmore" in (shell.work / "talk.md").read_text()


@pytest.mark.parametrize(("begun_with", "model"), [("claude", "the provider chooses"), ("llm", "some-model")])
def test_a_model_stays_with_its_provider(shell: Shell, begun_with: str, model: str) -> None:
    shell.llm(*ECHO)
    assert shell("ask", "llm", "one", "-c", "talk").code == 0
    ended = shell("chat", begun_with, "-m", "some-model", stdin=b"/resume talk\n/model\n")
    assert (ended.code, ended.out.decode().splitlines()[-1]) == (0, model)


def test_through_pipes_every_line_is_a_message_and_the_answers_are_plain(shell: Shell) -> None:
    shell.llm(*ECHO)
    ended = shell("chat", "llm", stdin=b"*one*\n\ntwo\n/quit\nthree\n")
    assert (ended.code, ended.out, ended.err) == (0, b"*one*\ntwo\n", "")
    assert [prompt for prompt, _, _ in turns(shell)] == ["*one*", "two"]


@pytest.mark.parametrize(
    ("words", "stdin", "code", "complaint"),
    [
        (("nobody",), b"", 3, "no provider 'nobody'"),
        (("--last",), b"", 3, "there is no conversation yet"),
        (("llm", "-m", "-x"), b"", 2, "--model: "),
        (("llm",), b"/nope\n", 2, "there is no /nope"),
        (("llm",), b"/export\n", 2, "/export wants the name"),
        (("llm",), b"hi\n/export ~nobody-of-this-name/x.md\n", 2, "nobody has that home"),
        (("llm",), b"/resume nobody\n", 3, "there is no conversation 'nobody'"),
        (("llm", "--effort", "high"), b"hi\n", 9, "llm has no use for `effort`"),
    ],
)
def test_what_cannot_be_done_is_explained(
    shell: Shell, words: tuple[str, ...], stdin: bytes, code: int, complaint: str
) -> None:
    shell.llm(*ECHO)
    ended = shell("chat", *words, stdin=stdin)
    assert ended.code == code
    assert complaint in ended.err


@pytest.mark.parametrize(
    ("source", "whole"),
    [
        ("one", ""),
        ("one\n\n", ""),
        ("one\n\ntwo", "one\n\n"),
        ("- a\n\n- b\n", ""),
        ("- a\n\nend", "- a\n\n"),
        ("one\n\n```\na\n\nb\n", "one\n\n"),
        ("```\na\n\nb\n```\nend", "```\na\n\nb\n```\n"),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", ""),
        ("", ""),
    ],
)
def test_only_the_last_block_of_an_answer_may_still_change(source: str, whole: str) -> None:
    assert source[: finished(source)] == whole


def scrolled(written: str, height: int) -> list[str]:
    """The lines that a terminal of this height has at the end, with those that have scrolled away."""
    lines, row = [""], 0
    for step in re.split(r"(\n|\r|\x1b\[1A|\x1b\[2K)", written):
        match step:
            case "\n":
                row += 1
                lines += [""] * (row == len(lines))
            case "\x1b[1A":
                # What has scrolled away cannot be reached any more.
                row = max(row - 1, len(lines) - height, 0)
            case "\x1b[2K" | "\r":
                lines[row] = ""
            case _:
                lines[row] += CONTROL.sub("", step)
    return lines


def test_a_long_answer_scrolls_away_and_every_line_of_it_stays_once() -> None:
    terminal = StringIO()
    console = Console(file=terminal, force_terminal=True, width=60, height=10, highlight=False, markup=False)
    words = [f"word{number}." for number in range(400)]
    with MarkdownScreen("llm", console) as shown:
        for number, word in enumerate(words):
            shown.write(word + ("\n\n" if number % 40 == 39 else " "))
            console.print(end="")  # draws what is open, as time does
        shown.remark("tool: read")
        for number in range(40):
            shown.write(f"- line{number}.\n")
            console.print(end="")
    lines = scrolled(terminal.getvalue(), console.height)
    whole = "\n".join(lines)
    assert [whole.count(word) for word in words] == [1] * len(words)
    assert [whole.count(f"line{number}.") for number in range(40)] == [1] * 40
    assert whole.index("word399.") < whole.index("tool: read") < whole.index("line0.")
    assert "llm…" not in whole


def test_what_is_open_is_drawn_in_the_thread_that_prints_and_not_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = StringIO()
    console = Console(file=terminal, force_terminal=True, width=60, height=10, highlight=False, markup=False)
    before = threading.active_count()
    with MarkdownScreen("llm", console) as shown:
        # Two that draw leave lines behind, which then stand there twice.
        assert threading.active_count() == before
        shown.write("half a li")
        assert "half a li" not in terminal.getvalue()
        shown.draw()
        assert terminal.getvalue().count("half a li") == 1
        monkeypatch.setattr("dragoman.cli.screen.DRAW_S", 3600)
        shown.draw()
        assert terminal.getvalue().count("half a li") == 1


def test_control_codes_and_hidden_addresses_of_an_answer_do_not_reach_the_terminal(tmp_path: Path) -> None:
    terminal = StringIO()
    console = Console(file=terminal, force_terminal=True, width=80, highlight=False, markup=False)
    with MarkdownScreen("llm", console) as shown:
        shown.write("\x1b]52;c;ZXZpbA==\x07 [a bank](http://evil.example)\n")
    assert "\x1b]" not in terminal.getvalue()
    assert "http://evil.example" in terminal.getvalue()
