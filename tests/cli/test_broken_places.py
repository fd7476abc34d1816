"""What a person hears when a file, a folder or a stream cannot be used."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.harness import DRAGOMAN, Shell

FULL = Path("/dev/full")
NO_SPACE = "dragoman: No space left on device\nnext step: free some space on the disk\n"


def run(shell: Shell, redirected: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``dragoman WORDS`` with streams as a shell redirects them."""
    command = ("/bin/sh", "-c", f'exec "$@" {redirected}', "sh", *DRAGOMAN, *words)
    return subprocess.run(
        command, capture_output=True, text=True, cwd=shell.work, env=shell.variables, timeout=300, check=False
    )


@pytest.mark.skipif(not FULL.exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("words", ["--help", "--version", "config show", "conversations list --json"])
def test_output_that_has_no_room_is_one_sentence_and_a_failure(shell: Shell, words: str) -> None:
    done = run(shell, f">{FULL}", *words.split())
    assert (done.returncode, done.stderr) == (1, NO_SPACE)


@pytest.mark.parametrize("redirected", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_streams_that_were_closed_lead_nowhere(shell: Shell, redirected: str) -> None:
    shell.llm({"out": "Hi\n"}, {"exit": 0})
    done = run(shell, redirected, "ask", "llm", "hi", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("" if ">&-" in redirected.split() else "Hi\n")
    assert "Traceback" not in run(shell, redirected, "--help").stderr


def test_the_store_gets_no_number_of_a_closed_stream(shell: Shell) -> None:
    shell.llm({"out": "Hi\n"}, {"exit": 0})
    assert run(shell, "2>&-", "ask", "llm", "hi", "--log-level", "debug").returncode == 2  # an option of another place
    assert run(shell, "2>&-", "--log-level", "debug", "ask", "llm", "hi").returncode == 0
    kept = json.loads(shell("conversations", "list", "--json").out)
    assert [each["title"] for each in kept] == ["hi"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("many missing.jsonl", "'missing.jsonl': No such file or directory\nnext step: see that the name is right"),
        ("many bin", "'bin': Is a directory"),
        ("many q.jsonl -o missing/a.jsonl", "'missing/a.jsonl': No such file or directory"),
        ("conversations import missing.json", "'missing.json': No such file or directory"),
        (
            "ask llm hi -c a/b",
            "--conversation: an id has up to 128 letters (a-z, A-Z), digits and . _ : -, and begins with",
        ),
    ],
)
def test_wrong_names_are_wrong_usage_and_told_in_words(shell: Shell, words: str, said: str) -> None:
    (shell.work / "bin").mkdir()
    (shell.work / "q.jsonl").write_text('{"prompt": "hi"}\n')
    done = shell(*words.split())
    assert done.code == 2
    assert f"dragoman: {said}" in done.err
    assert "Errno" not in done.err


def test_a_file_without_questions_is_told(shell: Shell) -> None:
    (shell.work / "q.jsonl").touch()
    done = shell("many", "q.jsonl")
    assert (done.code, done.err) == (0, 'no question in q.jsonl: write {"prompt": "…"} in each line\n')


def test_answers_that_have_no_room_stop_the_questions_and_say_how_to_go_on(shell: Shell) -> None:
    shell.llm({"out": "x" * 16384 + "\n"}, {"exit": 0})
    (shell.work / "q.jsonl").write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    limited = subprocess.run(
        ("/bin/sh", "-c", 'trap "" XFSZ; ulimit -f 4; exec "$@"', "sh", *DRAGOMAN, "many", "q.jsonl"),
        capture_output=True,
        text=True,
        cwd=shell.work,
        # Python would keep modules that it compiles here, cut at the limit, and trip over them ever after.
        env=shell.variables | {"PYTHONDONTWRITEBYTECODE": "1"},
        timeout=300,
        check=False,
    )
    assert limited.returncode == 1
    assert "next step: raise the limit on the size of files" in limited.stderr
    assert "of 2 answered" in limited.stderr
    assert limited.stderr.endswith("next step: run the same command again to go on\n")
    done = shell("many", "q.jsonl", "--json")
    assert (done.code, json.loads(done.out)["answered"]) == (0, 2)


def test_a_background_call_that_came_to_nothing_has_no_id_to_wait_for(shell: Shell) -> None:
    done = shell("ask", "claude", "--background", "hi")
    assert (done.code, done.out) == (3, b"")
    assert "not_found" in done.err


@pytest.mark.skipif(os.name == "nt", reason="modes")
def test_a_server_cannot_have_any_name(shell: Shell) -> None:
    for name in ("", "a b", "a.b"):
        done = shell("install", "cursor", "--name", name)
        assert (done.code, done.out) == (2, b"")
        assert "use letters, digits, - and _" in done.err
    shell("install", "cursor")
    assert "sessions that are open keep the tools" in shell("uninstall", "cursor").err


def test_a_state_folder_that_cannot_be_written_is_told_once(shell: Shell) -> None:
    shell.llm({"out": "Hi\n"}, {"exit": 0})
    folder = shell.work / "state"
    folder.touch()
    shell.variables["DRAGOMAN_HOME"] = str(folder)
    done = shell("ask", "llm", "hi")
    assert (done.code, done.out) == (0, b"Hi\n")
    assert done.err.count("WARNING") == 1
    talked = shell("chat", "llm", stdin=b"hi\n")
    assert (talked.code, talked.out) == (0, b"Hi\n")
    assert talked.err.count("WARNING") == 1
    assert f"{str(folder)!r} cannot be written" in done.err
    assert "set DRAGOMAN_HOME to another folder" in done.err
