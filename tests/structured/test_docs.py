from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman.client import Dragoman
from dragoman.structured import registry, schema, strict_json
from dragoman.structured.validators import BUILT_IN
from dragoman.testing import FakeAdapter
from tests.engine.oracle import Oracle
from tests.engine.test_conversations import engine
from tests.engine.virtual import line

PAGE = (Path(__file__).parents[2] / "docs" / "structured.md").read_text("utf-8")


@pytest.mark.anyio
async def test_the_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "_known", dict(registry._known))  # pyright: ignore[reportPrivateUsage] - there is no way to forget a name
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    code = compile("\n".join(blocks), "structured.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    oracle = Oracle(lambda _: line(text='{"name": "Frank Herbert", "age": 65}') + line(done={}))
    async with engine(tmp_path, oracle, FakeAdapter("claude"), FakeAdapter("codex")) as running:
        page: dict[str, Any] = {"__name__": "page", "d": Dragoman(engine=running)}
        with anyio.fail_after(60):
            await eval(code, page)  # noqa: S307 - our own page
    assert "so far: {'name': 'Frank Herbert', 'age': 65}\nFrank Herbert\n[]\n" in capsys.readouterr().out


def test_the_page_names_every_validator_and_the_bounds_as_they_are() -> None:
    for kind in BUILT_IN:
        assert f"`{kind.name}" in PAGE
    assert f"{schema.MAX_BYTES:,} characters" in PAGE
    assert f"more than {schema.MAX_DEPTH} levels" in PAGE
    assert f"more than {strict_json.MAX_DEPTH} levels" in PAGE
