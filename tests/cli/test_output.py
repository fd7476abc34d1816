"""What people and programs see."""

import pytest

from dragoman.cli import output
from dragoman.cli.status import describe
from dragoman.schemas import Event, Notice, Retrying, Text, Tool, Usage


def test_control_codes_are_spelled_out_and_lines_stay_lines() -> None:
    shown = output.printable("a\x1b]52;c;x\x07\r\n\tb\x9b31m\x7f é😀")
    assert shown == "a\\x1b]52;c;x\\x07\\r\n\tb\\x9b31m\\x7f é😀"


def test_piped_tables_are_columns_that_cut_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    output.say_table(("name", "state"), [("claude", long), ("a", "b")])
    assert capsys.readouterr().out == f"name    state\nclaude  {long}\na       b\n"


def test_json_for_a_program_is_one_line_of_utf8(capsys: pytest.CaptureFixture[str]) -> None:
    output.say_json({"text": "é\n"})
    assert capsys.readouterr().out == '{"text": "é\\n"}\n'


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Tool(name="Read", detail="a.py"), "tool: Read a.py"),
        (Tool(name="Bash"), "tool: Bash"),
        (Notice(message="small local model"), "notice: small local model"),
        (Retrying(attempt=2, cause="429", delay_s=1.5), "retrying: 429 (attempt 2, next in 1.5 s)"),
        (Retrying(attempt=2, cause="429"), "retrying: 429 (attempt 2)"),
        (Text(text="answer"), None),
        (Usage(input_tokens=1), None),
    ],
)
def test_events_beside_the_answer_are_told_in_one_line(event: Event, line: str | None) -> None:
    assert describe(event) == line
