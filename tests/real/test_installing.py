"""The toolchain around the real CLIs, with an npm of our own: when it installs, when it refuses, when tests skip."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.real import toolchain
from tests.real.required import required

CLAUDE, CODEX, GEMINI, NODE = map(
    toolchain.pinned, ("@anthropic-ai/claude-code", "@openai/codex", "@google/gemini-cli", "node")
)

# What an install leaves behind, as far as the toolchain looks at it. Runs in the folder that is to be filled.
FAKE_NPM = """\
#!/bin/sh
echo run >> "$INSTALLS"
put() {{ mkdir -p "$(dirname "$1")"; printf '#!/bin/sh\\necho "%s"\\n' "$2" > "$1"; chmod +x "$1"; }}
put node_modules/.bin/claude "{claude} (Claude Code)"
put node_modules/@openai/codex-some-machine/vendor/some-triple/bin/codex "codex-cli {codex}"
put node_modules/.bin/gemini "{gemini}"
put node_modules/node/bin/node "v{node}"
mkdir -p node_modules/@anthropic-ai/claude-code
"""


class Machine:
    """A PATH with an npm and a node that are scripts of the test."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.installs = folder / "installs"

    def has(self, name: str, script: str) -> None:
        (self.programs / name).write_text(script)
        (self.programs / name).chmod(0o755)

    @property
    def installs_seen(self) -> int:
        return len(self.installs.read_text().split()) if self.installs.exists() else 0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Machine]:
    """A machine with a working npm and an old node, and an empty cache."""
    made = Machine(tmp_path)
    made.has("npm", FAKE_NPM.format(claude=CLAUDE, codex=CODEX, gemini=GEMINI, node=NODE))
    made.has("node", '#!/bin/sh\n[ "$1" = --version ] && echo v20.1.0\nexit 0\n')
    monkeypatch.setenv("PATH", f"{made.programs}:/usr/bin:/bin")
    monkeypatch.setenv("INSTALLS", str(made.installs))
    monkeypatch.setattr(toolchain, "_CACHE", tmp_path / "cache")
    toolchain.forget()
    yield made
    toolchain.forget()


def test_the_clis_are_installed_once_and_checked(machine: Machine) -> None:
    found = (toolchain.claude(), toolchain.codex_native(), toolchain.node())
    toolchain.forget()
    assert found == (toolchain.claude(), toolchain.codex_native(), toolchain.node())
    assert all(path.is_file() for path in found)
    assert machine.installs_seen == 1


def test_two_at_once_install_once(machine: Machine) -> None:
    threads = [threading.Thread(target=toolchain.claude) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert machine.installs_seen == 1


def test_what_a_killed_install_left_is_swept_away(machine: Machine) -> None:
    home = toolchain.claude().parents[2]
    toolchain.forget()
    partial = home.rename(home.with_suffix(".partial"))
    (partial / "half").touch()
    assert not (toolchain.claude().parents[2] / "half").exists()
    assert not partial.exists()


def test_a_wrong_version_is_not_taken_into_the_cache(machine: Machine) -> None:
    machine.has("npm", FAKE_NPM.format(claude="2.1.197", codex=CODEX, gemini=GEMINI, node=NODE))
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"2\.1\.197 .* expected"):
            toolchain.claude()
    assert machine.installs_seen == 2


def test_a_new_enough_node_of_the_machine_is_used(machine: Machine) -> None:
    machine.has("node", "#!/bin/sh\necho v22.19.0\n")
    assert toolchain.node() == machine.programs / "node"
    assert machine.installs_seen == 0


def test_without_npm_the_message_says_what_to_install(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(machine.installs))
    with pytest.raises(toolchain.UnavailableError, match=r"install Node\.js"):
        toolchain.claude()


def test_a_failed_install_names_npms_code_and_nothing_else_of_its_output(machine: Machine) -> None:
    machine.has("npm", "#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\necho 'npm error at secret-host' >&2\nexit 1\n")
    with pytest.raises(toolchain.UnavailableError, match=r"exited with 1 \(ENOTFOUND\)") as caught:
        toolchain.claude()
    assert "secret-host" not in str(caught.value)


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_cli_skips_its_tests_but_fails_them_in_ci(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no npm here"):
        required(_unavailable)


def _unavailable() -> Path:
    raise toolchain.UnavailableError("no npm here")
