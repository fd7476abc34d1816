"""Each real CLI, started directly with about the command line of its adapter: it answers, and it fails in its own way.

What is proved here is the ground the other tests stand on: pinned CLIs, the fake model API, environments from nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.fakes.model_api import ModelAPI
from tests.fakes.scenario import answer, hang, status
from tests.real import toolchain
from tests.real.channel import PATIENCE_S
from tests.real.environments import DUMMY_KEY, LLM_MODEL, base_env, claude_env, codex_env, gemini_env, llm_env

pytestmark = [pytest.mark.anyio, pytest.mark.real]

QUESTION = "What is the capital of France?"
CLAUDE = (
    *("claude", "-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"),
    *("--include-partial-messages", "--tools", "", "--system-prompt", "Answer in one word.", "--setting-sources", ""),
    *("--strict-mcp-config", "--disable-slash-commands", "--no-session-persistence"),
)
CODEX = ("codex", "exec", "--json", "-s", "read-only", "--skip-git-repo-check", "--ephemeral", "-")
LLM = ("llm", "prompt", "-m", LLM_MODEL, "-d", ":memory:", "--json")


async def run(
    argv: Sequence[str], env: Mapping[str, str], stdin: str | None = QUESTION, *, limit: float = PATIENCE_S
) -> subprocess.CompletedProcess[bytes]:
    """Start a program of this environment's PATH in its home, and wait for its end. `stdin` None: it reads none."""
    program = Path(env["HOME"]) / "bin" / argv[0]
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin.encode()}
    with anyio.fail_after(limit):
        return await anyio.run_process([str(program), *argv[1:]], env=env, cwd=env["HOME"], check=False, **given)


def lines(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def claude_question(text: str = QUESTION) -> str:
    return json.dumps({"type": "user", "message": {"role": "user", "content": text}, "client_composed": True}) + "\n"


@pytest.mark.parametrize("subscription", [False, True])
async def test_claude_answers(model_api: ModelAPI, hermetic_home: Path, claude_cli: Path, subscription: bool) -> None:
    model_api.scenario = answer("Paris", chunks=["Pa", "ris"])
    env = claude_env(hermetic_home, model_api.url, claude_cli, subscription=subscription)
    done = await run(CLAUDE, env, claude_question())
    result = lines(done)[-1]
    assert (done.returncode, result["type"], result["result"]) == (0, "result", "Paris")
    assert result["usage"]["input_tokens"] == model_api.scenario.input_tokens
    [asked] = model_api.questions
    assert QUESTION in asked.raw.decode()
    key = asked.headers["authorization"] if subscription else asked.headers["x-api-key"]
    assert key.endswith(DUMMY_KEY)


async def test_claude_reports_401(model_api: ModelAPI, hermetic_home: Path, claude_cli: Path) -> None:
    model_api.scenario = status(401)
    env = claude_env(hermetic_home, model_api.url, claude_cli) | {"CLAUDE_CODE_MAX_RETRIES": "0"}
    done = await run(CLAUDE, env, claude_question())
    result = lines(done)[-1]
    assert (done.returncode, result["is_error"], result["api_error_status"]) == (1, True, 401)


async def test_codex_answers(model_api: ModelAPI, hermetic_home: Path, codex_cli: Path) -> None:
    done = await run(CODEX, codex_env(hermetic_home, model_api.url, codex_cli))
    events = lines(done)
    texts = [e["item"]["text"] for e in events if e.get("item", {}).get("type") == "agent_message"]
    assert (done.returncode, texts, events[-1]["type"]) == (0, ["Paris"], "turn.completed")
    [asked] = model_api.questions
    assert QUESTION in asked.raw.decode()
    assert asked.headers["authorization"] == f"Bearer {DUMMY_KEY}"


async def test_codex_reads_a_key_from_the_environment(
    model_api: ModelAPI, hermetic_home: Path, codex_native_cli: Path
) -> None:
    env = codex_env(hermetic_home, model_api.url, codex_native_cli, stored=False)
    assert (await run(("codex", "login", "status"), env, stdin=None)).returncode == 1
    done = await run(CODEX, env)
    assert (done.returncode, b"temporary dir" in done.stderr) == (0, False)
    assert model_api.questions[0].headers["authorization"] == f"Bearer {DUMMY_KEY}"


async def test_codex_reports_401(model_api: ModelAPI, hermetic_home: Path, codex_native_cli: Path) -> None:
    model_api.scenario = status(401)
    provider = f'{{name="fake",base_url="{model_api.url}/v1",requires_openai_auth=true,supports_websockets=false,'
    provider += "request_max_retries=0,stream_max_retries=0}"
    chosen = ("-c", f"model_providers.fake={provider}", "-c", 'model_provider="fake"')
    env = codex_env(hermetic_home, model_api.url, codex_native_cli)
    done = await run((*CODEX[:2], *chosen, *CODEX[2:]), env)
    last = lines(done)[-1]
    assert (done.returncode, last["type"]) == (1, "turn.failed")
    assert "401 Unauthorized" in last["error"]["message"]


async def test_gemini_answers(model_api: ModelAPI, hermetic_home: Path, gemini_cli: Path) -> None:
    env = gemini_env(hermetic_home, model_api.url, gemini_cli) | {"GEMINI_CLI_TRUST_WORKSPACE": "true"}
    done = await run(("gemini", "-m", "flash", "-o", "stream-json"), env)
    assert (done.returncode, lines(done)[-1]["status"]) == (0, "success")
    [asked] = model_api.questions
    assert QUESTION in asked.raw.decode()
    assert asked.headers["x-goog-api-key"] == DUMMY_KEY


async def test_llm_answers(model_api: ModelAPI, hermetic_home: Path, llm_cli: Path) -> None:
    done = await run(LLM, llm_env(hermetic_home, model_api.url, llm_cli))
    [reply] = json.loads(done.stdout)
    assert (done.returncode, reply["response"]) == (0, "Paris")
    [asked] = model_api.questions
    assert QUESTION in asked.raw.decode()
    assert asked.headers["authorization"] == f"Bearer {DUMMY_KEY}"


async def test_llm_reports_401(model_api: ModelAPI, hermetic_home: Path, llm_cli: Path) -> None:
    model_api.scenario = status(401, message="that key is wrong")
    done = await run(LLM, llm_env(hermetic_home, model_api.url, llm_cli))
    assert done.returncode == 1
    assert b"Error: Error code: 401 - that key is wrong" in done.stderr


async def test_the_api_sees_that_a_stopped_cli_has_gone(
    model_api: ModelAPI, hermetic_home: Path, claude_cli: Path
) -> None:
    model_api.scenario = hang()
    env = claude_env(hermetic_home, model_api.url, claude_cli)
    program = [str(hermetic_home / "bin" / "claude"), *CLAUDE[1:]]
    with anyio.fail_after(PATIENCE_S):
        async with await anyio.open_process(program, env=env, cwd=hermetic_home) as child:
            assert child.stdin is not None
            await child.stdin.send(claude_question().encode())
            await model_api.wait_questions()
            # It may have another one open, to see whether the API is there.
            assert model_api.open
            child.kill()
            await model_api.wait_idle()


@pytest.mark.parametrize("environment", [claude_env, codex_env, gemini_env, llm_env])
def test_an_environment_holds_nothing_of_the_person_who_runs_the_tests(
    environment: Callable[[Path, str, Path], dict[str, str]],
    hermetic_home: Path,
    claude_cli: Path,
    codex_native_cli: Path,
    gemini_cli: Path,
    llm_cli: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOMEBODYS_SECRET", "s3cr3t")
    program = {"claude_env": claude_cli, "codex_env": codex_native_cli, "gemini_env": gemini_cli, "llm_env": llm_cli}[
        environment.__name__
    ]
    env = environment(hermetic_home, "http://127.0.0.1:1", program)
    assert "s3cr3t" not in env.values()
    assert os.environ.get("HOME") != env["HOME"] == str(hermetic_home)
    assert all(Path(env[name]).is_relative_to(hermetic_home) for name in ("TMPDIR", "CODEX_HOME") if name in env)


def test_merged_environments_find_all_programs(
    hermetic_home: Path, claude_cli: Path, codex_native_cli: Path, llm_cli: Path
) -> None:
    parts = [
        claude_env(hermetic_home, "http://127.0.0.1:1", claude_cli),
        codex_env(hermetic_home, "http://127.0.0.1:1", codex_native_cli),
        llm_env(hermetic_home, "http://127.0.0.1:1", llm_cli),
    ]
    merged = parts[0] | parts[1] | parts[2]
    assert all(merged[name] == value for part in parts for name, value in part.items())
    assert {"claude", "codex", "llm"} <= {program.name for program in (hermetic_home / "bin").iterdir()}


def test_the_installed_versions_are_the_pinned_ones(hermetic_home: Path, claude_cli: Path, codex_cli: Path) -> None:
    env = base_env(hermetic_home, claude_cli, codex_cli, toolchain.node())
    versions = {
        name: subprocess.run([hermetic_home / "bin" / name, "--version"], env=env, capture_output=True, check=True)
        for name in ("claude", "codex")
    }
    assert versions["claude"].stdout.decode().startswith(toolchain.pinned("@anthropic-ai/claude-code"))
    assert versions["codex"].stdout.decode().strip().endswith(toolchain.pinned("@openai/codex"))
