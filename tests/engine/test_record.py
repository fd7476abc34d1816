"""What is kept of a call, and that keeping it never costs an answer."""

import sqlite3
from pathlib import Path

import pytest

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.engine.record import store_failure
from dragoman.schemas import ErrorCode, LLMError, LLMRequest
from dragoman.store import Conflict, StoreError, open_store
from dragoman.testing import FakeAdapter, FakeCli

pytestmark = pytest.mark.anyio


def engine(cli: FakeCli, store_file: Path, environ: dict[str, str] | None = None) -> Engine:
    return Engine(
        Configuration.model_validate({"providers": {"fake": {"command": [str(cli.path)]}}}),
        adapters={"fake": FakeAdapter()},
        environ={"PATH": "/usr/bin:/bin", "HOME": str(cli.path.parent), **(environ or {})},
        folder=cli.path.parent,
        store_file=store_file,
    )


def everything_in(folder: Path) -> bytes:
    return b"".join(part.read_bytes() for part in folder.glob("store.sqlite3*"))


async def test_calls_tokens_and_processes_are_kept_and_what_was_said_only_in_a_conversation(
    cli: FakeCli, tmp_path: Path
) -> None:
    file = tmp_path / "store.sqlite3"
    usage = {"line": {"usage": {"input_tokens": 3, "output_tokens": 4}}}
    cli.scripts([usage, {"line": {"text": "ANSWER"}}, {"line": {"done": {}}}], [{"exit": 3}])
    async with engine(cli, file, {"DRAGOMAN_DEPTH": "1"}) as running:
        request = LLMRequest(prompt="PROMPT", provider="fake", model="MODEL", system_prompt="SYSTEM", remember=False)
        for _ in range(2):
            await running.submit(request, face="test").outcome()
    async with open_store(file) as store:
        (stats,) = await store.stats()
    assert (stats.provider, stats.calls, stats.failures) == ("fake", 2, {"crashed": 1})
    assert (stats.input_tokens, stats.output_tokens) == (3, 4)
    with sqlite3.connect(file) as db:
        calls = db.execute("SELECT status, face, depth, argv_shape FROM calls ORDER BY started_at").fetchall()
        processes = db.execute("SELECT pid, ended_at FROM processes").fetchall()
    db.close()
    assert calls == [
        ("completed", "test", 1, "dragoman-fake --model=…"),
        ("failed", "test", 1, "dragoman-fake --model=…"),
    ]
    assert len(processes) == 3, "a crash is tried once more"
    assert all(ended for _, ended in processes)
    assert not {word for word in (b"PROMPT", b"ANSWER", b"SYSTEM") if word in everything_in(tmp_path)}


async def test_the_tokens_of_failed_attempts_count(cli: FakeCli, tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite3"
    tokens = {"line": {"usage": {"input_tokens": 3, "output_tokens": 4, "cost_usd": 0.5}}}
    cli.scripts([tokens, {"exit": 3}], [tokens, {"line": {"text": "ANSWER"}}, {"line": {"done": {}}}])
    async with engine(cli, file) as running:
        reply = await running.submit(LLMRequest(prompt="hi", provider="fake")).outcome()
    assert (reply.status, len(reply.attempts)) == ("completed", 2)
    assert reply.usage is not None
    assert reply.usage.input_tokens == 3, "a reply tells of the attempt that answered"
    async with open_store(file) as store:
        (stats,) = await store.stats()
    assert (stats.input_tokens, stats.output_tokens, stats.cost_usd) == (6, 8, 1.0)


@pytest.mark.parametrize("named", [{"provider": "Faek"}, {"provider": "fake", "fallback": ["faek"]}])
async def test_a_call_that_names_nobody_leaves_nothing_behind_and_is_told_the_nearest_name(
    cli: FakeCli, tmp_path: Path, named: dict[str, object]
) -> None:
    file = tmp_path / "store.sqlite3"
    request = LLMRequest.model_validate({"prompt": "hi", "conversation_id": "mine", **named})
    async with engine(cli, file) as running:
        reply = await running.submit(request).outcome()
        with pytest.raises(LLMError) as refused:
            await running.jobs.start(request, face="test")
    for error in (reply.error, refused.value.info):
        assert error is not None
        assert error.code is ErrorCode.NOT_FOUND
        assert error.next_step == "did you mean 'fake'? choose one of: fake"
    assert reply.conversation_id is None
    assert (cli.starts, file.exists()) == (0, False)


async def test_a_store_that_cannot_be_opened_costs_no_answer(cli: FakeCli) -> None:
    cli.script({"line": {"text": "ok"}}, {"line": {"done": {}}})
    async with engine(cli, Path("/dev/null/store.sqlite3")) as running:
        for _ in range(2):
            reply = await running.submit(LLMRequest(prompt="hi", provider="fake")).outcome()
            assert reply.text == "ok"


def test_what_to_do_about_a_store_that_cannot_be_used_is_said_once() -> None:
    failed = store_failure(
        StoreError(Path("/x"), "disk I/O error", "see that the disk is sound"), "it could not be read"
    )
    assert failed.message == "it could not be read: '/x': disk I/O error"
    assert failed.info.next_step == "see that the disk is sound"
    assert store_failure(Conflict("it is gone", "ask again")).message == "it is gone"
