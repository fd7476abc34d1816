"""The real clients see Dragoman after ``dragoman install`` in a home that is nobody's."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.real import toolchain
from tests.real.environments import base_env
from tests.real.required import required

pytestmark = pytest.mark.real

QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    # How long, in ms, claude waits for the server that it looks at.
    "MCP_TIMEOUT": "120000",
}


def run(home: Path, *words: object) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=home,
        env={**base_env(home, required(toolchain.node)), **QUIET},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
        check=False,
    )
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, said
    return said


def test_claude_code_starts_the_server_and_finds_it_healthy(hermetic_home: Path, claude_cli: Path) -> None:
    run(hermetic_home, sys.executable, "-m", "dragoman", "install", "claude-code")
    listed = run(hermetic_home, claude_cli, "mcp", "list")
    assert "dragoman" in listed
    assert "Connected" in listed
    run(hermetic_home, sys.executable, "-m", "dragoman", "uninstall", "claude-code")
    assert "dragoman" not in run(hermetic_home, claude_cli, "mcp", "list")


def test_codex_lists_the_server(hermetic_home: Path, codex_cli: Path) -> None:
    run(hermetic_home, sys.executable, "-m", "dragoman", "install", "codex")
    listed = run(hermetic_home, codex_cli, "mcp", "list", "--json")
    assert '"dragoman"' in listed
    run(hermetic_home, sys.executable, "-m", "dragoman", "uninstall", "codex")
    assert "dragoman" not in run(hermetic_home, codex_cli, "mcp", "list", "--json")


def test_gemini_lists_the_server(hermetic_home: Path, gemini_cli: Path) -> None:
    run(hermetic_home, sys.executable, "-m", "dragoman", "install", "gemini")
    assert "dragoman" in run(hermetic_home, gemini_cli, "mcp", "list")
