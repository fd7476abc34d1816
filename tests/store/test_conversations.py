"""Conversations: what was said is there, in order, and nobody's turn is lost or mistaken for another's."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman.schemas import ErrorCode, Usage
from dragoman.store import (
    Conflict,
    ConversationDeleted,
    ConversationExists,
    ConversationForked,
    ConversationGone,
    ConversationImported,
    ConversationReset,
    SessionForgotten,
    SessionRow,
    Store,
    StoreError,
    Together,
    TurnEnded,
    TurnRow,
    TurnStarted,
    open_store,
)
from dragoman.store.retention import TURNS
from tests.store.talk import say, session

pytestmark = pytest.mark.anyio


async def test_a_turn_is_kept_from_its_start_to_its_end(store: Store) -> None:
    started = TurnStarted("c", "k1", "What is  the\ncapital?", "codex", "m", "Be brief", started_at=5.0)
    assert await store.write(started) == 1
    running = TurnRow(1, "k1", "running", "codex", "m", None, None, 5.0, None, None, "What is  the\ncapital?", "")
    assert await store.turns("c") == [running]
    usage = Usage(input_tokens=1, cached_input_tokens=2, output_tokens=3, cost_usd=0.5)
    await store.write(
        TurnEnded("c", "k1", "completed", "Paris", "claude", "m-2", usage, finish_reason="stop", ended_at=7.0)
    )
    ended = TurnRow(
        1, "k1", "completed", "claude", "m-2", None, "stop", 5.0, 7.0, usage, "What is  the\ncapital?", "Paris"
    )
    assert await store.turns("c") == [ended] == store.good_turns("c", 5)
    row = store.conversation("c")
    assert row is not None
    assert (row.title, row.provider, row.system_prompt) == ("What is the capital?", "claude", "Be brief")
    assert (row.created_at, row.updated_at, row.turns, row.completed, row.bytes) == (5.0, 7.0, 1, 1, 26)


async def test_an_unknown_conversation_is_none_and_has_no_turns(store: Store) -> None:
    assert store.conversation("c") is None
    assert await store.turns("c") == [] == store.good_turns("c", 5)


async def test_turns_are_numbered_whoever_asks_and_failed_ones_are_not_good(store: Store) -> None:
    assert await say(store, "c", "k1", text="one") == 1
    assert await say(store, "c", "k2", status="failed", code=ErrorCode.AUTH, text="half") == 2
    assert await say(store, "d", "k3") == 1
    assert await say(store, "c", "k4", text="three") == 3
    assert [(turn.number, turn.status, turn.code) for turn in await store.turns("c")] == [
        (1, "completed", None),
        (2, "failed", ErrorCode.AUTH),
        (3, "completed", None),
    ]
    assert [turn.text for turn in store.good_turns("c", 5)] == ["one", "three"]
    row = store.conversation("c")
    assert row is not None
    assert (row.turns, row.completed) == (3, 2)


async def test_the_last_turns_a_page_and_all_of_them_are_in_their_order(store: Store) -> None:
    for number in range(1, 8):
        await say(store, "c", f"k{number}")
    assert [turn.number for turn in await store.turns("c")] == [1, 2, 3, 4, 5, 6, 7]
    assert [turn.number for turn in await store.turns("c", last=2)] == [6, 7]
    pages = [[turn.number for turn in await store.turns("c", page=page, size=3)] for page in (1, 2, 3, 4)]
    assert pages == [[1, 2, 3], [4, 5, 6], [7], []]


async def test_good_turns_weigh_no_more_than_is_wanted_but_one_is_there(store: Store) -> None:
    for number in range(1, 5):
        await say(store, "c", f"k{number}", prompt="x" * 10, text="é" * 20)
    assert [turn.number for turn in store.good_turns("c", 9, max_bytes=100)] == [3, 4]
    assert [turn.number for turn in store.good_turns("c", 9, max_bytes=99)] == [4]
    assert [turn.number for turn in store.good_turns("c", 9, max_bytes=1)] == [4]


async def test_a_session_is_replaced_by_its_newer_state_and_can_be_forgotten(store: Store) -> None:
    of_codex = SessionRow("c", "codex", "home", "thread", knows=1)
    await say(store, "c", "k1", sessions=(session("c", knows=1), of_codex))
    newer = session("c", "other", native_turn="t2", cwd="/x", knows=2, dirty=True)
    await say(store, "c", "k2", sessions=(newer,))
    row = store.conversation("c")
    assert row is not None
    assert row.sessions == (newer, of_codex)
    await store.write(SessionForgotten("c", "claude", "home"))
    await store.write(SessionForgotten("nobody", "claude", "home"))
    row = store.conversation("c")
    assert row is not None
    assert row.sessions == (of_codex,)


async def test_a_system_prompt_stays_until_another_is_given(store: Store) -> None:
    for call, given, expected in (("1", "A", "A"), ("2", None, "A"), ("3", "B", "B"), ("4", "", "")):
        await store.write(TurnStarted("c", call, "hi", system_prompt=given))
        row = store.conversation("c")
        assert row is not None
        assert row.system_prompt == expected


async def test_text_that_no_encoder_takes_and_nuls_are_kept(store: Store) -> None:
    """Half characters become U+FFFD; a whole character of two halves is put together."""
    half, pair = "\ud83d", "\ud83d\ude00"
    started = TurnStarted("c", "k1", f"a{half}b\0c{pair}", "claude", system_prompt=half)
    await store.write(started)
    session = SessionRow("c", "claude", half, half, cwd="/\udcff")
    await store.write(TurnEnded("c", "k1", "completed", f"{half}\0", model=half, sessions=(session,)))
    [turn] = await store.turns("c")
    assert (turn.prompt, turn.text) == ("a\ufffdb\0c\U0001f600", "\ufffd\0")
    await store.write(ConversationImported("i", (replace(turn, prompt=half, text=half),), half, half))
    [turn] = await store.turns("i")
    assert (turn.prompt, turn.text) == ("\ufffd", "\ufffd")


async def test_a_deleted_conversation_is_gone_and_its_name_is_free(store: Store, path: Path) -> None:
    await say(store, "c", "k1", sessions=(session("c"),))
    await store.write(ConversationDeleted("c"))
    assert store.conversation("c") is None
    assert await store.turns("c") == []
    assert await store.conversations() == []
    assert await say(store, "c", "k2") == 1
    row = store.conversation("c")
    assert row is not None
    assert row.sessions == ()
    with pytest.raises(ConversationGone, match="there is no conversation 'nobody'; list the conversations"):
        await store.write(ConversationDeleted("nobody"))


async def test_a_turn_whose_conversation_is_deleted_or_reset_meanwhile_ends_in_a_conflict(store: Store) -> None:
    for record in (ConversationDeleted("c"), ConversationReset("c")):
        await store.write(TurnStarted("c", "k1", "hi"))
        await store.write(record)
        with pytest.raises(ConversationGone, match="was deleted or reset"):
            await store.write(TurnEnded("c", "k1", "completed", "too late"))
        assert await store.turns("c") == []


async def test_a_turn_ends_once(store: Store) -> None:
    await say(store, "c", "k1", text="first")
    with pytest.raises(Conflict):
        await store.write(TurnEnded("c", "k1", "completed", "second"))
    assert [turn.text for turn in await store.turns("c")] == ["first"]


async def test_a_reset_keeps_the_name_and_the_system_prompt_alone(store: Store) -> None:
    await store.write(TurnStarted("c", "k0", "first words", system_prompt="S", started_at=3.0))
    await say(store, "c", "k1", sessions=(session("c"),))
    await store.write(ConversationReset("c", at=20.0))
    row = store.conversation("c")
    assert row is not None
    assert (row.system_prompt, row.created_at, row.updated_at, row.sessions) == ("S", 3.0, 20.0, ())
    assert (row.turns, row.completed, row.bytes, row.title) == (0, 0, 0, "")
    assert await say(store, "c", "k2", prompt="other words") == 1
    row = store.conversation("c")
    assert row is not None
    assert row.title == "other words"
    with pytest.raises(ConversationGone):
        await store.write(ConversationReset("nobody"))


async def test_a_fork_goes_on_with_who_answered_the_last_of_its_turns(store: Store) -> None:
    for call, provider, status in (
        *(("k1", "gemini", "failed"), ("k2", "claude", "completed"), ("k3", "gemini", "failed")),
        ("k4", "codex", "completed"),
    ):
        await say(store, "c", call, provider=provider, status=status)
    found: list[str | None] = []
    for upto in (1, 2, 3, 4, None):
        await store.write(ConversationForked("c", f"upto-{upto}", upto))
        fork = store.conversation(f"upto-{upto}")
        assert fork is not None
        found.append(fork.provider)
    # Of turns that nobody answered, whoever has the conversation now.
    assert found == ["codex", "claude", "claude", "codex", "codex"]


async def test_a_fork_has_what_was_said_until_then_and_goes_its_own_way(store: Store) -> None:
    await store.write(TurnStarted("c", "k0", "begin", system_prompt="S"))
    await store.write(TurnEnded("c", "k0", "completed", "done", sessions=(session("c"),)))
    await say(store, "c", "k1", status="failed", text="")
    await say(store, "c", "k2")
    await store.write(TurnStarted("c", "k3", "still running"))
    await store.write(ConversationForked("c", "all"))
    await store.write(ConversationForked("c", "part", upto=1))
    assert [(turn.number, turn.status) for turn in await store.turns("all")] == [
        (1, "completed"),
        (2, "failed"),
        (3, "completed"),
    ]
    part = store.conversation("part")
    assert part is not None
    assert (part.title, part.system_prompt, part.forked_from, part.sessions) == ("begin", "S", "c", ())
    assert (part.turns, part.completed, part.bytes) == (1, 1, 9)
    assert await say(store, "part", "k4") == 2
    await store.write(ConversationDeleted("c"))
    assert [turn.prompt for turn in await store.turns("part")] == ["begin", "why?"]
    with pytest.raises(ConversationExists, match="there is a conversation 'all' already; choose another name"):
        await store.write(ConversationForked("part", "all"))
    with pytest.raises(ConversationGone):
        await store.write(ConversationForked("c", "new"))
    assert store.conversation("new") is None


async def test_an_import_brings_back_what_was_exported(store: Store) -> None:
    await say(store, "c", "k1", usage=Usage(output_tokens=4), finish_reason="stop", at=5.0)
    await say(store, "c", "k2", status="failed", code=ErrorCode.NETWORK, at=8.0)
    turns = await store.turns("c")
    running = replace(turns[0], number=77, status="running")
    await store.write(ConversationImported("i", (*turns, running), system_prompt="S", created_at=4.0))
    assert await store.turns("i") == [*turns, replace(running, number=3, status="interrupted")]
    row = store.conversation("i")
    assert row is not None
    assert (row.title, row.provider, row.created_at, row.updated_at) == ("why?", "claude", 4.0, 9.0)
    assert (row.turns, row.completed, row.system_prompt) == (3, 1, "S")
    with pytest.raises(ConversationExists):
        await store.write(ConversationImported("c", ()))
    assert await store.turns("c") == turns


async def test_a_list_has_the_last_used_first_and_goes_on_where_it_stopped(store: Store) -> None:
    for number, (name, provider) in enumerate((("a", "claude"), ("b", "codex"), ("c", "claude"), ("d", "codex"))):
        await say(store, name, f"k{name}", provider=provider, at=float(number))
    await say(store, "a", "again", provider="codex", at=50.0)

    async def names(**wanted: Any) -> list[str]:  # noqa: ANN401 - what can be asked for
        return [row.id for row in await store.conversations(**wanted)]

    assert await names() == ["a", "d", "c", "b"]
    assert await names(limit=2, skip=1) == ["d", "c"]
    assert await names(provider="codex") == ["a", "d", "b"]
    [_, second] = await store.conversations(2)
    await say(store, "b", "moves up", at=60.0)
    assert await names(before=second.cursor) == ["c"]


async def test_the_provider_of_a_conversation_is_who_answered_last_and_before_that_who_was_asked(store: Store) -> None:
    async def provider() -> str | None:
        row = store.conversation("a")
        return row and row.provider

    await store.write(TurnStarted("a", "k1", "why?", "codex"))
    assert await provider() == "codex"
    await store.write(TurnEnded("a", "k1", "completed", provider="claude"))
    assert await provider() == "claude"
    await store.write(TurnStarted("a", "k2", "why?", "gemini"))
    assert await provider() == "claude"
    await store.write(TurnEnded("a", "k2", "failed", provider="gemini"))
    assert await provider() == "claude"
    await say(store, "a", "k3", provider="llm")
    assert await provider() == "llm"


async def test_a_list_goes_on_among_conversations_of_the_same_moment(store: Store) -> None:
    for name in "abcde":
        await say(store, name, f"k{name}", at=1.0)
    seen: list[str] = []
    rows = await store.conversations(2)
    while rows:
        seen += [row.id for row in rows]
        rows = await store.conversations(2, before=rows[-1].cursor)
    assert seen == ["e", "d", "c", "b", "a"]


async def test_records_that_belong_together_are_written_together_or_not_at_all(store: Store) -> None:
    await store.write(ConversationImported("there", ()))
    with pytest.raises(ConversationExists):
        await store.write(Together((TurnStarted("c", "k1", "hi"), ConversationImported("there", ()))))
    assert store.conversation("c") is None
    assert await store.write(Together((TurnStarted("c", "k1", "a"), TurnStarted("c", "k2", "b")))) == (1, 2)


async def test_what_a_user_wrote_stands_in_no_error_message(store: Store) -> None:
    started = TurnStarted("c", "k1", "SECRET", system_prompt="SECRET", started_at="no time")  # pyright: ignore[reportArgumentType] - the mistake under test
    with pytest.raises(StoreError) as caught:
        await store.write(Together((started, TurnEnded("c", "k1", "nonsense", "SECRET", usage="no usage"))))  # pyright: ignore[reportArgumentType] - the mistake under test
    assert "SECRET" not in str(caught.value)
    assert "SECRET" not in repr(started)


async def test_many_turns_in_one_conversation_at_once_get_a_number_each(store: Store) -> None:
    numbers: list[int] = []

    async def ask(call: str) -> None:
        numbers.append(await say(store, "c", call))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(ask, f"k{number}")
    assert sorted(numbers) == [*range(1, 61)]


async def test_a_long_conversation_is_gone_at_once_and_leaves_the_file_later(path: Path) -> None:
    async with open_store(path) as store:
        turn = TurnRow(1, "k", "completed", None, None, None, None, 1.0, 1.0, None, "hello", "there")
        await store.write(ConversationImported("long", (turn,) * (3 * TURNS)))
        before = await store.write(_Count())
        await store.write(ConversationDeleted("long"))
        assert store.conversation("long") is None
        assert (await store.search_conversations("hello")).found == ()
        assert before == 3 * TURNS
        await store.expire()
        assert await store.write(_Count()) == 0


class _Count:
    """How many turns the file has."""

    def apply(self, db: sqlite3.Connection, server_id: int) -> int:
        count: int = db.execute("SELECT count(*) FROM turns").fetchone()[0]
        return count
