"""The main job as a person has it: real CLIs through the MCP server, in both eras, and through the command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest
from mcp import Client, StdioServerParameters

from tests.fakes import scenario as api
from tests.fakes.model_api import ModelAPI
from tests.real.environments import claude_env, codex_env, gemini_env, llm_env
from tests.real.providers import all_gone
from tests.real.test_clients import WHEN_IT_MATTERS

pytestmark = [pytest.mark.anyio, pytest.mark.real]

PROVIDERS = ("claude", "codex", "gemini", "llm")


@pytest.fixture
def environment(
    hermetic_home: Path, model_api: ModelAPI, claude_cli: Path, codex_cli: Path, gemini_cli: Path, llm_cli: Path
) -> Mapping[str, str]:
    """An environment in which all four CLIs are there and logged in."""
    return {
        **claude_env(hermetic_home, model_api.url, claude_cli, subscription=True),
        **codex_env(hermetic_home, model_api.url, codex_cli),
        **gemini_env(hermetic_home, model_api.url, gemini_cli),
        **llm_env(hermetic_home, model_api.url, llm_cli),
        "DRAGOMAN_HOME": str(hermetic_home / "state"),
        "XDG_CONFIG_HOME": str(hermetic_home / "config"),
    }


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_mcp_client_asks_each_of_them(
    mode: str, environment: Mapping[str, str], hermetic_home: Path, model_api: ModelAPI
) -> None:
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "dragoman", "serve"], env=dict(environment), cwd=hermetic_home
    )
    model_api.scenario = api.answer("The capital is Paris.", chunks=3)
    lines: list[str | None] = []

    async def told(progress: float, total: float | None, message: str | None) -> None:
        lines.append(message)

    with anyio.fail_after(WHEN_IT_MATTERS):
        async with Client(parameters, mode="auto" if mode == "auto" else "legacy") as client:
            assert {f"ask_{name}" for name in PROVIDERS} <= {tool.name for tool in (await client.list_tools()).tools}
            for name in PROVIDERS:
                result = await client.call_tool(f"ask_{name}", {"prompt": "hi"}, progress_callback=told)
                assert not result.is_error, result
                assert result.structured_content is not None
                assert result.structured_content["text"].strip() == "The capital is Paris."
                assert result.content[0].type == "text"
                assert result.content[0].text == result.structured_content["text"]
            model_api.scenario = api.status(401)
            failed = await client.call_tool("ask_claude", {"prompt": "hi"})
            assert failed.is_error
            assert failed.structured_content is not None
            assert failed.structured_content["error"]["code"] == "auth"
    assert any(line and line.startswith("claude") for line in lines)
    await all_gone(hermetic_home)


async def test_a_client_that_cancels_ends_the_real_child(
    environment: Mapping[str, str], hermetic_home: Path, model_api: ModelAPI
) -> None:
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "dragoman", "serve"], env=dict(environment), cwd=hermetic_home
    )
    model_api.scenario = api.stall_after(["Par"])
    async with Client(parameters) as client:
        for name in PROVIDERS:
            asked = len(model_api.questions)
            with anyio.fail_after(WHEN_IT_MATTERS):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(client.call_tool, f"ask_{name}", {"prompt": "hi"})
                    await model_api.wait_questions(asked + 1)
                    tasks.cancel_scope.cancel()
                await model_api.wait_idle()
    await all_gone(hermetic_home)


async def test_the_command_streams_the_answer_of_the_first_that_is_ready(
    environment: Mapping[str, str], hermetic_home: Path, model_api: ModelAPI
) -> None:
    model_api.scenario = api.answer("The capital is Paris.", chunks=3)

    async def ask(*words: str) -> subprocess.CompletedProcess[bytes]:
        with anyio.fail_after(WHEN_IT_MATTERS):
            return await anyio.run_process(
                [sys.executable, "-m", "dragoman", "ask", *words], env=environment, cwd=hermetic_home, check=False
            )

    for words in (("hi",), *((name, "hi") for name in PROVIDERS)):
        done = await ask(*words)
        assert (done.returncode, done.stdout.decode().strip()) == (0, "The capital is Paris."), done.stderr
    model_api.scenario = api.status(429)
    done = await ask("claude", "hi")
    assert done.returncode == 5
    assert b"rate_limited" in done.stderr
    await all_gone(hermetic_home)
