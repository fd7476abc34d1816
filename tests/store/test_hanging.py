"""A disk that does not answer, and a file that another program holds for long: neither holds up who waits for it."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from loguru import logger

from dragoman.store import CallStarted, Store, StoreError, open_store
from dragoman.store.writer import Job, Writer

pytestmark = pytest.mark.anyio

LEAVING = """
import sys, threading, anyio
from pathlib import Path
from dragoman.store import open_store, store

class Hangs:
    def apply(self, db, server_id):
        hung.set()
        threading.Event().wait()

async def main():
    async with open_store(Path(sys.argv[1])) as opened:
        opened.post(Hangs())
        await anyio.to_thread.run_sync(hung.wait)

hung, store.CLOSE_S = threading.Event(), 0.05
anyio.run(main)
"""


class Hangs:
    """Takes as long as a test likes."""

    def __init__(self) -> None:
        self.answers = threading.Event()

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:
        self.answers.wait()


def calls(path: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT id FROM calls").fetchall()


async def test_a_write_that_does_not_come_back_is_told_and_may_be_there_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dragoman.store.store.WRITE_S", 0.05)
    hangs = Hangs()
    async with open_store(path) as store:
        store.post(hangs)
        with anyio.fail_after(60):
            try:
                with pytest.raises(
                    StoreError, match=r"not written within 0\.05 s, and may be later; .* the disk answers"
                ):
                    await store.write(CallStarted("c1", face="library"))
            finally:
                hangs.answers.set()
    assert calls(path) == [("c1",)]


def test_a_disk_that_hangs_does_not_hold_up_the_end_of_the_process(path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LEAVING, path], capture_output=True, text=True, timeout=60, check=True
    )
    assert "not written within 0.05 s" in ended.stderr


async def test_a_disk_that_is_slow_only_to_close_the_file_loses_nothing_and_nobody_is_told_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, answers = Writer._open, threading.Event()  # pyright: ignore[reportPrivateUsage] - the disk hangs there

    class SlowToClose:
        def __init__(self, db: sqlite3.Connection) -> None:
            self.db = db

        def __getattr__(self, name: str) -> object:
            return getattr(self.db, name)

        def close(self) -> None:
            answers.wait(60)
            self.db.close()

    def opened(self: Writer) -> SlowToClose:
        return SlowToClose(opening(self))

    monkeypatch.setattr(Writer, "_open", opened)
    # Enough for what is queued, on a machine that is busy.
    monkeypatch.setattr("dragoman.store.store.CLOSE_S", 1.0)
    warned: list[str] = []
    sink = logger.add(lambda message: warned.append(str(message)), level="WARNING")
    try:
        async with open_store(path) as store:
            store.post(CallStarted("c1", face="library"))
        assert (calls(path), warned) == ([("c1",)], [])
    finally:
        answers.set()
        logger.remove(sink)


async def test_what_another_program_holds_up_is_tried_until_the_store_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dragoman.store.writer.BUSY_TIMEOUT_S", 0.01)
    refused = threading.Semaphore(0)
    commit = Writer._try_to_commit  # pyright: ignore[reportPrivateUsage] - to see it refused

    def told(self: Writer, db: sqlite3.Connection, batch: list[Job]) -> Exception | None:
        error = commit(self, db, batch)
        refused.release()
        return error

    monkeypatch.setattr(Writer, "_try_to_commit", told)
    store = await Store.open(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other, anyio.fail_after(60):
        other.execute("BEGIN IMMEDIATE")
        store.insist()
        store.post(CallStarted("c1", face="library"))
        for _ in range(3):
            assert await anyio.to_thread.run_sync(partial(refused.acquire, timeout=20))
        other.execute("ROLLBACK")
        await store.close()
    assert calls(path) == [("c1",)]


async def test_what_a_store_leaves_is_free_to_be_taken_when_nobody_holds_the_file_any_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may live on: then nothing else says that its server is gone."""
    monkeypatch.setattr("dragoman.store.writer.BUSY_TIMEOUT_S", 0.01)
    monkeypatch.setattr("dragoman.store.store.CLOSE_S", 0.05)
    store = await Store.open(path)
    await store.write(CallStarted("c1", face="library"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other, anyio.fail_after(60):
        other.execute("BEGIN IMMEDIATE")
        await store.close()
        other.execute("ROLLBACK")
        await anyio.to_thread.run_sync(store._writer.join)  # pyright: ignore[reportPrivateUsage] - nobody else waits for it
        assert other.execute("SELECT start_time FROM servers").fetchall() == [(0,)]
