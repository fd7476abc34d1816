"""The real CLIs as npm installs them: what is started is the program, not npm's launcher."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from dragoman.adapters.claude import PROFILE as CLAUDE
from dragoman.adapters.codex import PROFILE as CODEX
from dragoman.config import ProviderSettings
from dragoman.engine.providers.finding import Program, find_program
from dragoman.schemas import ErrorCode, LLMRequest
from tests.fakes import scenario as api
from tests.fakes.model_api import ModelAPI
from tests.real.channel import PATIENCE_S
from tests.real.providers import all_gone, processes_of, real

pytestmark = [pytest.mark.anyio, pytest.mark.real]


def running(home: Path) -> set[str]:
    """The programs that run with this home."""
    found: set[str] = set()
    for pid in processes_of(home):
        with suppress(OSError):  # it ended meanwhile
            found.add(str(Path(f"/proc/{pid}/exe").readlink()))
    return found


def the_file(program: Path) -> str:
    """As the kernel names it: there may be links on the way."""
    return str(program.resolve())


async def test_codex_runs_as_its_own_program_and_without_node(
    hermetic_home: Path, codex_cli: Path, codex_native_cli: Path, model_api: ModelAPI
) -> None:
    codex = real("codex", hermetic_home, codex_cli)
    model_api.scenario = api.stall_after(["Par"])
    engine = codex.engine(model_api.url)
    # Only the login of the test's own needed it.
    (hermetic_home / "bin" / "node").unlink()
    async with engine:
        call = engine.submit(LLMRequest(prompt="hi", provider="codex"))
        with anyio.fail_after(PATIENCE_S):
            await model_api.wait_questions()
            assert running(hermetic_home) == {the_file(codex_native_cli)}
            call.cancel()
            await call.outcome()
        await all_gone(hermetic_home)


def test_codex_is_told_what_its_launcher_would_tell_it(hermetic_home: Path, codex_cli: Path) -> None:
    environ = real("codex", hermetic_home, codex_cli).environment("http://127.0.0.1:9")
    found = find_program(CODEX, ProviderSettings(), environ)
    assert isinstance(found, Program)
    assert found.path == hermetic_home / "bin" / "codex"
    package = codex_cli.resolve().parents[1]
    assert found.env == {"CODEX_MANAGED_PACKAGE_ROOT": str(package), "CODEX_MANAGED_BY_NPM": "1"}
    # The launcher's own words: another version may say it in another way, which is to be seen here.
    launcher = codex_cli.resolve().read_text("utf-8")
    assert all(name in launcher for name in found.env)


def test_claude_in_its_place_is_started_as_it_is(hermetic_home: Path, claude_cli: Path) -> None:
    environ = real("claude", hermetic_home, claude_cli).environment("http://127.0.0.1:9")
    link = hermetic_home / "bin" / "claude"
    assert find_program(CLAUDE, ProviderSettings(), environ) == Program((str(link),), link)


def claude_as_npm_leaves_it(tmp_path: Path, claude_cli: Path, *, with_program: bool) -> Path:
    """The pinned claude after ``npm install --ignore-scripts``: a stub, and the program in its own package."""
    pinned = claude_cli.resolve().parents[1]
    modules = tmp_path / "node_modules" / "@anthropic-ai"
    stub = modules / "claude-code" / "bin" / "claude.exe"
    stub.parent.mkdir(parents=True)
    stub.write_text("echo 'Error: claude native binary not installed.' >&2\nexit 1\n")
    stub.chmod(0o755)
    shutil.copy(pinned / "package.json", modules / "claude-code")
    for native in pinned.parent.glob("claude-code-*") if with_program else ():
        (modules / native.name).symlink_to(native, target_is_directory=True)
    link = tmp_path / "node_modules" / ".bin" / "claude"
    link.parent.mkdir()
    link.symlink_to("../@anthropic-ai/claude-code/bin/claude.exe")
    return link


async def test_a_claude_whose_install_script_was_not_run_answers_all_the_same(
    hermetic_home: Path, tmp_path: Path, claude_cli: Path, model_api: ModelAPI
) -> None:
    stub = claude_as_npm_leaves_it(tmp_path, claude_cli, with_program=True)
    model_api.scenario = api.answer("The capital is Paris.")
    async with real("claude", hermetic_home, stub).engine(model_api.url) as engine:
        with anyio.fail_after(PATIENCE_S):
            reply = await engine.submit(LLMRequest(prompt="hi", provider="claude")).outcome()
    assert (reply.status, reply.text) == ("completed", "The capital is Paris."), reply


async def test_a_claude_without_its_program_is_missing_and_says_what_to_run(
    hermetic_home: Path, tmp_path: Path, claude_cli: Path, model_api: ModelAPI
) -> None:
    stub = claude_as_npm_leaves_it(tmp_path, claude_cli, with_program=False)
    async with real("claude", hermetic_home, stub).engine(model_api.url) as engine:
        assert "claude" not in engine.providers.present()
        with anyio.fail_after(PATIENCE_S):
            reply = await engine.submit(LLMRequest(prompt="hi", provider="claude")).outcome()
    assert reply.error is not None
    assert reply.error.code is ErrorCode.NOT_FOUND
    assert "npm install -g --include=optional @anthropic-ai/claude-code" in (reply.error.next_step or "")
