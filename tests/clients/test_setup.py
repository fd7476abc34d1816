"""Dragoman in and out of every client's configuration."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from dragoman.clients import CLIENTS, Place, SetupError, config_file, install, jsonc, own_command, toml, uninstall

COMMAND = ("/opt/dragoman/bin/dragoman", "serve")


def said(name: str, file: Path) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8")
    value: Any = jsonc.read(text) if CLIENTS[name].format == "json" else toml.read(text)
    return value


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, {}, "linux")


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_that_has_no_file_yet_gets_one_that_only_its_owner_reads(place: Place, name: str) -> None:
    client = CLIENTS[name]
    file = config_file(client, place)
    change = install(client, file, "dragoman", COMMAND)
    assert (change.changed, change.backup) == (True, None)
    entry = said(name, file)[client.servers]["dragoman"]
    assert (entry["command"], entry["args"]) == (COMMAND[0], ["serve"])
    assert file.stat().st_mode & 0o777 == 0o600
    again = install(client, file, "dragoman", COMMAND)
    assert not again.changed
    assert uninstall(client, file, "dragoman").changed
    assert not uninstall(client, file, "dragoman").changed
    assert "dragoman" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CLIENTS)
def test_what_the_person_set_in_the_entry_stays_when_the_command_moves(place: Place, name: str) -> None:
    client = CLIENTS[name]
    file = config_file(client, place)
    install(client, file, "dragoman", COMMAND)
    own = "timeout" if client.format == "json" else "tool_timeout_sec"
    change = toml.put if client.format == "toml" else jsonc.put
    text = file.read_text(encoding="utf-8")
    entry = {**said(name, file)[client.servers]["dragoman"], own: 7}
    file.write_text(change(text, (client.servers, "dragoman"), entry), encoding="utf-8")
    install(client, file, "dragoman", ("/new/dragoman", "serve"))
    entry = said(name, file)[client.servers]["dragoman"]
    assert (entry["command"], entry[own]) == ("/new/dragoman", 7)


def test_the_old_content_is_kept_beside_the_file_and_its_mode_stays(place: Place) -> None:
    client = CLIENTS["cursor"]
    file = config_file(client, place)
    file.parent.mkdir()
    file.write_bytes(b'\xef\xbb\xbf{\r\n\t"x": 1 // mine\r\n}\r\n')
    file.chmod(0o640)
    change = install(client, file, "dragoman", COMMAND)
    assert change.backup is not None
    assert change.backup.read_bytes() == b'\xef\xbb\xbf{\r\n\t"x": 1 // mine\r\n}\r\n'
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.read_bytes().startswith(b'\xef\xbb\xbf{\r\n\t"x": 1, // mine\r\n\t"mcpServers": {\r\n')


def test_a_link_stays_a_link(place: Place, tmp_path: Path) -> None:
    client = CLIENTS["zed"]
    file = config_file(client, place)
    file.parent.mkdir(parents=True)
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    file.symlink_to(real)
    install(client, file, "dragoman", COMMAND)
    assert file.is_symlink()
    assert "context_servers" in real.read_text()


def test_nothing_is_written_when_only_the_text_is_wanted(place: Place) -> None:
    client = CLIENTS["vscode"]
    file = config_file(client, place)
    change = install(client, file, "dragoman", COMMAND, write=False)
    assert change.changed
    assert '"servers"' in change.text
    assert not file.parent.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{\n  "a": 1\n  "b": 2\n}', r"line 3: a comma"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b'{"mcpServers": 3}', "mcpServers is not an object"),
    ],
)
def test_a_broken_file_is_told_with_its_line_and_left_as_it_is(place: Place, content: bytes, words: str) -> None:
    client = CLIENTS["cursor"]
    file = config_file(client, place)
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(SetupError, match=words) as raised:
        install(client, file, "dragoman", COMMAND)
    assert raised.value.next_step
    assert file.read_bytes() == content
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(place: Place) -> None:
    client = CLIENTS["cursor"]
    file = config_file(client, place)
    file.parent.mkdir(mode=0o500)
    with pytest.raises(SetupError, match="cannot be written"):
        install(client, file, "dragoman", COMMAND)


@pytest.mark.parametrize(
    ("name", "system", "environ", "expected"),
    [
        ("claude-code", "linux", {"CLAUDE_CONFIG_DIR": "/c"}, "/c/.claude.json"),
        ("codex", "linux", {"CODEX_HOME": "/x"}, "/x/config.toml"),
        ("claude-desktop", "darwin", {}, "/me/Library/Application Support/Claude/claude_desktop_config.json"),
        ("vscode", "win32", {"APPDATA": "/roaming"}, "/roaming/Code/User/mcp.json"),
        ("vscode", "linux", {"XDG_CONFIG_HOME": "/xdg"}, "/xdg/Code/User/mcp.json"),
        ("zed", "darwin", {"XDG_CONFIG_HOME": "/xdg"}, "/me/.config/zed/settings.json"),
        ("gemini", "linux", {"GEMINI_CLI_HOME": "/g"}, "/g/.gemini/settings.json"),
        ("windsurf", "linux", {}, "/me/.codeium/windsurf/mcp_config.json"),
    ],
)
def test_a_clients_file_is_where_it_looks_for_it(
    name: str, system: str, environ: dict[str, str], expected: str
) -> None:
    assert config_file(CLIENTS[name], Place(Path("/me"), environ, system)) == Path(expected)


def test_a_project_has_its_own_file_where_the_client_reads_one(place: Place) -> None:
    assert config_file(CLIENTS["vscode"], place, Path("/p")) == Path("/p/.vscode/mcp.json")
    with pytest.raises(SetupError, match="no configuration for a project"):
        config_file(CLIENTS["claude-desktop"], place, Path("/p"))


def test_the_command_is_one_that_starts_from_anywhere() -> None:
    program, *arguments = own_command()
    assert Path(program).is_absolute()
    assert Path(program).exists()
    assert arguments[-1] == "serve"


def test_a_run_by_uvx_is_registered_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", f"{os.sep}home{os.sep}cache{os.sep}uv{os.sep}archive-v0{os.sep}abc")
    monkeypatch.delenv("UV_TOOL_BIN_DIR", raising=False)
    assert own_command() == ("uvx", "dragoman", "serve")
