"""The real Claude Code, Codex and Gemini CLI as clients: a model tells each to ask `llm` through Dragoman.

They are set up by ``dragoman install`` in a home that is nobody's; the model is the fake one, and `llm` is scripted.
"""

import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process

from dragoman.testing import FakeCli, Liveness
from tests.fakes.model_api import ModelAPI
from tests.fakes.scenario import answer, use_tool
from tests.real.environments import claude_env, codex_env, gemini_env

pytestmark = [pytest.mark.anyio, pytest.mark.real]

WHEN_IT_MATTERS = 90
QUESTION = "What is the capital of France?"


@dataclass
class ClientUnderTest:
    """How a client is run, and what it calls our tool."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    tool: str


@pytest.fixture(params=["claude-code", "codex", "gemini"])
def client(request: pytest.FixtureRequest, hermetic_home: Path, model_api: ModelAPI) -> ClientUnderTest:
    name: str = request.param
    cli: Path = request.getfixturevalue(f"{name.removesuffix('-code')}_cli")
    match name:
        case "claude-code":
            words = ("-p", "Ask llm.", "--allowedTools", "mcp__dragoman__ask_llm")
            # The model may call it at once instead of searching for it.
            environment = {**claude_env(hermetic_home, model_api.url, cli), "ENABLE_TOOL_SEARCH": "false"}
            tool = "mcp__dragoman__ask_llm"
        case "codex":
            approved = 'mcp_servers.dragoman.default_tools_approval_mode="approve"'
            words = ("exec", "--skip-git-repo-check", "-c", approved, "Ask llm.")
            environment = codex_env(hermetic_home, model_api.url, cli)
            tool = "mcp__dragoman::ask_llm"
        case _:
            words = ("-m", "gemini-2.5-flash", "--yolo", "-p", "Ask llm.")
            environment = {
                **gemini_env(hermetic_home, model_api.url, cli),
                "GEMINI_CLI_TRUST_WORKSPACE": "true",
                "GEMINI_CLI_NO_RELAUNCH": "true",
            }
            tool = "mcp_dragoman_ask_llm"
    install = [sys.executable, "-m", "dragoman", "install", name]
    subprocess.run(install, env=environment, cwd=hermetic_home, check=True, capture_output=True, timeout=60)
    return ClientUnderTest((str(hermetic_home / "bin" / cli.name), *words), environment, tool)


@asynccontextmanager
async def running(client: ClientUnderTest, home: Path) -> AsyncGenerator[Process]:
    work = home / "work"
    work.mkdir()
    with (home / "said").open("wb") as said:
        process = await anyio.open_process(
            client.argv, cwd=work, env=client.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            yield process
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.aclose()


async def test_the_answer_is_in_the_clients_next_question_to_its_model(
    client: ClientUnderTest, hermetic_home: Path, model_api: ModelAPI
) -> None:
    cli = FakeCli(hermetic_home / "bin", "llm", version="0.36")
    cli.script({"read": "all"}, {"out": "Thinking "}, {"sleep": 2}, {"out": "of Paris-by-the-Seine"})
    model_api.play(use_tool(client.tool, prompt=QUESTION), answer("The tool said so."))
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with running(client, hermetic_home) as process:
            code = await process.wait()
    said = (hermetic_home / "said").read_text("utf-8", "replace")
    assert code == 0, said
    assert "The tool said so." in said
    assert cli.starts == 1
    assert any(b"Paris-by-the-Seine" in question.raw for question in model_api.questions[1:])


async def test_the_clients_own_cancel_ends_the_child(
    client: ClientUnderTest, hermetic_home: Path, model_api: ModelAPI
) -> None:
    model_api.play(use_tool(client.tool, prompt=QUESTION), answer("never said"))
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with Liveness() as live:
            FakeCli(hermetic_home / "bin", "llm", version="0.36").script(
                {"read": "all"}, {"grandchild": {"setsid": True, "connect": live.port}}, live.connect(), {"pause": True}
            )
            async with running(client, hermetic_home) as process:
                await live.connected(2, timeout_s=60)
                process.send_signal(signal.SIGINT)
                await process.wait()
                await live.all_gone()
