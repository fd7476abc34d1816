"""The real Claude Code, Codex and Gemini CLI as clients: a model tells each to ask `llm` through Dragoman.

They are set up by ``dragoman install`` in a home that is nobody's; the model is the fake one, and `llm` is scripted.
"""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process

from dragoman.clients.setup import own_command
from dragoman.testing import FakeCli, Liveness
from tests.fakes.model_api import ModelAPI
from tests.fakes.scenario import answer, use_tool
from tests.real.environments import claude_env, codex_env, gemini_env

pytestmark = [pytest.mark.anyio, pytest.mark.real]

WHEN_IT_MATTERS = 300
"""Ends a test that hangs: a client, its server and a CLI start one after the other."""
QUESTION = "What is the capital of France?"


@dataclass
class ClientUnderTest:
    """How a client is run, and what it calls our tool."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    tool: str
    config: Path
    opens_with: str
    """Its first message."""
    offers_new_tools: bool
    """Within the turn in which they come."""


Message = dict[str, Any]


class Wire:
    """What a client and the server said to each other, through `tap.py`."""

    def __init__(self, client: ClientUnderTest, home: Path, withheld: str = "-") -> None:
        self._log = home / "wire"
        server = own_command()[0]
        tap = shlex.join([sys.executable, str(Path(__file__).with_name("tap.py")), str(self._log), withheld, server])
        script = home / "tapped"
        script.write_text(f'#!/bin/sh\nexec {tap} "$@"\n', "utf-8")
        script.chmod(0o700)
        config = client.config.read_text("utf-8")
        assert config.count(f'"{server}"') == 1
        client.config.write_text(config.replace(f'"{server}"', f'"{script}"'), "utf-8")

    def said(self, who: str) -> list[Message]:
        """The messages of `client` or `server` so far."""
        lines = self._log.read_text("utf-8").split("\n")[:-1] if self._log.exists() else []
        return [message[who] for message in map(json.loads, lines) if who in message]

    def of(self, who: str, method: str) -> list[Message]:
        """Those with this method."""
        return [message for message in self.said(who) if message.get("method") == method]

    async def until(self, reached: Callable[[], object]) -> None:
        """Wait until what was said is enough."""
        while not reached():  # noqa: ASYNC110 - a file sends no events
            await anyio.sleep(0.05)


@pytest.fixture(params=["claude-code", "codex", "gemini"])
def client(request: pytest.FixtureRequest, hermetic_home: Path, model_api: ModelAPI) -> ClientUnderTest:
    name: str = request.param
    cli: Path = request.getfixturevalue(f"{name.removesuffix('-code')}_cli")
    match name:
        case "claude-code":
            words = ("-p", "Ask llm.", "--allowedTools", "mcp__dragoman__ask_llm")
            # The model may call it at once instead of searching for it.
            environment = {**claude_env(hermetic_home, model_api.url, cli), "ENABLE_TOOL_SEARCH": "false"}
            facts = ("mcp__dragoman__ask_llm", hermetic_home / ".claude.json", "server/discover", True)
        case "codex":
            # It asks nobody before it calls a tool that only reads.
            words = ("exec", "--skip-git-repo-check", "Ask llm.")
            environment = codex_env(hermetic_home, model_api.url, cli)
            facts = ("mcp__dragoman::ask_llm", hermetic_home / ".codex" / "config.toml", "initialize", False)
        case _:
            words = ("-m", "gemini-2.5-flash", "--yolo", "-p", "Ask llm.")
            environment = {
                **gemini_env(hermetic_home, model_api.url, cli),
                "GEMINI_CLI_TRUST_WORKSPACE": "true",
                "GEMINI_CLI_NO_RELAUNCH": "true",
            }
            facts = ("mcp_dragoman_ask_llm", hermetic_home / ".gemini" / "settings.json", "initialize", True)
    install = [sys.executable, "-m", "dragoman", "install", name]
    subprocess.run(
        install, env=environment, cwd=hermetic_home, check=True, capture_output=True, timeout=WHEN_IT_MATTERS
    )
    return ClientUnderTest((str(hermetic_home / "bin" / cli.name), *words), environment, *facts)


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
    # With the time for a line or two of progress.
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
                await live.connected(2, WHEN_IT_MATTERS)
                process.send_signal(signal.SIGINT)
                await process.wait()
                await live.all_gone()


async def test_a_slow_call_tells_its_progress_and_a_cli_that_appears_meanwhile_is_offered(
    client: ClientUnderTest, hermetic_home: Path, model_api: ModelAPI
) -> None:
    model_api.play(use_tool(client.tool, prompt=QUESTION), answer("The tool said so."))
    wire = Wire(client, hermetic_home)
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with Liveness() as live:
            FakeCli(hermetic_home / "bin", "llm", version="0.36").script(
                {"read": "all"}, {"out": "Thinking "}, live.connect(), {"wait": "gate"}, {"out": "of Paris"}
            )
            async with running(client, hermetic_home) as process:
                await live.connected(1, WHEN_IT_MATTERS)
                await wire.until(lambda: len(wire.of("server", "notifications/progress")) >= 2)
                FakeCli(hermetic_home / "bin", "acp-agent").script()
                await wire.until(lambda: wire.of("server", "notifications/tools/list_changed"))
                if client.offers_new_tools:
                    await wire.until(lambda: "ask_acp" in json.dumps(wire.said("server")))
                await live.release()
                assert await process.wait() == 0
    assert wire.said("client")[0]["method"] == client.opens_with
    [call] = wire.of("client", "tools/call")
    told = [message["params"] for message in wire.of("server", "notifications/progress")]
    assert {each["progressToken"] for each in told} == {call["params"]["_meta"]["progressToken"]}
    numbers = [each["progress"] for each in told]
    assert numbers == sorted(set(numbers))
    assert not wire.of("client", "notifications/cancelled")
    last = model_api.questions[-1].raw
    assert b"Thinking of Paris" in last
    assert (b"ask_acp" in last) is client.offers_new_tools


@pytest.mark.long
@pytest.mark.parametrize("client", ["claude-code"], indirect=True)
@pytest.mark.parametrize("withheld", ["-", "notifications/progress"])
async def test_progress_keeps_a_silent_call_alive_that_claude_code_would_give_up_without_it(
    client: ClientUnderTest, withheld: str, hermetic_home: Path, model_api: ModelAPI
) -> None:
    # It looks every 30 s.
    client.environment["CLAUDE_CODE_MCP_TOOL_IDLE_TIMEOUT"] = "15000"
    model_api.play(use_tool(client.tool, prompt=QUESTION), answer("The tool said so."))
    wire = Wire(client, hermetic_home, withheld)
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with Liveness() as live:
            FakeCli(hermetic_home / "bin", "llm", version="0.36").script(
                {"read": "all"}, live.connect(), {"wait": "gate"}, {"out": "Paris-by-the-Seine"}
            )
            async with running(client, hermetic_home) as process:
                await live.connected(1, WHEN_IT_MATTERS)
                if withheld == "-":
                    await wire.until(lambda: wire.of("server", "notifications/progress")[4:])
                    await live.release()
                await process.wait()
                await live.all_gone()
    assert (b"no response or progress" in model_api.questions[-1].raw) is (withheld != "-")
    assert (b"Paris-by-the-Seine" in model_api.questions[-1].raw) is (withheld == "-")
