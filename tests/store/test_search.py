"""Finding conversations by what was said, with the index and without."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dragoman.store import ConversationDeleted, ConversationForked, Search, Store, TurnStarted, open_store
from dragoman.store import search as searching
from tests.store.talk import say

pytestmark = pytest.mark.anyio


def _no(db: sqlite3.Connection) -> bool:
    return False


@pytest.fixture(params=["indexed", "read"])
def store_with_or_without_index(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "read":
        monkeypatch.setattr(searching, "_has_fts5", _no)


async def found(store: Store, text: str, limit: int = 20) -> list[tuple[str, int]]:
    search = await store.search_conversations(text, limit)
    return [(each.conversation_id, each.number) for each in search.found]


@pytest.mark.usefixtures("store_with_or_without_index")
async def test_all_words_must_stand_in_one_turn_whatever_their_case(store: Store) -> None:
    await say(store, "a", "k1", prompt="The capital of FRANCE?", text="Paris, of course.")
    await say(store, "b", "k2", prompt="And of Spain?", text="Madrid is the capital")
    assert await found(store, "capital") == [("b", 1), ("a", 1)]
    assert await found(store, "france paris") == [("a", 1)]
    assert await found(store, "PARIS madrid") == []
    assert await found(store, "lisbon") == []


@pytest.mark.usefixtures("store_with_or_without_index")
async def test_what_looks_like_a_query_is_text(store: Store) -> None:
    await say(store, "a", "k1", prompt='a "quoted" asyncio.run() of C++ NOT OR AND * NEAR(x) prompt:x')
    for text in ('"quoted"', "asyncio.run()", "C++", "NOT OR", "NEAR(x)", "prompt:x", "++ quoted"):
        assert await found(store, text) == [("a", 1)], text
    assert await found(store, '"') == [] == await found(store, "  ")
    assert (await store.search_conversations("*")).note == (
        "there is no word to look for: give one that has letters or digits"
    )


@pytest.mark.usefixtures("store_with_or_without_index")
async def test_words_that_nothing_separates_are_found(store: Store) -> None:
    await say(store, "a", "k1", prompt="日本の首都は東京です")
    await say(store, "b", "k2", prompt="京都 and 東 京")
    assert await found(store, "東京") == ([("b", 1), ("a", 1)] if await _is_indexed(store) else [("a", 1)])
    assert await found(store, "首都") == [("a", 1)]


async def _is_indexed(store: Store) -> bool:
    return await store.write(_Indexed()) > 0


class _Indexed:
    def apply(self, db: sqlite3.Connection, server_id: int) -> int:
        count: int = db.execute(
            "SELECT count(*) FROM turns WHERE id NOT IN (SELECT turn FROM turns_to_index)"
        ).fetchone()[0]
        return count


@pytest.mark.usefixtures("store_with_or_without_index")
async def test_a_conversation_is_found_once_by_its_newest_turn_and_the_newest_first(store: Store) -> None:
    for number in range(1, 4):
        await say(store, "a", f"a{number}", prompt="word")
        await say(store, "b", f"b{number}", prompt="word")
    await say(store, "c", "c1", prompt="word")
    await say(store, "a", "a4", prompt="other")
    assert await found(store, "word") == [("c", 1), ("b", 3), ("a", 3)]
    assert await found(store, "word", 2) == [("c", 1), ("b", 3)]


@pytest.mark.usefixtures("store_with_or_without_index")
async def test_what_is_running_is_not_found_and_what_is_deleted_is_not_found_any_more(store: Store) -> None:
    await store.write(TurnStarted("a", "k1", "word"))
    assert await found(store, "word") == []
    await say(store, "b", "k2", prompt="word")
    await store.write(ConversationForked("b", "copy"))
    assert await found(store, "word") == [("copy", 1), ("b", 1)]
    await store.expire()
    assert await found(store, "word") == [("copy", 1), ("b", 1)]
    for name in ("b", "copy"):
        await store.write(ConversationDeleted(name))
    assert await found(store, "word") == []
    await say(store, "new", "k3", prompt="fresh")
    assert await found(store, "word") == []


async def test_what_was_deleted_without_the_index_is_not_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store(path) as store:
        await say(store, "a", "k1", prompt="word")
    with monkeypatch.context() as patched:
        patched.setattr(searching, "_has_fts5", _no)
        async with open_store(path) as store:
            await store.write(ConversationDeleted("a"))
            await store.expire()
    async with open_store(path) as store:
        assert await found(store, "word") == []


async def test_an_excerpt_shows_the_place(store: Store) -> None:
    await say(store, "a", "k1", prompt=f"{'before ' * 50} NEEDLE\n {'after ' * 50}", text="x")
    await say(store, "b", "k2", prompt="short", text="the needle")
    b, a = (await store.search_conversations("needle")).found
    assert (b.excerpt, b.title, b.provider, b.started_at) == ("the needle", "short", "claude", 10.0)
    assert a.excerpt.startswith("…")
    assert a.excerpt.endswith("…")
    assert "before NEEDLE after" in a.excerpt


async def test_turns_kept_without_an_index_are_indexed_when_there_is_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(searching, "_has_fts5", _no)
        async with open_store(path) as store:
            await say(store, "a", "k1", prompt="word")
            assert not await _is_indexed(store)
    async with open_store(path) as store:
        assert await found(store, "word") == [("a", 1)]
        await say(store, "b", "k2", prompt="word")
        assert await found(store, "word") == [("b", 1), ("a", 1)]
    async with open_store(path) as store:
        assert await store.write(_Indexed()) == 2
        assert await found(store, "word") == [("b", 1), ("a", 1)]


async def test_a_damaged_index_costs_no_turn_and_is_made_anew(path: Path) -> None:
    async with open_store(path) as store:
        await say(store, "a", "k1", prompt="word")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE turns_search_data SET block = x'ffffffffffffffffffffffff' WHERE id > 10")
    async with open_store(path) as store:
        await say(store, "b", "k2", prompt="word", text="kept all the same")
        assert [turn.text for turn in store.good_turns("b", 1)] == ["kept all the same"]
        assert await found(store, "word") == [("b", 1), ("a", 1)]
    async with open_store(path) as store:
        assert await store.write(_Indexed()) == 2
        assert await found(store, "word") == [("b", 1), ("a", 1)]


async def test_how_far_a_search_went_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        await say(store, "a", f"k{number}", prompt="word")
    await say(store, "b", "kb", prompt="word")
    await say(store, "a", "k7", prompt="word")
    monkeypatch.setattr(searching, "LOOKED_AT", 3)
    search = await store.search_conversations("word")
    assert [each.conversation_id for each in search.found] == ["b", "a"]
    assert search.note == "only 3 turns that have these words were looked at, of the newest conversations"
    monkeypatch.setattr(searching, "_has_fts5", _no)
    monkeypatch.setattr(searching, "READ_TURNS", 1)
    await store.write(ConversationForked("a", "c"))
    search = await store.search_conversations("word")
    assert search == Search(
        search.found,
        "of the turns without an index only the newest 1 were read:"
        " the SQLite of this Python has no full-text index (FTS5)",
    )
    assert [(each.conversation_id, each.number) for each in search.found] == [("c", 7)]
