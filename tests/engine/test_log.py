"""Every process leaves a line in the log, and nothing that was said stands in it unless the configuration asks."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from dragoman.adapters.base import Login
from dragoman.log import setup_logging
from dragoman.schemas import LLMRequest
from dragoman.testing import FakeAdapter, FakeCli
from tests.engine.conftest import MakeEngine

pytestmark = pytest.mark.anyio


@pytest.fixture
def log(tmp_path: Path) -> Generator[Path]:
    """The log as JSON lines in a file; silent again afterwards."""
    file = tmp_path / "log.json"
    setup_logging("INFO", json=True, file=file)
    yield file
    setup_logging("CRITICAL")


def content(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content(file).splitlines()]


async def ask(make_engine: MakeEngine, cli: FakeCli, **configuration: object) -> str:
    cli.script({"read": "all"}, {"line": {"text": "ANSWER"}}, {"line": {"done": {}}})
    adapter = FakeAdapter(plan_needs_version=True, login=Login(("--login",), "log in"))
    async with make_engine(adapter, configuration=configuration) as engine:
        await engine.providers.status("fake")
        request = LLMRequest(prompt="PROMPT with sk-ant-api03-abcdefghijklmnopqrstuvwx", provider="fake", model="MODEL")
        call = engine.submit(request)
        assert (await call.outcome()).text == "ANSWER"
    return call.id


async def test_each_process_is_logged_with_its_shape_and_how_it_ended(
    make_engine: MakeEngine, cli: FakeCli, log: Path
) -> None:
    call_id = await ask(make_engine, cli)
    text = content(log)
    assert "PROMPT" not in text
    assert "ANSWER" not in text
    assert "MODEL" not in text
    for shape in ("dragoman-fake --login", "dragoman-fake --version", "dragoman-fake --model=…"):
        assert shape in text
    (ran,) = [line for line in lines(log) if call_id in json.dumps(line)]
    assert "completed" in json.dumps(ran)


async def test_content_is_logged_only_on_demand_and_without_secrets(
    make_engine: MakeEngine, cli: FakeCli, log: Path
) -> None:
    await ask(make_engine, cli, log={"content": True})
    text = content(log)
    assert "PROMPT" in text
    assert "ANSWER" in text
    assert "abcdefghij" not in text
