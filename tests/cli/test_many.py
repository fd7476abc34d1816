"""``dragoman many``: a file of questions, a file of answers, and going on after a stop."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.cli.harness import DRAGOMAN, Shell

ECHO = ({"read": "all"}, {"echo_stdin": True, "as": "raw"})


def write(shell: Shell, *lines: dict[str, Any] | str) -> Path:
    file = shell.work / "q.jsonl"
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    file.write_text(text, encoding="utf-8")
    return file


def answers(shell: Shell, name: str = "q.answers.jsonl") -> list[dict[str, Any]]:
    # Whoever was killed may have left half a line.
    whole, _, _ = (shell.work / name).read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell.make(tmp_path)


def test_each_question_gets_its_answer_in_the_order_of_the_questions(shell: Shell) -> None:
    shell.llm(*ECHO)
    write(shell, {"id": "b", "prompt": "one"}, {"prompt": "two", "provider": "llm"}, "", {"id": 3, "prompt": "three"})
    done = shell("many", "q.jsonl", "--json")
    assert done.code == 0, done.err
    assert [(line.get("id"), line["text"]) for line in answers(shell)] == [("b", "one"), (None, "two"), (3, "three")]
    summary = json.loads(done.out)
    assert (summary["questions"], summary["answered"], summary["failed"]) == (3, 3, 0)
    assert summary["providers"][0]["provider"] == "llm"


def test_a_bad_line_is_told_with_its_number_and_the_others_are_asked(shell: Shell) -> None:
    shell.llm(*ECHO)
    bad = ("{", "[1]", {"prompt": " "}, {"prompt": "x", "promt": 1}, {"id": 1, "prompt": "a"}, {"id": 1, "prompt": "b"})
    write(shell, {"prompt": "good"}, *bad, {"prompt": "schema", "schema": {"type": "nothing"}})
    done = shell("many", "q.jsonl")
    assert done.code == 1
    for number, word in ((2, "no JSON"), (3, "no object"), (4, "is empty"), (5, "promt"), (7, "id 1"), (8, "schema")):
        assert any(f"line {number}: " in line and word in line for line in done.err.splitlines()), (number, done.err)
    assert [line["text"] for line in answers(shell)] == ["good", "a"]


def test_half_a_character_in_a_question_stops_nothing(shell: Shell) -> None:
    shell.llm(*ECHO)
    write(shell, {"prompt": "one \udcff"}, {"prompt": "two"})
    done = shell("many", "q.jsonl")
    assert done.code == 0, done.err
    assert [line["text"] for line in answers(shell)] == ["one �", "two"]


def test_what_was_answered_is_not_asked_again_and_what_is_new_is(shell: Shell) -> None:
    cli = shell.llm(*ECHO)
    write(shell, {"prompt": "one"}, {"prompt": "one"}, {"id": 1, "prompt": "x"})
    assert shell("many", "q.jsonl").code == 0
    asked = cli.starts
    assert shell("many", "q.jsonl").code == 0
    assert cli.starts == asked
    write(shell, {"prompt": "new"}, {"prompt": "one"}, {"prompt": "one"}, {"id": 1, "prompt": "changed"})
    assert shell("many", "q.jsonl").code == 0
    assert [line["text"] for line in answers(shell)] == ["new", "one", "one", "changed"]


def test_failures_are_kept_and_asked_again_only_when_told_to(shell: Shell) -> None:
    cli = shell.llm({"err": "boom\n"}, {"exit": 3})
    write(shell, {"prompt": "one"})
    done = shell("many", "q.jsonl")
    assert done.code == 1
    assert "--retry-failed" in done.err
    assert answers(shell)[0]["error"]["code"]
    before = cli.starts
    assert shell("many", "q.jsonl").code == 1
    assert cli.starts == before
    shell.llm(*ECHO)
    assert shell("many", "q.jsonl", "--retry-failed").code == 0
    assert [line["text"] for line in answers(shell)] == ["one"]


def test_half_a_line_is_repaired_and_a_file_of_something_else_is_left_alone(shell: Shell) -> None:
    shell.llm(*ECHO)
    write(shell, {"prompt": "one"}, {"prompt": "two"})
    assert shell("many", "q.jsonl").code == 0
    file = shell.work / "q.answers.jsonl"
    whole = file.read_bytes()
    for cut in (1, 2, 40):
        file.write_bytes(whole[:-cut])
        assert shell("many", "q.jsonl").code == 0
        assert [line["text"] for line in answers(shell)] == ["one", "two"]
    for foreign in (b"my diary", b'{"a": 1}\n', b"my diary\n"):
        file.write_bytes(foreign)
        done = shell("many", "q.jsonl")
        assert done.code == 2
        assert "--output" in done.err
        assert file.read_bytes() == foreign


def test_questions_from_stdin_need_a_place_for_the_answers(shell: Shell) -> None:
    shell.llm(*ECHO)
    assert shell("many", "-", stdin=b'{"prompt": "hi"}\n').code == 2
    assert shell("many", "none.jsonl").code == 2
    assert shell("many", "-", "--output", "-", stdin=b'{"prompt": "hi"}\n').code == 2
    assert not (shell.work / "-").exists()
    assert not (shell.work / "none.answers.jsonl").exists()
    assert shell("many", "-", "--output", "out.jsonl", stdin=b'{"prompt": "hi"}\n').code == 0
    assert [line["text"] for line in answers(shell, "out.jsonl")] == ["hi"]


def test_killed_and_run_again_no_question_is_answered_twice(shell: Shell) -> None:
    shell.llm(*ECHO)
    prompts = [f"question {number}" for number in range(40)]
    write(shell, *({"id": number, "prompt": prompt} for number, prompt in enumerate(prompts)))
    file = shell.work / "q.answers.jsonl"
    kept = 0
    for more in (5, 10):
        running = subprocess.Popen(
            (*DRAGOMAN, "many", "q.jsonl"),
            cwd=shell.work,
            env=shell.variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while running.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < kept + more):
            time.sleep(0.01)  # nothing tells
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        kept = file.read_bytes().count(b"\n")
    before = {line["id"]: line["call_id"] for line in answers(shell)}
    assert shell("many", "q.jsonl").code == 0
    done = answers(shell)
    assert [line["text"] for line in done] == prompts
    assert set(Counter(line["id"] for line in done).values()) == {1}
    # Those that were there are there as they were.
    assert {line["id"]: line["call_id"] for line in done if line["id"] in before} == before


def test_a_stop_says_how_to_go_on(shell: Shell) -> None:
    shell.llm({"sleep": 100})
    write(shell, {"prompt": "one"})
    done = shell("many", "q.jsonl", "--timeout", "1.5")
    assert done.code == 6
    assert "run the same command again" in done.err
    assert answers(shell) == []
