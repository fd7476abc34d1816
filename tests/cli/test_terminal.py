"""What a person sees on a terminal: both streams on a pseudo-terminal."""

import os
import pty
import re
import subprocess
from collections.abc import Sequence

import pytest

from tests.cli.harness import DRAGOMAN, Shell

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(shell: Shell, *words: str, program: Sequence[str] = DRAGOMAN[1:], **variables: str) -> tuple[int, str]:
    """Run it with a terminal for everything; its exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        (DRAGOMAN[0], *program, *words),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=shell.work,
        env=shell.variables | {"TERM": "xterm-256color", "COLUMNS": "200", "LINES": "50"} | variables,
    )
    os.close(theirs)
    seen = bytearray()
    try:
        while piece := os.read(ours, 65536):
            seen += piece
    except OSError:
        pass  # Linux ends a terminal nobody holds any more with EIO
    os.close(ours)
    return process.wait(60), seen.decode()


def test_the_wait_is_shown_and_the_answer_takes_its_place(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"out": "forty-two"})
    code, seen = on_terminal(shell, "ask", "llm", "question")
    assert code == 0
    assert re.search(r"asking llm… \d+ s", seen)
    answer, _, hint = COLOUR.sub("", seen).rpartition("forty-two\r\n")
    assert answer.endswith("\x1b[2K")
    assert re.fullmatch(r"conversation (c\w+); to go on: dragoman ask -c \1 …\r\n", hint)


def test_what_is_said_meanwhile_does_not_run_into_the_answer(shell: Shell) -> None:
    program = (
        "import anyio; from dragoman.cli.answer import Answer; from dragoman.cli.status import StatusLine\n"
        "from dragoman.schemas import Notice\n"
        "async def main():\n"
        "    answer, status = Answer(), StatusLine('llm', quiet=False)\n"
        "    await answer.write('one'); status.show(Notice(message='well'), answer.make_room)\n"
        "    await answer.write('two'); await answer.end()\n"
        "anyio.run(main)"
    )
    _, seen = on_terminal(shell, program=("-c", program))
    assert COLOUR.sub("", seen) == "one\r\nnotice: well\r\ntwo\r\n"


def test_control_codes_of_an_answer_do_not_drive_the_terminal(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"out": "\x1b]52;c;ZXZpbA==\x07"})
    _, seen = on_terminal(shell, "ask", "llm", "question", "-q")
    assert seen == "\\x1b]52;c;ZXZpbA==\\x07\r\n"


def test_a_failure_stands_out_without_control_codes(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"err": "Error: Error code: 429 - \x1b[2Jslow [bold]down[/bold]\n"}, {"exit": 1})
    code, seen = on_terminal(shell, "ask", "llm", "question", "-q")
    assert code == 5
    assert COLOUR.search(seen)
    assert "\x1b[2J" not in seen
    assert "slow [bold]down[/bold]" in COLOUR.sub("", seen)


@pytest.mark.parametrize("words", [("providers",), ("--help",), ("ask", "llm", "question")])
def test_no_color_is_heeded(shell: Shell, words: tuple[str, ...]) -> None:
    shell.llm({"read": "all"}, {"err": "Error: Error code: 429 - slow down\n"}, {"exit": 1})
    _, plain = on_terminal(shell, *words, NO_COLOR="1")
    assert not re.search(r"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|9[0-7]|38;[0-9;]+)m", plain)
    assert "dragoman" in plain or "llm" in plain


def test_a_terminal_that_can_only_print_lines_gets_plain_lines(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"out": "forty-two"})
    assert on_terminal(shell, "ask", "llm", "question", TERM="dumb") == (0, "forty-two\r\n")


def test_at_a_terminal_a_provider_without_a_prompt_is_explained(shell: Shell) -> None:
    code, seen = on_terminal(shell, "ask", "llm")
    assert code == 2
    assert "'llm' is a provider, and there is no prompt for it" in seen


def test_tables_are_for_people(shell: Shell) -> None:
    shell.llm()
    code, seen = on_terminal(shell, "providers")
    assert code == 0
    assert "──" in seen
    assert "ready" in seen


def test_a_person_who_starts_the_server_is_told_what_it_waits_for(shell: Shell) -> None:
    program = (
        "import sys, dragoman.server; from dragoman.cli import main\n"
        "dragoman.server.run = lambda configuration, ready: 0\n"
        "sys.exit(main(['serve']))"
    )
    code, seen = on_terminal(shell, program=("-c", program))
    assert code == 0
    assert "waits for a client" in seen
    assert "dragoman install claude-code" in seen


def test_a_list_has_a_line_for_each_row_and_what_one_needs_is_whole_on_a_narrow_terminal(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"out": "**fine**"})
    question = "a question of two\nlines that is much too long for it"
    assert shell("ask", "llm", question, "-c", "a-name-of-24-characters").code == 0
    code, seen = on_terminal(shell, "conversations", "list", COLUMNS="40")
    heading, row = COLOUR.sub("", seen).splitlines()
    assert (code, heading.split()[0], row.split()[0]) == (0, "conversation", "a-name-of-24-characters")
    assert (len(row), row[-1]) == (40, "…")


def test_what_was_said_is_shown_as_it_was_when_it_came(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"out": "**fine**"})
    assert shell("ask", "llm", "how is it?", "-c", "talk").code == 0
    _, seen = on_terminal(shell, "conversations", "show", "talk")
    assert "\x1b[1mfine\x1b[0m" in seen
    assert "**" not in seen
    assert b"**fine**" in shell("conversations", "show", "talk").out
