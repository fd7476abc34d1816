"""``dragoman query``, and answers of ``dragoman ask`` that must pass."""

import json
from pathlib import Path
from typing import Any

import pytest

from dragoman.cli.question import UsageError, read_schema
from dragoman.testing import FakeCli
from tests.cli.harness import Shell

CITY = "name, people int"
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
PARIS = {"name": "Paris", "people": 2_100_000}
GOOD = json.dumps(PARIS)


def says(shell: Shell, *answers: str) -> FakeCli:
    """Each question gets the next answer, the last one for ever."""
    steps: list[list[dict[str, Any]]] = [[{"read": "all"}, {"out": answer}] for answer in answers]
    return shell.llm({"by_start": steps})


def test_the_json_alone_is_on_stdout(shell: Shell) -> None:
    says(shell, f"Sure:\n```json\n{GOOD}\n```")
    ended = shell("query", "llm", "Which city?", "--schema", CITY)
    assert (ended.code, ended.out, ended.err) == (0, f"{GOOD}\n".encode(), "")


def test_the_schema_may_stand_in_a_file_and_the_prompt_come_from_stdin(shell: Shell) -> None:
    (shell.work / "city.json").write_text(json.dumps(SCHEMA))
    says(shell, '{"name": "é"}')
    ended = shell("query", "--schema", "city.json", stdin=b"Which city?")
    assert (ended.code, ended.out) == (0, '{"name": "é"}\n'.encode())
    written = shell("query", "llm", "Which?", "--schema", '{"type": "object"}')
    assert (written.code, json.loads(written.out)) == (0, {"name": "é"})


def test_the_whole_reply_is_printed_for_a_program(shell: Shell) -> None:
    says(shell, GOOD)
    reply = json.loads(shell("query", "llm", "Which city?", "--schema", CITY, "--json").out)
    assert (reply["data"], reply["mechanism"], reply["extraction"], reply["attempts"]) == (PARIS, "native", "whole", 1)


def test_a_wrong_answer_is_asked_for_again(shell: Shell) -> None:
    says(shell, '{"name": "Paris"}', GOOD)
    ended = shell("query", "llm", "Which city?", "--schema", CITY, "--max-attempts", "2")
    assert (ended.code, json.loads(ended.out)) == (0, PARIS)
    assert "retrying: the answer did not pass: " in ended.err
    assert "$.people: expected an integer (required), got nothing" in ended.err


def test_when_no_answer_is_valid_nothing_is_printed_and_the_exit_code_says_so(shell: Shell) -> None:
    cli = says(shell, "I would rather not.")
    ended = shell("query", "llm", "Which city?", "--schema", CITY, "--max-attempts", "2", "--quiet")
    assert (ended.code, ended.out) == (10, b"")
    assert ended.err.startswith("dragoman: schema_mismatch: No answer passed, asked 2 times; the last one: ")
    assert cli.starts == 2
    reply = json.loads(shell("query", "llm", "Which?", "--schema", CITY, "--max-attempts", "1", "--json").out)
    assert (reply["status"], reply["error"]["code"], reply["attempts"]) == ("failed", "schema_mismatch", 1)


def test_strict_takes_nothing_out_of_words(shell: Shell) -> None:
    says(shell, f"Sure: {GOOD}")
    assert shell("query", "llm", "Which?", "--schema", CITY, "--strict", "--max-attempts", "1").code == 10


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ((), 2, "Missing option '--schema'"),
        (("--schema", "no-such.json"), 2, "--schema: there is no file 'no-such.json'"),
        (("--schema", '{"type": "strnig"}'), 9, "The schema cannot be used"),
        (("--schema", CITY, "--validator", "nonsense"), 9, "The validator 'nonsense' cannot be used"),
        (("--schema", CITY, "--max-attempts", "0"), 2, "--max-attempts: 0 should be greater than or equal to 1"),
    ],
)
def test_what_cannot_be_asked_is_explained_and_starts_nothing(
    shell: Shell, words: tuple[str, ...], code: int, complaint: str
) -> None:
    cli = says(shell, GOOD)
    ended = shell("query", "llm", "Which city?", *words)
    assert (ended.code, ended.out) == (code, b"")
    assert complaint in ended.err
    assert cli.starts == 0


def test_an_answer_of_ask_is_printed_once_it_has_passed(shell: Shell) -> None:
    says(shell, "no", "ok then")
    ended = shell("ask", "llm", "Well?", "--validator", "regex:^ok", "--max-attempts", "2", "--quiet")
    assert (ended.code, ended.out) == (0, b"ok then\n")
    says(shell, "no")
    ended = shell("ask", "llm", "Well?", "--validator", "regex:^ok", "--validator", "json", "--max-attempts", "1")
    assert (ended.code, ended.out) == (10, b"")
    assert "malformed_output" in ended.err
    assert shell("ask", "llm", "Well?", "--validator", "nonsense").code == 9


def test_a_schema_is_a_file_or_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b.json").write_text("name")
    assert read_schema("a b.json") == "name"
    for written in ("name", "name, score float: from 0.5 to 1", '{"a": 1}', "name\nage", "x" * 5000):
        assert read_schema(written) == written
    with pytest.raises(UsageError, match="no file 'folder/a'"):
        read_schema("folder/a")
    with pytest.raises(UsageError, match="cannot be read"):
        read_schema("./")
