"""A full disk, a folder that cannot be written, a file of another version: what is said, and that nothing breaks."""
# ruff: noqa: ASYNC240 - nothing else of the loop waits while a test looks at its files

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dragoman.store import StoreError, TurnStarted, open_store
from dragoman.store.migrations import MIGRATIONS
from tests.store.talk import say

pytestmark = pytest.mark.anyio

FILL = """
import anyio, sys
from pathlib import Path
from dragoman.store.names import *

async def main():
    async with open_store(Path(sys.argv[1])) as store:
        kept = 0
        try:
            while True:
                await store.write(TurnStarted("c", f"k{kept}", "x" * 20_000))
                kept += 1
        except StoreError as error:
            print(kept, len(store.good_turns("c", 1)), error, sep="\\n")
    async with open_store(Path(sys.argv[1])) as store:
        print(len(await store.turns("c")))

anyio.run(main)
"""
READ = """
import anyio, sys
from pathlib import Path
from dragoman.store.names import *

async def main():
    try:
        async with open_store(Path(sys.argv[1])) as store:
            await store.write(TurnStarted("c", "k", "?"))
            print("written")
    except StoreError as error:
        print(error)

anyio.run(main)
"""


def in_small_disk(folder: Path, script: str) -> str:
    """The output of a shell script in which ``folder`` is a disk of 2 MB that nobody else sees."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    mount = f"mount -t tmpfs -o size=2m none {folder}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not let us mount")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHON": sys.executable,
        "FILE": str(folder / "state" / "store.sqlite3"),
    }
    argv = ["unshare", "-rm", "sh", "-ec", f"{mount}\n{script}"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def test_a_full_disk_is_named_and_what_was_kept_before_stays(disk: Path) -> None:
    output = in_small_disk(disk, f'"$PYTHON" -c \'{FILL}\' "$FILE"').splitlines()
    kept, readable, error, reopened = output
    assert 20 < int(kept) == int(reopened) < 110
    assert int(readable) == 0, "none of them is completed"
    assert "is full; free some space on the disk, or set DRAGOMAN_HOME to another folder" in error


def test_a_disk_that_is_read_only_is_named(disk: Path) -> None:
    say_so = f'"$PYTHON" -c \'{READ}\' "$FILE"'
    read_only = f"mount -o remount,ro {disk}"
    output = in_small_disk(disk, f"{say_so}\n{read_only}\n{say_so}\nFILE={disk}/other/x\n{say_so}")
    written, old_file, new_file = output.splitlines()
    assert written == "written"
    assert old_file.endswith("or set DRAGOMAN_HOME to another folder"), old_file
    assert "writable" in old_file, old_file
    assert new_file.endswith("Read-only file system; make the folder writable, or set DRAGOMAN_HOME to another folder")


async def test_a_folder_that_cannot_be_written_is_named(path: Path) -> None:
    async with open_store(path) as store:
        await say(store, "c", "k")
    path.parent.chmod(0o500)
    path.chmod(0o400)
    if os.access(path.parent, os.W_OK):
        pytest.skip("nothing is forbidden to root")
    try:
        with pytest.raises(StoreError, match="writable, or set DRAGOMAN_HOME"):
            async with open_store(path) as store:
                await say(store, "c", "k2")
    finally:
        path.parent.chmod(0o700)


async def test_a_turn_for_which_there_is_no_room_costs_no_other(path: Path) -> None:
    """SQLite's own limit of pages gives the same error as a full disk."""
    async with open_store(path) as store:
        await say(store, "c", "k1")
        await store.write(_Room(0))
        with pytest.raises(StoreError, match="full; free some space"):
            await store.write(TurnStarted("c", "k2", "x" * 1_000_000))
        assert [turn.call_id for turn in await store.turns("c")] == ["k1"]
        await store.write(_Room(1_000_000))
        assert await say(store, "c", "k3") == 2


class _Room:
    """Sets how many pages the file may have; not fewer than it has."""

    def __init__(self, pages: int) -> None:
        self._pages = pages

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:
        limit = self._pages or db.execute("PRAGMA page_count").fetchone()[0] + 8
        db.execute(f"PRAGMA max_page_count = {limit}")


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
async def test_a_file_of_any_older_version_is_brought_up_and_keeps_its_rows(path: Path, version: int) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                db.execute(statement)
        db.execute("INSERT INTO servers (id, pid, start_time, boot_id) VALUES (1, 1, 1, 'another boot')")
        db.execute(
            "INSERT INTO calls (id, server_id, face, depth, status, started_at) VALUES ('k', 1, 'mcp', 0, 'running', 5)"
        )
        db.execute("INSERT INTO processes (pid, call_id, server_id, started_at) VALUES (7, 'k', 1, 5)")
        db.execute(f"PRAGMA user_version = {version}")
    async with open_store(path) as store:
        assert [orphan.call_id for orphan in store.orphans] == ["k"]
        [figures] = await store.stats()
        assert (figures.calls, figures.interrupted) == (1, 1)
        await say(store, "c", "k1", prompt="a question")
        assert [each.conversation_id for each in (await store.search_conversations("question")).found] == ["c"]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


async def test_a_store_that_is_open_while_a_newer_dragoman_changes_the_file_says_so_when_it_fails(path: Path) -> None:
    """The newer one adds tables; what the older one knows goes on as it is."""
    async with open_store(path) as older:
        await say(older, "c", "k1")
        with closing(sqlite3.connect(path, isolation_level=None)) as newer:
            newer.execute("ALTER TABLE turns ADD COLUMN mood TEXT")
            newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        assert await say(older, "c", "k2") == 2
        assert len(await older.turns("c")) == 2
    with pytest.raises(StoreError, match="newer Dragoman"):
        async with open_store(path):
            pass


async def test_opening_reads_no_more_of_a_large_file_than_of_a_small_one(path: Path) -> None:
    """Each question that opening asks is answered by an index that has only what is looked for."""
    async with open_store(path) as store:
        await say(store, "c", "k1")
    asked: list[str] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        from dragoman.store.abandoned import take_stock_at_opening
        from dragoman.store.search import prepare_index

        db.set_trace_callback(asked.append)
        prepare_index(db)
        take_stock_at_opening(db)
        db.set_trace_callback(None)
        plans = [row[3] for query in asked for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]
    scans = [plan for plan in plans if plan.startswith("SCAN") and "sqlite_master" not in plan and "pragma" not in plan]
    assert asked
    assert all("USING" in plan and "_running" in plan for plan in scans), scans
