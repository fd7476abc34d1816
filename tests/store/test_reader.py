"""Reading: of one moment, while others write, and not after the end."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from dragoman.store import Store, StoreError, open_store
from dragoman.store.reader import Reader
from tests.store.talk import say

pytestmark = pytest.mark.anyio


async def test_all_that_a_read_sees_is_of_one_moment(store: Store, path: Path) -> None:
    await say(store, "c", "k1")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:

        def look(db: sqlite3.Connection) -> list[int]:
            first = db.execute("SELECT turns FROM conversations").fetchone()[0]
            other.execute("UPDATE conversations SET turns = 9")
            return [first, db.execute("SELECT turns FROM conversations").fetchone()[0]]

        with closing(Reader(path, 0)) as reader:
            assert reader.read(look) == [1, 1]
            assert reader.read(lambda db: db.execute("SELECT turns FROM conversations").fetchone()) == (9,)


async def test_reads_go_on_while_another_process_holds_the_file(store: Store, path: Path) -> None:
    await say(store, "c", "k1")
    with closing(sqlite3.connect(path, isolation_level=None)) as other, anyio.fail_after(60):
        other.execute("BEGIN IMMEDIATE")
        assert store.conversation("c") is not None
        assert len(store.good_turns("c", 1)) == 1
        assert len(await store.turns("c")) == 1
        assert len(await store.conversations()) == 1
        other.execute("ROLLBACK")


async def test_a_reader_writes_nothing(store: Store, path: Path) -> None:
    with closing(Reader(path, 0)) as reader, pytest.raises(StoreError, match="readonly"):
        reader.read(lambda db: db.execute("DELETE FROM turns"))


async def test_a_store_that_is_closed_cannot_be_read(path: Path) -> None:
    async with open_store(path) as store:
        await say(store, "c", "k1")
        assert await store.turns("c")
    with pytest.raises(StoreError, match="the store is closed"):
        store.conversation("c")
    with pytest.raises(StoreError, match="the store is closed"):
        await store.turns("c")
    with pytest.raises(StoreError, match="the store is closed"):
        store.data_changed()


async def test_closing_waits_for_a_read_and_refuses_those_that_wait(store: Store, path: Path) -> None:
    reader = Reader(path, 0)
    begun, go_on = threading.Event(), threading.Event()
    refused: list[StoreError] = []

    def slow(db: sqlite3.Connection) -> bool:
        begun.set()
        return go_on.wait(60)

    async def late() -> None:
        with pytest.raises(StoreError, match="closed") as caught:
            await anyio.to_thread.run_sync(reader.read, slow)
        refused.append(caught.value)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, reader.read, slow)
            await anyio.to_thread.run_sync(begun.wait)
            tasks.start_soon(anyio.to_thread.run_sync, reader.close)
            go_on.set()
        await late()
    assert len(refused) == 1


async def test_a_file_that_is_gone_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with closing(Reader(tmp_path / "none", 0)) as reader, pytest.raises(StoreError, match="make the folder writable"):
        reader.version()
