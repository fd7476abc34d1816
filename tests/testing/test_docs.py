"""The page on adapters: its example is a whole adapter, and its tests pass as they stand."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The names that the page's Python blocks define, run in order as one module."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"__name__": "docs_adapters"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102 - our own page
    return names


def test_the_examples_adapter_keeps_the_contract(page: dict[str, Any]) -> None:
    page["test_the_parrot_keeps_the_contract"]()


def test_the_examples_transcript_gives_its_text(page: dict[str, Any]) -> None:
    page["test_the_parrot_speaks"]()


@pytest.mark.anyio
async def test_the_examples_tool_is_heard_through_the_engine(page: dict[str, Any], tmp_path: Path) -> None:
    ask: Callable[[Path], Awaitable[None]] = page["test_a_parrot_that_repeats_is_heard"]
    await ask(tmp_path)


def test_the_page_has_no_test_that_is_not_run_here(page: dict[str, Any]) -> None:
    written = {name for name in page if name.startswith("test_")}
    run = {"test_the_parrot_keeps_the_contract", "test_the_parrot_speaks", "test_a_parrot_that_repeats_is_heard"}
    assert written == run
