"""Long texts, and what is left of them in memory."""

import sqlite3
import sys
from pathlib import Path

import pytest

from dragoman.store import (
    ConversationDeleted,
    ConversationForked,
    JobEnded,
    JobStarted,
    Store,
    Together,
    TurnEnded,
    TurnStarted,
)
from dragoman.store.long import LONG_CHARS, PIECE_CHARS
from dragoman.store.search import INDEXED_CHARS, can_index, index_turns

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


def resident_mib(figure: str = "VmRSS") -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith(figure)).split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it so")
async def test_a_long_answer_is_held_once_while_it_is_written(store: Store) -> None:
    await store.write(JobStarted("k", "mcp", "hi"))
    await store.write(TurnStarted("c", "k", "hi"))
    text = "x" * (64 * MIB)
    forget_peak()
    before = resident_mib()
    await store.write(Together((TurnEnded("c", "k", "completed", text), JobEnded("k", "completed", "{}", text=text))))
    assert resident_mib("VmHWM") - before < 32


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it so")
async def test_nothing_of_a_long_question_stays_in_memory_once_it_is_written(store: Store) -> None:
    text = "x" * (64 * MIB)
    forget_peak()
    before = resident_mib()
    await store.write(Together((JobStarted("k", "mcp", text, request=text), TurnStarted("c", "k", text))))
    assert resident_mib() - before < 32
    # SQLite makes up a row at once, and something stands behind what was asked.
    assert resident_mib("VmHWM") - before < 64 + 32


@pytest.mark.parametrize(
    "text", ["", "x", "é" * LONG_CHARS, "x" + "é" * LONG_CHARS, "x" * (PIECE_CHARS + 1), "😀" * PIECE_CHARS]
)
async def test_a_text_is_the_same_however_long_it_is(store: Store, text: str) -> None:
    prompt = f"hi {text}"
    await store.write(JobStarted("k", "mcp", prompt, request=text or None))
    await store.write(TurnStarted("c", "k", prompt))
    await store.write(Together((TurnEnded("c", "k", "completed", text), JobEnded("k", "completed", "{}", text=text))))
    await store.write(ConversationForked("c", "d"))
    assert await store.job_reply("k") == ("{}", text)
    assert await store.job_request("k") == (text or None)
    for name in ("c", "d"):
        [turn] = await store.turns(name)
        assert [turn.text] == [each.text for each in store.good_turns(name, 9)] == [text]
        assert [turn.prompt] == [each.prompt for each in store.good_turns(name, 9)] == [prompt]
        row = store.conversation(name)
        assert row is not None
        assert row.bytes == len(prompt.encode() + text.encode())
    found = (await store.search_conversations("hi")).found
    assert {each.conversation_id for each in found} == {"c", "d"}


async def test_a_half_character_in_a_long_text_is_replaced(store: Store) -> None:
    await store.write(TurnStarted("c", "k", "hi"))
    await store.write(TurnEnded("c", "k", "completed", "x" * PIECE_CHARS + "\ud83d"))
    assert (await store.turns("c"))[0].text == "x" * PIECE_CHARS + "\ufffd"


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
