"""Nothing of the person's own setup starts in a child, and no key of theirs reaches it."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.schemas import ErrorCode, LLMRequest, LLMResponse, Text
from tests.fakes import scenario as api
from tests.fakes.model_api import ModelAPI
from tests.real.channel import PATIENCE_S
from tests.real.environments import claude_env, codex_env
from tests.real.providers import Real, processes_of, real

pytestmark = [pytest.mark.anyio, pytest.mark.real]

MARKED = "TEXT-OF-THE-PROJECT"


async def look(provider: Real, url: str) -> LLMResponse:
    async with provider.engine(url) as engine:
        request = LLMRequest(prompt="hi", provider=provider.name, cwd=provider.project)
        with anyio.fail_after(PATIENCE_S):
            return await engine.submit(request).outcome()


def server(home: Path, name: str) -> dict[str, object]:
    """An MCP server that leaves a mark when it is started."""
    return {"command": "/bin/sh", "args": ["-c", f"touch {home}/started-{name}; cat"]}


def started(home: Path) -> list[str]:
    return sorted(path.name for path in home.glob("started-*"))


async def test_claude_starts_no_server_and_no_hook_and_reads_no_project_text(
    claude_cli: Path, hermetic_home: Path, model_api: ModelAPI
) -> None:
    home = hermetic_home
    provider = real("claude", home, claude_cli)
    provider.project.mkdir()
    hook = {"hooks": [{"type": "command", "command": f"touch {home}/started-hook"}]}
    (home / ".claude").mkdir()
    (home / ".claude" / "settings.json").write_text(json.dumps({"hooks": {"SessionStart": [hook]}}))
    (home / ".claude" / "CLAUDE.md").write_text(MARKED)
    (home / ".claude.json").write_text(json.dumps({"mcpServers": {"mine": server(home, "user-server")}}))
    (provider.project / ".mcp.json").write_text(json.dumps({"mcpServers": {"p": server(home, "project-server")}}))
    (provider.project / "CLAUDE.md").write_text(MARKED)
    reply = await look(provider, model_api.url)
    assert reply.status == "completed", reply.error
    assert started(home) == []
    body = model_api.questions[-1].body or {}
    assert MARKED not in str(body)
    assert {tool["name"] for tool in body["tools"]} == {"Read", "Grep", "Glob"}


async def test_codex_starts_no_server_and_no_program_and_reads_no_project_text(
    codex_cli: Path, hermetic_home: Path, model_api: ModelAPI
) -> None:
    home = hermetic_home
    project = home / "project"
    (project / ".codex").mkdir(parents=True)
    (project / ".git").mkdir()
    (project / "AGENTS.md").write_text(MARKED)
    mark = ["-c", f"touch {home}/started-project-server; cat"]
    (project / ".codex" / "config.toml").write_text(
        f'[mcp_servers.project]\ncommand = "/bin/sh"\nargs = {json.dumps(mark)}\n'
    )
    mine = json.dumps(server(home, "user-server")["args"])
    more = f"""
notify = ["/bin/sh", "-c", "touch {home}/started-notify"]
sandbox_mode = "danger-full-access"

[mcp_servers."mine.with dots"]
command = "/bin/sh"
args = {mine}

[projects."{project}"]
trust_level = "trusted"
"""
    environment = codex_env(home, model_api.url, codex_cli)
    config = home / ".codex" / "config.toml"
    first, tables = config.read_text().split("[analytics]")
    config.write_text(first + more + "\n[analytics]" + tables)
    provider = Real("codex", home, lambda _: environment)
    reply = await look(provider, model_api.url)
    assert reply.status == "completed", reply.error
    assert started(home) == []
    sent = str(model_api.questions[-1].body)
    assert MARKED not in sent
    assert "danger-full-access" not in sent


async def test_gemini_starts_no_server_no_hook_and_no_extension_and_reads_no_text_of_the_person_or_project(
    gemini_cli: Path, hermetic_home: Path, model_api: ModelAPI
) -> None:
    home = hermetic_home
    provider = real("gemini", home, gemini_cli)
    environment = dict(provider.environment(model_api.url))
    for folder, name in ((home, "user"), (provider.project, "project")):
        own = folder / ".gemini"
        (own / "extensions" / "mine").mkdir(parents=True)
        (own / "policies").mkdir()
        (own / "commands").mkdir()
        hook = {"hooks": [{"type": "command", "command": f"touch {home}/started-{name}-hook"}]}
        settings = {
            "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
            "mcpServers": {"mine": server(home, f"{name}-server")},
            "hooks": {"SessionStart": [hook], "BeforeAgent": [hook]},
            "tools": {"core": ["run_shell_command"], "discoveryCommand": f"touch {home}/started-{name}-discovery"},
            "context": {"includeDirectories": ["/etc"]},
        }
        (own / "settings.json").write_text(json.dumps(settings))
        extension = {
            "name": "mine",
            "version": "1.0.0",
            "contextFileName": "GEMINI.md",
            "mcpServers": {"theirs": server(home, f"{name}-extension")},
        }
        (own / "extensions" / "mine" / "gemini-extension.json").write_text(json.dumps(extension))
        allow = '[[rule]]\ntoolName = "*"\ndecision = "allow"\npriority = 999\n'
        (own / "policies" / "mine.toml").write_text(allow)
        for text in (own / "GEMINI.md", folder / "GEMINI.md", own / "extensions" / "mine" / "GEMINI.md"):
            text.write_text(MARKED)
    (home / ".gemini" / "trustedFolders.json").write_text(json.dumps({str(provider.project): "TRUST_FOLDER"}))
    (provider.project / ".env").write_text("GEMINI_API_KEY=a-key-of-the-project\n")
    model_api.play(
        api.use_tool("read_file", file_path=str(provider.project / "notes.txt")),
        api.use_tool("read_file", file_path="/etc/hostname"),
        api.answer("done"),
    )
    (provider.project / "notes.txt").write_text("NOTES")
    async with Engine(Configuration(), environ=environment, folder=home) as engine:
        request = LLMRequest(prompt="hi", provider="gemini", cwd=provider.project)
        with anyio.fail_after(PATIENCE_S):
            reply = await engine.submit(request).outcome()
    assert reply.text == "done", reply.error
    assert started(home) == []
    sent = b"".join(question.raw for question in model_api.questions).decode()
    assert MARKED not in sent
    assert "NOTES" in sent
    assert "outside the allowed workspace" in sent
    assert {question.headers["x-goog-api-key"] for question in model_api.questions} == {"dummy-key"}
    [tools] = (model_api.questions[0].body or {})["tools"]
    names = {tool["name"] for tool in tools["functionDeclarations"]}
    assert names == {"read_file", "list_directory", "grep_search", "glob"}


async def test_metered_keys_do_not_reach_the_child(
    provider: Real, model_api: ModelAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = dict.fromkeys(
        ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "CODEX_API_KEY", "GEMINI_API_KEY", "SOME_SECRET"), "value-of-a-key"
    )
    model_api.scenario = api.stall_after(["x"])
    environment = {**provider.environment(model_api.url), **keys}
    async with Engine(Configuration(), environ=environment, folder=provider.home) as engine:
        call = engine.submit(LLMRequest(prompt="hi", provider=provider.name))
        with anyio.fail_after(PATIENCE_S):
            async for event in call.log.follow():
                if isinstance(event, Text):
                    break
        running = processes_of(provider.home)
        assert running
        assert not any("value-of-a-key" in seen(pid) for pid in running)
        call.cancel()


def seen(pid: int) -> str:
    """The environment of a process, empty when it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return ""


async def test_a_key_that_was_held_back_is_named_when_the_login_is_missing(
    claude_cli: Path, hermetic_home: Path, model_api: ModelAPI
) -> None:
    environment = claude_env(hermetic_home, model_api.url, claude_cli)
    request = LLMRequest(prompt="hi", provider="claude")
    async with Engine(Configuration(), environ=environment, folder=hermetic_home) as engine:
        error = (await engine.submit(request).outcome()).error
    assert error is not None
    assert error.code is ErrorCode.AUTH
    assert "ANTHROPIC_API_KEY" in (error.next_step or "")
    inherit = Configuration.model_validate({"providers": {"claude": {"credentials": "inherit"}}})
    async with Engine(inherit, environ=environment, folder=hermetic_home) as engine:
        reply = await engine.submit(request).outcome()
    assert (reply.status, reply.billing) == ("completed", "metered")


async def test_codex_with_a_key_in_its_environment_answers_through_exec(
    codex_cli: Path, hermetic_home: Path, model_api: ModelAPI
) -> None:
    environment = codex_env(hermetic_home, model_api.url, codex_cli, stored=False)
    # exec is run without the user's config.toml, where the address of the fake API stands.
    settings = {"credentials": "inherit", "command": ["codex", "-c", f"openai_base_url={model_api.url}/v1"]}
    configuration = Configuration.model_validate({"providers": {"codex": settings}})
    async with Engine(configuration, environ=environment, folder=hermetic_home) as engine:
        for scenario, code in ((api.answer("Paris."), None), (api.status(401), ErrorCode.AUTH)):
            model_api.scenario = scenario
            with anyio.fail_after(PATIENCE_S):
                reply = await engine.submit(LLMRequest(prompt="hi", provider="codex")).outcome()
            assert (reply.error.code if reply.error else None) is code, reply
            assert reply.text == ("Paris." if code is None else "")


async def test_who_is_logged_in_is_what_the_cli_says(provider: Real, model_api: ModelAPI) -> None:
    async with provider.engine(model_api.url) as engine:
        status = await engine.providers.status(provider.name, deep=True)
    # gemini has no command that tells.
    assert (status.state, status.logged_in) == ("ready", None if provider.name == "gemini" else True), status
    assert status.version


async def test_a_logged_out_home_is_recognised(
    request: pytest.FixtureRequest, hermetic_home: Path, model_api: ModelAPI
) -> None:
    environments = {
        "claude": claude_env(hermetic_home, model_api.url, request.getfixturevalue("claude_cli"), key=None),
        "codex": codex_env(hermetic_home, model_api.url, request.getfixturevalue("codex_cli"), key=None),
    }
    for name, environment in environments.items():
        async with Engine(Configuration(), environ=environment, folder=hermetic_home) as engine:
            status = await engine.providers.status(name, deep=True)
            assert status.state == "logged_out", status
            reply = await engine.submit(LLMRequest(prompt="hi", provider=name)).outcome()
            assert reply.error is not None
            assert reply.error.code is ErrorCode.AUTH
