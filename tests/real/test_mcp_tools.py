"""The tools that judge MCP servers: the Inspector over every transport, and the conformance suite with a baseline."""

import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from dragoman.testing import FakeCli
from tests.real import toolchain
from tests.real.environments import base_env
from tests.real.required import required
from tests.server.serving import SERVE, served, variables

pytestmark = [pytest.mark.anyio, pytest.mark.real]

WHEN_IT_MATTERS = 300
BASELINES = Path(__file__).with_name("mcp")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with a home, and a fake `llm` as the only CLI."""
    for name in ("bin", "home", "work"):
        (tmp_path / name).mkdir()
    FakeCli(tmp_path / "bin", "llm", version="0.36").script({"read": "all"}, {"out": "Paris"})
    return tmp_path


async def run(machine: Path, tool: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script of Node's to its end."""
    node = required(toolchain.node)
    with anyio.fail_after(WHEN_IT_MATTERS):
        return await anyio.run_process(
            (str(node), str(tool), *options), cwd=machine / "work", env=base_env(machine / "home", node), check=False
        )


@asynccontextmanager
async def target(machine: Path, transport: str) -> AsyncGenerator[tuple[str, ...]]:
    """How the Inspector is told of a server."""
    if transport == "stdio":
        told = (f"{name}={value}" for name, value in variables(machine).items())
        yield (*SERVE, *(word for pair in told for word in ("-e", pair)))
    else:
        async with served(machine, "--transport", transport) as (_, url):
            yield (url,)


# Each transport and each era once; the rest in the long runs, since the Inspector takes seconds to start.
@pytest.mark.parametrize(
    ("transport", "era"),
    [
        ("stdio", "modern"),
        ("streamable-http", "legacy"),
        ("sse", "legacy"),
        pytest.param("stdio", "legacy", marks=pytest.mark.long),
        pytest.param("sse", "modern", marks=pytest.mark.long),
        pytest.param("streamable-http", "modern", marks=pytest.mark.long),
    ],
)
async def test_the_inspector_finds_every_schema_portable_and_gets_an_answer(
    machine: Path, transport: str, era: str
) -> None:
    inspector = required(toolchain.inspector)
    async with target(machine, transport) as words:
        common = ("--cli", *words, "--protocol-era", era, "--format", "json", "--connect-timeout", "0")
        listed = await run(machine, inspector, *common, "--method", "tools/list", "--strict")
        assert listed.returncode == 0, listed.stderr
        assert b"warning" not in listed.stderr.lower()
        names = [tool["name"] for tool in json.loads(listed.stdout)["result"]["tools"]]
        assert names == ["ask_llm", "structured_query", "ask_many", "job", "conversation", "providers"]
        call = ("--method", "tools/call", "--tool-name", "ask_llm")
        asked = await run(machine, inspector, *common, *call, "--tool-args-json", '{"prompt": "the capital"}')
        assert asked.returncode == 0, asked.stderr
        assert json.loads(asked.stdout)["result"]["structuredContent"]["text"] == "Paris"
        refused = await run(machine, inspector, *common, *call, "--tool-args-json", '{"promt": "the capital"}')
        assert refused.returncode == 5
        assert "did you mean 'prompt'?" in refused.stdout.decode()


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
async def test_the_conformance_suite_fails_only_where_the_baseline_says_why(machine: Path, revision: str) -> None:
    suite = required(toolchain.conformance)
    baseline = BASELINES / f"conformance-{revision}.yml"
    async with served(machine, "--transport", "streamable-http") as (_, url):
        judged = await run(
            machine, suite, "server", "--url", url, "--requirements", revision, "--expected-failures", str(baseline)
        )
    sys.stdout.buffer.write(judged.stdout[judged.stdout.rfind(b"=== SUMMARY") :])
    assert judged.returncode == 0
    assert b"Total: 0 passed" not in judged.stdout
