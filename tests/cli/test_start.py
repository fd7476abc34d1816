"""What starts what: imports, help, versions, completion, `serve` before there is a server."""

import json
import subprocess
import sys

import pytest

import dragoman
from tests.cli.harness import Shell

LOADED = """
import sys
from dragoman.cli import main
code = main(sys.argv[1:])
dear = {"mcp", "dragoman.engine", "dragoman.schemas", "rich", "typer"}
print(code, *sorted(dear & sys.modules.keys()), file=sys.stderr)
"""


def loaded_by(shell: Shell, *words: str) -> list[str]:
    done = subprocess.run(
        (sys.executable, "-c", LOADED, *words), capture_output=True, cwd=shell.work, env=shell.variables, check=True
    )
    return done.stderr.decode().splitlines()[-1].split()


@pytest.mark.parametrize("words", [["--help"], ["ask", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_nothing_but_the_parser(shell: Shell, words: list[str]) -> None:
    assert loaded_by(shell, *words) == ["0", "typer"]


@pytest.mark.parametrize("words", [["providers"], ["doctor"], ["config", "show"], ["config", "path"]], ids=" ".join)
def test_no_command_for_people_loads_the_server(shell: Shell, words: list[str]) -> None:
    code, *modules = loaded_by(shell, *words)
    assert code in ("0", "1")
    assert "mcp" not in modules


def test_serve_loads_no_parser(shell: Shell) -> None:
    code, *modules = loaded_by(shell, "serve", "--port", "many")
    assert code == "2"
    assert {"typer", "rich", "mcp"}.isdisjoint(modules)


def test_a_server_over_stdio_loads_nothing_that_only_http_needs(shell: Shell) -> None:
    code = "import sys, dragoman.server; print('dragoman.server.http' in sys.modules)"
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, env=shell.variables, check=True)
    assert done.stdout == b"False\n"


def test_a_wrong_option_of_serve_is_explained_by_the_configuration(shell: Shell) -> None:
    ended = shell("serve", "--port", "many")
    assert ended.code == 2
    assert "'port' in [server] is 'many'" in ended.err


def test_a_host_that_is_refused_is_so_over_stdio_too(shell: Shell) -> None:
    ended = shell("serve", "--host", "192.0.2.1")
    assert (ended.code, "the host '192.0.2.1' is refused" in ended.err) == (2, True)


def test_the_version_is_told(shell: Shell) -> None:
    assert shell("--version").out.decode() == f"dragoman {dragoman.__version__}\n"


def test_an_unknown_option_is_wrong_usage(shell: Shell) -> None:
    ended = shell("ask", "--nope")
    assert (ended.code, ended.out) == (2, b"")
    assert "--nope" in ended.err


def test_without_a_command_there_is_help(shell: Shell) -> None:
    ended = shell()
    assert ended.code == 2
    assert "Usage: dragoman" in (ended.out.decode() + ended.err)


def test_the_shell_completes_commands_and_providers(shell: Shell) -> None:
    def complete(line: str) -> list[str]:
        variables = {"_DRAGOMAN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        return Shell(shell.folder, shell.variables | variables)().out.decode().split()

    assert {"ask", "doctor", "serve"} <= set(complete("dragoman "))
    assert complete("dragoman ask cla") == ["claude"]
    assert complete("dragoman ask --mod") == ["--model"]


SERVING = """
import gc, sys
import dragoman.server
from dragoman.cli import main
dragoman.server.run = lambda configuration, ready: print(configuration.server.port, gc.isenabled())
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("more", [[], ["--host=localhost"]], ids=["plain", "with another option"])
def test_serve_hands_the_configuration_to_the_server(shell: Shell, more: list[str]) -> None:
    done = subprocess.run(
        (sys.executable, "-c", SERVING, "--log-level", "error", "serve", "--port", "7", *more),
        capture_output=True,
        cwd=shell.work,
        env=shell.variables,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"7 True\n", b"")


def test_a_project_file_that_is_not_trusted_is_told_before_serving(shell: Shell) -> None:
    (shell.work / "dragoman.toml").write_text('[server]\nhost = "0.0.0.0"\n')
    done = subprocess.run(
        (sys.executable, "-c", SERVING, "serve"), capture_output=True, cwd=shell.work, env=shell.variables, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"8765 True\n")
    assert "'server.host' is ignored" in done.stderr.decode()


HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


def test_serve_answers_a_client_and_ends_with_it(shell: Shell) -> None:
    ended = shell("serve", stdin=json.dumps(HELLO).encode() + b"\n")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)["result"]["serverInfo"]["version"] == dragoman.__version__
