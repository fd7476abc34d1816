from __future__ import annotations

import re
from pathlib import Path

import pytest

from dragoman.structured import registry, schema, strict_json
from dragoman.structured.validators import BUILT_IN

PAGE = (Path(__file__).parents[2] / "docs" / "structured.md").read_text("utf-8")


def test_the_examples_of_the_page_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_known", dict(registry._known))  # pyright: ignore[reportPrivateUsage]
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    exec(compile("\n".join(blocks), "structured.md", "exec"), {"__name__": "page"})  # noqa: S102 - our own page


def test_the_page_names_every_validator_and_the_bounds_as_they_are() -> None:
    for kind in BUILT_IN:
        assert f"`{kind.name}" in PAGE
    assert f"{schema.MAX_BYTES:,} characters" in PAGE
    assert f"more than {schema.MAX_DEPTH} levels" in PAGE
    assert f"more than {strict_json.MAX_DEPTH} levels" in PAGE
