"""On every face an answer that does not pass is asked for again, and is then a failure with its attempts."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client

from dragoman import Configuration, Dragoman, LLMError, LLMResponse
from dragoman.engine import Engine
from dragoman.server import DragomanServer
from dragoman.structured import registry
from dragoman.sync import Dragoman as SyncDragoman
from dragoman.testing import FakeCli
from tests.cli.harness import Shell

Reply = dict[str, Any]
Face = Callable[[Shell, str | None], Reply]
"""Asks `llm` once, for an answer that passes this validator, or the default."""

ATTEMPTS = 2
PASSES = "here I am"


def configuration(shell: Shell) -> Configuration:
    command = [str(shell.folder / "bin" / "llm")]
    return Configuration.model_validate(
        {"retry": {"max_attempts": ATTEMPTS}, "providers": {"llm": {"command": command}}}
    )


def over_mcp(shell: Shell, validator: str | None) -> Reply:
    async def ask() -> Reply:
        engine = Engine(configuration(shell), environ=shell.variables, folder=shell.work)
        async with engine, Client(DragomanServer(engine)) as client:
            if validator is None:
                result = await client.call_tool("ask_llm", {"prompt": "Are you there?"})
            else:
                asked = {"prompt": "Are you there?", "schema": {"type": "string"}, "validators": [validator]}
                result = await client.call_tool("structured_query", {**asked, "provider": "llm"})
            assert result.structured_content is not None
            assert result.is_error is (result.structured_content["status"] == "failed")
            return result.structured_content

    return anyio.run(ask)


def in_the_library(shell: Shell, validator: str | None) -> Reply:
    async def ask() -> LLMResponse:
        async with Dragoman(configuration(shell)) as d:
            return await d.ask("llm", "Are you there?", validators=None if validator is None else [validator])

    return outcome(lambda: anyio.run(ask))


def without_an_event_loop(shell: Shell, validator: str | None) -> Reply:
    with SyncDragoman(configuration(shell)) as d:
        return outcome(lambda: d.ask("llm", "Are you there?", validators=None if validator is None else [validator]))


def on_the_command_line(shell: Shell, validator: str | None) -> Reply:
    words = () if validator is None else ("--validator", validator)
    variables = {"DRAGOMAN_RETRY__MAX_ATTEMPTS": str(ATTEMPTS), "PYTHONPATH": str(shell.folder / "brought")}
    ended = shell("ask", "llm", "Are you there?", "--json", *words, stdin=b"", **variables)
    assert (ended.code == 0) is (json.loads(ended.out)["status"] == "completed")
    return json.loads(ended.out)


def outcome(ask: Callable[[], LLMResponse]) -> Reply:
    try:
        reply = ask()
    except LLMError as error:
        failed = error.reply
    else:
        return reply.public()
    assert failed is not None
    return failed.public()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell.make(tmp_path)


@pytest.fixture(params=[over_mcp, in_the_library, without_an_event_loop, on_the_command_line])
def face(request: pytest.FixtureRequest) -> Face:
    return request.param


def says(shell: Shell, *answers: str) -> FakeCli:
    """Each question gets the next answer, the last one for ever."""
    steps: list[list[dict[str, Any]]] = [[{"read": "all"}, {"out": answer}] for answer in answers]
    return shell.llm({"by_start": steps})


def test_an_empty_answer_is_asked_for_again_and_is_then_a_failure_with_its_attempts(face: Face, shell: Shell) -> None:
    cli = says(shell, "", PASSES)
    reply = face(shell, None)
    assert (reply["status"], reply["text"], reply["attempts"], cli.starts) == ("completed", PASSES, 2, 2), reply
    cli = says(shell, "")
    reply = face(shell, None)
    assert (reply["status"], reply["attempts"], cli.starts) == ("failed", ATTEMPTS, 2 + ATTEMPTS)
    assert reply["error"]["code"] == "malformed_output"
    assert reply["error"]["next_step"]


def test_a_validator_that_a_distribution_brings_judges_on_every_face(
    face: Face, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shell.folder / "brought"
    metadata = folder / "brought-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[dragoman.validators]\nends-with = brought:ends_with\n")
    (folder / "brought.py").write_text(
        "async def ends_with(text, end):\n    return None if end in text[-6:] else f'it must end with {end}'\n"
    )
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.delitem(sys.modules, "brought", raising=False)
    monkeypatch.setattr(registry, "_known", dict(registry._known))  # pyright: ignore[reportPrivateUsage] - there is no way to forget a name
    says(shell, '"no"', '"I am"')
    reply = face(shell, "ends-with:am")
    assert (reply["status"], reply["text"], reply["attempts"]) == ("completed", '"I am"', 2)
    says(shell, '"no"')
    reply = face(shell, "ends-with:am")
    assert (reply["status"], reply["attempts"]) == ("failed", ATTEMPTS)
    assert "it must end with am" in reply["error"]["message"]
