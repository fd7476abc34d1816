"""One table of a TOML file is changed, and nothing else."""

import tomllib
from typing import Any

import pytest

from dragoman.clients.toml import TomlError, put, read, remove

PATH = ("mcp_servers", "dragoman")
ENTRY: dict[str, Any] = {"command": "/usr/bin/dragoman", "args": ["serve"], "required": True}
COMMENTED = """\
# mine
model = "x" # trailing

[mcp_servers.other]
command = "z"

[tui]
notifications = true
"""


@pytest.mark.parametrize(
    "text", ["", 'model = "x"\n', COMMENTED, "model = 'x'\r\n[mcp_servers.a]\r\ncommand = 'q'\r\n"]
)
def test_what_is_put_in_and_taken_out_again_leaves_the_file_as_it_was(text: str) -> None:
    before = tomllib.loads(text)
    with_ours = put(text, PATH, ENTRY)
    after = tomllib.loads(with_ours)
    assert after["mcp_servers"].pop("dragoman") == ENTRY
    assert {key: value for key, value in after.items() if value} == before
    assert with_ours.startswith(text)
    assert remove(with_ours, PATH) == text
    assert put(with_ours, PATH, ENTRY) == with_ours


def test_a_change_keeps_the_persons_own_keys_and_comments_and_the_tables_below() -> None:
    rest = "# mine\nenv = {A = 'b'}\n[mcp_servers.dragoman.tools.ask]\nx = 1\n\n[z]\n"
    text = f"[mcp_servers.dragoman]\ncommand = 'old'\n{rest}"
    changed = put(text, PATH, ENTRY)
    assert read(changed)["mcp_servers"]["dragoman"] == {**ENTRY, "env": {"A": "b"}, "tools": {"ask": {"x": 1}}}
    assert changed.endswith(rest)
    assert remove(text, PATH) == "\n[z]\n"


def test_a_table_in_the_middle_is_taken_out_with_the_empty_line_before_it() -> None:
    text = "a = 1\n\n[mcp_servers.dragoman]\ncommand = 'x'\n\n[z]\nb = 2\n"
    assert remove(text, PATH) == "a = 1\n\n[z]\nb = 2\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a = 1\nx = \n", 2, "Invalid value"),
        ("mcp_servers = 1\n", 0, "mcp_servers is not a table"),
        ("mcp_servers = {a = {command = 'x'}}\n", 0, "cannot be changed safely"),
        ("[mcp_servers]\ndragoman = {command = 'x'}\n", 0, "cannot be changed safely"),
        ('[mcp_servers.dragoman]\ncommand = """\nx\n"""\n', 0, "cannot be changed safely"),
    ],
)
def test_what_cannot_be_read_or_changed_safely_is_told(text: str, line: int, words: str) -> None:
    with pytest.raises(TomlError, match=words) as raised:
        put(text, PATH, ENTRY)
    assert raised.value.line == line


def test_a_header_within_a_text_is_not_taken_for_one() -> None:
    text = 'words = """\n[mcp_servers.dragoman]\n"""\n[mcp_servers.dragoman]\ncommand = "x"\n'
    with pytest.raises(TomlError, match="cannot be changed safely"):
        remove(text, PATH)
