"""``dragoman conversations`` and ``dragoman ask`` in a conversation."""

import json
from typing import Any

import pytest

from tests.cli.harness import Shell

ECHO = ({"read": "all"}, {"echo_stdin": True, "as": "raw"})


def asked(shell: Shell, *words: str) -> dict[str, Any]:
    ended = shell("ask", "llm", *words, "--json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def told(shell: Shell, *words: str) -> Any:  # noqa: ANN401 - JSON
    ended = shell("conversations", *words, "--json")
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)


def test_a_conversation_goes_on_by_its_id_and_by_being_the_last(shell: Shell) -> None:
    shell.llm(*ECHO)
    name = asked(shell, "one")["conversation_id"]
    assert asked(shell, "two", "-c", name)["conversation_id"] == name
    # Who answered last answers again, although nobody is named; who was asked since then did not.
    assert shell("ask", "claude", "-c", name, "lost").code == 3
    ended = shell("ask", "--last", "three")
    assert (ended.code, ended.out, ended.err) == (0, b"three\n", "")
    shown = told(shell, "show", name)
    assert [(turn["number"], turn["prompt"], turn["text"]) for turn in shown["turns"]] == [
        (1, "one", "one"),
        (2, "two", "two"),
        (3, "lost", ""),
        (4, "three", "three"),
    ]
    assert asked(shell, "new", "-c", "my-talk")["conversation_id"] == "my-talk"


def test_what_is_not_to_be_remembered_is_not(shell: Shell) -> None:
    shell.llm(*ECHO)
    assert "conversation_id" not in asked(shell, "secret", "--no-remember")
    assert told(shell, "list") == []
    assert shell("conversations", "list").err == "no conversations yet\n"


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("--last",), 3, "there is no conversation yet"),
        (("--last", "-c", "a"), 2, "--last and --conversation name two conversations"),
        (("-c", "a b"), 2, "--conversation: an id has up to 128 letters"),
        (("--temperature", "3"), 2, "--temperature: 3.0 should be less than or equal to 2"),
        (("--effort", "high"), 9, "llm has no use for `effort`"),
    ],
)
def test_options_that_cannot_be_heeded_are_refused(
    shell: Shell, words: tuple[str, ...], code: int, complaint: str
) -> None:
    cli = shell.llm(*ECHO)
    ended = shell("ask", "llm", "hi", *words)
    assert ended.code == code
    assert complaint in ended.err
    assert cli.starts == 0


def test_options_of_the_answer_reach_the_provider(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"argv": True, "as": "raw"})
    argv = shell("ask", "llm", "hi", "--temperature", "0.5", "--max-tokens", "7").out.decode()
    assert "0.5" in argv
    assert "7" in argv


def test_lists_have_pages_and_can_be_narrowed(shell: Shell) -> None:
    shell.llm(*ECHO)
    for name in ("a", "b", "c"):
        asked(shell, f"question of\n {name}", "-c", name)
    ended = shell("conversations", "list", "-n", "2")
    lines = [line.split() for line in ended.out.decode().splitlines()]
    assert [line[0] for line in lines] == ["conversation", "c", "b"]
    assert ended.out.decode().splitlines()[1].endswith("question of c")
    assert ended.err == "more: --page 2\n"
    assert [info["conversation_id"] for info in told(shell, "list", "-n", "2", "--page", "2")] == ["a"]
    assert told(shell, "list", "--provider", "claude") == []
    assert told(shell, "list", "--page", "9" * 20) == []
    assert shell("conversations", "list", "--page", "9").err == "no such page\n"
    beyond = shell("conversations", "show", "a", "--page", "2")
    assert (beyond.code, "give a page from 1 to 1" in beyond.err) == (9, True)


def test_a_failed_turn_is_shown_with_its_code(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"out": "half"}, {"err": "Error: Error code: 400 - what?\n"}, {"exit": 1})
    assert shell("ask", "llm", "one", "-c", "a").code == 9
    shown = shell("conversations", "show", "a").out.decode()
    assert "[1] llm: failed (bad_request)\nhalf\n" in shown


def test_what_was_said_is_found(shell: Shell) -> None:
    shell.llm(*ECHO)
    asked(shell, "the walrus and the carpenter", "-c", "a")
    asked(shell, "something else", "-c", "b")
    assert [found["conversation_id"] for found in told(shell, "search", "carpenter", "walrus")] == ["a"]
    assert "walrus" in shell("conversations", "search", "walrus").out.decode()
    nothing = shell("conversations", "search", "oyster")
    assert (nothing.code, nothing.out, nothing.err) == (0, b"", "no turn has all these words\n")


def test_a_conversation_is_taken_along_copied_reset_and_removed(shell: Shell) -> None:
    shell.llm(*ECHO)
    for prompt in ("one", "two"):
        asked(shell, prompt, "-c", "a")
    assert b"## You\n\none" in shell("conversations", "export", "a").out
    assert shell("conversations", "export", "a", "-o", "talk.json").code == 0
    again = shell("conversations", "export", "a", "-o", "talk.json")
    assert (again.code, "already" in again.err) == (1, True)
    piped = shell("conversations", "export", "a", "--format", "json").out
    assert json.loads(piped) == json.loads((shell.work / "talk.json").read_text())
    assert shell("conversations", "import", "-", "--as", "b", stdin=piped).out == b"b\n"
    refused = shell("conversations", "import", "talk.json")
    assert (refused.code, "already" in refused.err) == (9, True)
    assert told(shell, "fork", "b", "--upto", "1", "--as", "c") == {"conversation_id": "c"}
    assert [turn["prompt"] for turn in told(shell, "show", "c")["turns"]] == ["one"]
    assert told(shell, "reset", "c") == {"conversation_id": "c"}
    assert told(shell, "show", "c")["turns"] == []
    removed = shell("conversations", "rm", "b", "nobody", "none", "c")
    assert removed.code == 3
    assert all(f"there is no conversation {name!r}" in removed.err for name in ("nobody", "none"))
    assert [info["conversation_id"] for info in told(shell, "list")] == ["a"]
    assert shell("conversations", "rm", "a").code == 0
    # Without another id it has that of the document, as the help says.
    assert shell("conversations", "import", "talk.json").out == b"a\n"
    assert "without it, the document's" in " ".join(shell("conversations", "import", "--help").out.decode().split())


def test_an_id_may_be_cut_where_nothing_is_lost_by_it(shell: Shell) -> None:
    shell.llm(*ECHO)
    for name in ("plan", "plan-b", "plans"):
        asked(shell, f"question of {name}", "-c", name)
    assert told(shell, "show", "plan-")["conversation_id"] == "plan-b"
    assert told(shell, "show", "plan")["conversation_id"] == "plan"
    assert b"question of plans" in shell("conversations", "export", "plans", "-o", "-").out
    several = shell("conversations", "show", "pl")
    assert (several.code, "3 conversations begin with 'pl'" in several.err) == (9, True)
    for word in ("reset", "rm"):
        assert shell("conversations", word, "plan-").code == 3
    assert shell("conversations", "show", "").code == 3
    assert len(told(shell, "list")) == 3


@pytest.mark.parametrize(
    ("words", "stdin", "code", "complaint"),
    [
        (("import", "-"), b"{}", 9, "conversation_id: Field required"),
        (("import", "-"), b"\xff", 2, "is not UTF-8 text"),
        (("import", "nothing.json"), b"", 2, "No such file"),
        (("export", "a", "--format", "pdf"), b"", 2, "write markdown or json"),
        (("show", "a"), b"", 3, "there is no conversation 'a'"),
        (("show", "\udcff"), b"", 3, "there is no conversation"),
        (("rm", "\udcff"), b"", 3, "there is no conversation"),
        (("list", "--provider", "\udcff"), b"", 0, "no such conversations"),
        (("search", "a\udcff"), b"", 0, "no turn has all these words"),
    ],
)
def test_what_cannot_be_done_is_explained(
    shell: Shell, words: tuple[str, ...], stdin: bytes, code: int, complaint: str
) -> None:
    ended = shell("conversations", *words, stdin=stdin)
    assert ended.code == code
    assert complaint in ended.err


def test_a_shell_completes_ids(shell: Shell) -> None:
    shell.llm(*ECHO)
    asked(shell, "a question", "-c", "talk-1")
    asked(shell, "another", "-c", "other")
    shell.variables |= {
        "_DRAGOMAN_COMPLETE": "complete_bash",
        "COMP_WORDS": "dragoman conversations show ta",
        "COMP_CWORD": "3",
    }
    assert shell().out.split() == [b"talk-1"]
    nowhere = shell(DRAGOMAN_HOME=str(shell.folder / "elsewhere"))
    assert (nowhere.out.strip(), nowhere.err) == (b"", "")
