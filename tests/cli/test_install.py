"""``dragoman install`` and ``uninstall`` as a person runs them."""

import json
from pathlib import Path

import pytest

from tests.cli.harness import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell.make(tmp_path)


def test_a_client_is_set_up_and_told_what_to_do_next(shell: Shell) -> None:
    ended = shell("install", "claude-code")
    file = shell.folder / "home" / ".claude.json"
    assert (ended.code, ended.out.decode()) == (0, f"dragoman is registered with Claude Code: {file}\n")
    assert "next step: start a new session" in ended.err
    entry = json.loads(file.read_text())["mcpServers"]["dragoman"]
    assert entry["args"][-1] == "serve"
    assert Path(entry["command"]).exists()
    assert b"registered already" in shell("install", "claude-code").out
    ended = shell("uninstall", "claude-code")
    assert b"is no longer registered" in ended.out
    assert json.loads(file.read_text()) == {"mcpServers": {}}
    assert b"is not registered" in shell("uninstall", "claude-code").out


def test_print_shows_the_file_on_stdout_and_writes_nothing(shell: Shell) -> None:
    ended = shell("install", "codex", "--print", "--name", "mine")
    assert ended.out.decode().startswith("[mcp_servers.mine]\n")
    assert "would be" in ended.err
    assert not (shell.folder / "home" / ".codex").exists()


def test_a_name_that_no_server_can_have_is_wrong_usage(shell: Shell) -> None:
    ended = shell("install", "codex", "--name", "a b")
    assert (ended.code, "next step: use letters" in ended.err) == (2, True)


def test_json_for_programs(shell: Shell) -> None:
    ended = shell("install", "zed", "--project", "--json")
    said = json.loads(ended.out)
    assert said["changed"] is True
    assert said["file"] == str(shell.work / ".zed" / "settings.json")
    assert said["entry"]["args"][-1] == "serve"


def test_an_unknown_client_is_told_the_known_ones(shell: Shell) -> None:
    ended = shell("install", "emacs")
    assert ended.code == 2
    assert "there is no client 'emacs'" in ended.err
    assert "claude-code, claude-desktop, codex, cursor, gemini, vscode, windsurf, zed" in ended.err


def test_a_broken_file_is_a_failure_with_its_line(shell: Shell) -> None:
    file = shell.folder / "home" / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text('{\n  "a" 1\n}')
    ended = shell("install", "cursor")
    assert ended.code == 1
    assert f"{file}, line 2: a colon is missing" in ended.err
