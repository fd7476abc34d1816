"""Figures by provider, counted by hand."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dragoman.schemas import ErrorCode, Usage
from dragoman.store import CallEnded, CallStarted, ProviderStats, Store, StoreError, open_store

pytestmark = pytest.mark.anyio


async def add(
    store: Store, call_id: str, provider: str | None, ended: CallEnded | None, started_at: float = 100
) -> None:
    await store.write(CallStarted(call_id, face="library", provider=provider, started_at=started_at))
    if ended is not None:
        await store.write(ended)


async def test_figures_are_those_of_each_provider(tmp_path: Path) -> None:
    async with open_store(tmp_path / "store.sqlite3") as store:
        for number in range(1, 21):
            usage = Usage(input_tokens=10, cached_input_tokens=2, output_tokens=number, cost_usd=0.5)
            ended = CallEnded(f"a{number}", "completed", duration_s=number, first_output_s=number / 10, usage=usage)
            await add(store, f"a{number}", "claude", ended)
        for name, code in (("f1", ErrorCode.NETWORK), ("f2", ErrorCode.AUTH), ("f3", ErrorCode.NETWORK)):
            await add(store, name, "claude", CallEnded(name, "failed", code, duration_s=1000.0))
        await add(store, "x", "claude", CallEnded("x", "cancelled", ErrorCode.CANCELLED, duration_s=1000.0))
        await add(store, "r", "claude", None)
        await add(store, "n", None, CallEnded("n", "failed", ErrorCode.NOT_FOUND))
        await add(store, "l", "llm", CallEnded("l", "completed", duration_s=3.0))
        nobody, claude, llm = await store.stats()
    assert claude == ProviderStats(
        provider="claude",
        calls=25,
        completed=20,
        cancelled=1,
        interrupted=0,
        running=1,
        failed=3,
        failures={"network": 2, "auth": 1},
        latency_p50_s=10.0,
        latency_p95_s=19.0,
        first_output_p50_s=1.0,
        first_output_p95_s=1.9,
        input_tokens=200,
        cached_input_tokens=40,
        output_tokens=210,
        cost_usd=10.0,
    )
    assert list(claude.failures) == ["network", "auth"]
    assert (nobody.provider, nobody.failures, nobody.latency_p50_s) == ("", {"not_found": 1}, None)
    assert (llm.latency_p50_s, llm.latency_p95_s, llm.first_output_p50_s, llm.input_tokens) == (3.0, 3.0, None, None)


async def test_since_leaves_out_what_started_before(tmp_path: Path) -> None:
    async with open_store(tmp_path / "store.sqlite3") as store:
        await add(store, "old", "claude", CallEnded("old", "failed", ErrorCode.AUTH), started_at=100)
        await add(store, "new", "claude", CallEnded("new", "completed", duration_s=2.0), started_at=200)
        [claude] = await store.stats(since=150)
        assert (claude.calls, claude.failures, claude.latency_p50_s) == (1, {}, 2.0)
        assert await store.stats(since=201) == []


async def test_figures_are_read_while_another_writes(tmp_path: Path) -> None:
    path = tmp_path / "st?re #1.sqlite3"
    async with open_store(path) as store:
        await add(store, "c", "claude", None)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert [figures.running for figures in await store.stats()] == [1]


async def test_figures_of_a_file_that_is_gone_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    async with open_store(path) as store:
        path.unlink()
        with pytest.raises(StoreError, match="unable to open"):
            await store.stats()
