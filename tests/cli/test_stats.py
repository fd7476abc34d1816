"""``stats``: figures of the calls that were kept."""

import json
import time
from pathlib import Path

import anyio
import pytest

from dragoman.cli.stats import seconds
from dragoman.engine.record import store_file
from dragoman.schemas import ErrorCode, Usage
from dragoman.store import CallEnded, CallStarted, open_store
from tests.cli.harness import Shell

DAY_S = 86400


def kept(shell: Shell) -> Path:
    """The store's file."""
    return shell.folder / "state" / store_file().name


@pytest.mark.parametrize(
    ("age", "expected"),
    [("30s", 30), ("90m", 5400), ("1.5h", 5400), ("7d", 604800), ("1w", 604800), (" 2d ", 172800)],
)
def test_an_age_is_a_number_and_a_unit(age: str, expected: float) -> None:
    assert seconds(age) == expected


@pytest.mark.parametrize("age", ["7", "d", "-1d", "7 days", "1e3s", "", "inf"])
def test_whatever_else_is_no_age(age: str) -> None:
    assert seconds(age) is None


def test_without_a_call_nothing_is_shown_and_nothing_is_made(shell: Shell) -> None:
    ended = shell("stats")
    assert (ended.code, ended.out, ended.err) == (0, b"", "no calls yet\n")
    assert json.loads(shell("stats", "--json").out) == []
    assert not kept(shell).exists()


def keep_some(shell: Shell) -> None:
    """Three calls: one old, one that failed, one whose tokens are known."""

    async def keep() -> None:
        folder = shell.folder / "state"
        folder.mkdir(exist_ok=True)
        now = time.time()
        async with open_store(kept(shell)) as store:
            for name, age_s in (("old", 30 * DAY_S), ("failed", 60), ("new", 5)):
                await store.write(CallStarted(id=name, face="cli", provider="llm", started_at=now - age_s))
            await store.write(CallEnded(id="old", status="completed", duration_s=9.0))
            await store.write(CallEnded(id="failed", status="failed", code=ErrorCode.QUOTA))
            usage = Usage(input_tokens=10, output_tokens=4)
            await store.write(CallEnded(id="new", status="completed", duration_s=1.25, usage=usage))

    anyio.run(keep)


def test_figures_are_by_provider_and_failures_by_code(shell: Shell) -> None:
    keep_some(shell)
    head, row = shell("stats").out.decode().splitlines()
    assert head.startswith("provider  calls  completed  failed")
    assert row.split()[:5] == ["llm", "3", "2", "1", "(1"]
    assert "quota" in row


def test_since_leaves_out_what_is_older(shell: Shell) -> None:
    keep_some(shell)
    (figures,) = json.loads(shell("stats", "--json", "--since", "7d").out)
    assert (figures["calls"], figures["completed"], figures["failures"]) == (2, 1, {"quota": 1})
    assert (figures["latency_p50_s"], figures["input_tokens"], figures["output_tokens"]) == (1.25, 10, 4)


def test_an_age_that_is_none_is_wrong_usage(shell: Shell) -> None:
    ended = shell("stats", "--since", "yesterday")
    assert (ended.code, ended.out) == (2, b"")
    assert ended.err.startswith("dragoman: --since: 'yesterday' is no age")


def test_a_file_that_is_no_store_is_told_with_a_way_out(shell: Shell) -> None:
    folder = shell.folder / "state"
    folder.mkdir()
    (kept(shell)).write_bytes(b"no database" * 1000)
    ended = shell("stats")
    assert ended.code == 1
    assert "next step: move the file away" in ended.err
    assert "Traceback" not in ended.err


def test_a_question_asked_here_is_in_the_figures(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"out": "forty-two"}, {"err": "Token usage: 3 input, 2 output\n"})
    assert shell("ask", "llm", "question").code == 0
    (figures,) = json.loads(shell("stats", "--json").out)
    assert (figures["provider"], figures["calls"], figures["completed"]) == ("llm", 1, 1)
    assert (figures["input_tokens"], figures["output_tokens"]) == (3, 2)
