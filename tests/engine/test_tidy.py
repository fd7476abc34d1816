"""A new engine puts right what a killed one left, by what the store says."""

import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.engine.engine import TIDY_AFTER_S
from dragoman.log import logger
from dragoman.schemas import ErrorCode, LLMRequest, error_of
from dragoman.store import CallStarted, ProcessStarted, open_store
from dragoman.store.identity import Identity
from dragoman.testing import FakeCli, Liveness

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="leftovers are found in /proc"),
]


@pytest.mark.parametrize("starts", ["later", "before"])
async def test_what_a_killed_server_left_running_is_stopped_soon_after_the_next_start_or_by_one_that_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: str
) -> None:
    monkeypatch.setattr("dragoman.engine.engine.TIDY_EVERY_S", 0.2)
    file, folder = tmp_path / "state" / "store", tmp_path / "dragoman-private"
    folder.mkdir()
    async with Liveness() as live:
        program = FakeCli(tmp_path, "left").script({"ignore": ["TERM"]}, live.connect(), {"pause": True})
        with subprocess.Popen(  # noqa: ASYNC220 - a process that no event loop knows of is what is wanted
            [program], env={}, stdin=subprocess.DEVNULL, start_new_session=True
        ) as left:
            with anyio.fail_after(60):
                await live.connected()
            async with AsyncExitStack() as engines:
                engine = Engine(Configuration(), adapters={}, environ={}, folder=tmp_path, store_file=file)
                if starts == "before":
                    await engines.enter_async_context(engine)
                    await engine.submit(LLMRequest(prompt="hi", provider="nobody")).outcome()
                # The server that wrote this down started before the boot's first tick, so it is gone for certain.
                own = Identity.own()
                with monkeypatch.context() as patched:
                    patched.setattr(Identity, "own", lambda: Identity(own.pid, -1, own.boot_id, own.pid_namespace))
                    async with open_store(file) as store:
                        await store.write(CallStarted(id="c1", face="library", provider="fake"))
                        await store.write(ProcessStarted(pid=left.pid, call_id="c1", folder=str(folder)))
                if starts == "later":
                    await engines.enter_async_context(engine)
                with anyio.fail_after(TIDY_AFTER_S + 60):
                    await live.all_gone(TIDY_AFTER_S + 60)
                    await anyio.to_thread.run_sync(left.wait)
                    while folder.exists():
                        await anyio.lowlevel.checkpoint()
                    while (await _orphans(file)) != 0:
                        await anyio.lowlevel.checkpoint()


async def test_an_engine_makes_no_state_folder_only_to_look_for_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dragoman.engine.engine.TIDY_AFTER_S", 0)
    file = tmp_path / "state" / "store"
    async with Engine(Configuration(), adapters={}, environ={}, folder=tmp_path, store_file=file):
        await anyio.wait_all_tasks_blocked()
    assert not file.parent.exists()


async def test_a_store_that_takes_nothing_is_no_fault_that_is_shown_with_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = anyio.Event()

    async def expire(*_: object) -> None:
        tried.set()
        raise error_of(ErrorCode.INTERNAL, "attempt to write a readonly database")

    monkeypatch.setattr("dragoman.engine.engine.TIDY_AFTER_S", 0)
    monkeypatch.setattr("dragoman.engine.conversations.Conversations.expire", expire)
    file = tmp_path / "store"
    async with open_store(file):
        pass
    shown: list[str] = []
    logger.enable("dragoman")
    sink = logger.add(shown.append, level="INFO", format="{level} {message}")
    try:
        async with Engine(Configuration(), adapters={}, environ={}, folder=tmp_path, store_file=file):
            with anyio.fail_after(60):
                await tried.wait()
            await anyio.wait_all_tasks_blocked()
    finally:
        logger.remove(sink)
        logger.disable("dragoman")
    told = [line for line in shown if "let go of" in line]
    assert told == ["INFO what is old could not be let go of: attempt to write a readonly database\n"]
    assert not any("Traceback" in line for line in shown)


async def _orphans(file: Path) -> int:
    async with open_store(file) as store:
        return len(store.orphans)
