"""Long texts, and what is left of them in memory."""

import sqlite3
import sys
from pathlib import Path

import pytest

from dragoman.store import ConversationDeleted, Store, TurnEnded, TurnStarted
from dragoman.store.search import INDEXED_CHARS, can_index, index_turns

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


def resident_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it so")
async def test_nothing_of_a_long_answer_stays_in_memory_once_it_is_written(store: Store) -> None:
    await store.write(TurnStarted("c", "k", "hi"))
    # Longer than what the C library may keep for itself once it is free.
    text = "x" * (64 * MIB)
    before = resident_mib()
    await store.write(TurnEnded("c", "k", "completed", text))
    assert resident_mib() - before < 32
    [turn] = await store.turns("c")
    assert len(turn.text) == len(text)


class Indexed:
    """A record that puts all turns into the index at once."""

    def apply(self, db: sqlite3.Connection, server_id: int) -> bool:
        while index_turns(db):
            pass
        return can_index(db)


@pytest.mark.parametrize("letter", ["x", "é", "😀"])
async def test_a_long_answer_is_found_by_the_words_of_its_beginning(store: Store, letter: str) -> None:
    await store.write(TurnStarted("c", "k", "hi"))
    text = f"early {letter * (INDEXED_CHARS - 12)} last {letter} late"
    await store.write(TurnEnded("c", "k", "completed", text))
    if not await store.write(Indexed()):
        pytest.skip("the SQLite of this Python has no full-text index")
    assert len((await store.search_conversations("early last")).found) == 1
    assert (await store.search_conversations("late")).found == ()
    await store.write(ConversationDeleted("c"))
    await store.expire()
    assert (await store.search_conversations("early")).found == ()
