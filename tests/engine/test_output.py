"""What is kept of a child's output, and that no kind of it grows without bound."""

import tracemalloc
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice, repeat

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.base import Act, Dialogue, Plan, Stdout, Stream, Write
from dragoman.engine import Call, Engine, EventLog
from dragoman.engine import events as events_module
from dragoman.engine.attempt import host as host_module
from dragoman.engine.attempt import outbox
from dragoman.engine.context import MAX_NOTICES, Context
from dragoman.schemas import (
    ErrorCode,
    Event,
    LLMRequest,
    LLMResponse,
    Notice,
    Retrying,
    Text,
    Thought,
    Tool,
    Usage,
)
from dragoman.testing import FakeAdapter, FakeCli, Liveness
from dragoman.testing.adapter import LineDialogue
from tests.engine.conftest import MakeEngine

pytestmark = pytest.mark.anyio

DONE = {"line": {"done": {"finish_reason": "stop", "model": "m"}}}
MIB = 1024 * 1024
EVENTS = st.sampled_from([Text(text="a"), Text(text="é"), Thought(text="hm"), Tool(name="read"), Usage(input_tokens=1)])


def context(capture_bytes: int) -> Context:
    return Context(Call(LLMRequest(prompt="hi", provider="fake"), "library"), capture_bytes)


async def ask(engine: Engine) -> LLMResponse:
    with anyio.fail_after(60):
        return await engine.submit(LLMRequest(prompt="hi", provider="fake")).outcome()


def error_code(reply: LLMResponse) -> ErrorCode | None:
    return reply.error.code if reply.error else None


FLOODS: Mapping[str, Callable[[int], Event]] = {
    "words": lambda number: Text(text=f"{number} "),
    "latin": lambda number: Text(text=f"{number}é{'x' * 1000}"),
    "chinese": lambda number: Text(text=f"{number}{'世' * 1000}"),
    "thoughts": lambda number: Thought(text=f"{number}"),
    "notices": lambda number: Notice(message=f"{number}{'x' * 10_000}"),
    "tools": lambda number: Tool(name=f"{number}", detail="x" * 200),
    "retries": lambda number: Retrying(attempt=number, cause=f"{number}{'x' * 500}"),
    "usage": lambda number: Usage(input_tokens=number),
}


@pytest.mark.parametrize("make", FLOODS.values(), ids=FLOODS)
async def test_no_kind_of_event_grows_a_call_by_more_than_thrice_what_it_may_keep(make: Callable[[int], Event]) -> None:
    taken = context(2 * MIB)
    # What the log holds of single words comes on top, and is the same however much may be kept.
    words = events_module.FINE_EVENTS * 700
    tracemalloc.start()
    try:
        for event in map(make, range(50_000)):
            taken.take(event)
        taken.received()
        grown = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert grown < 3 * 2 * MIB + words


@given(st.text(), st.lists(st.text(max_size=5), max_size=20), st.integers(min_value=1, max_value=60))
async def test_what_is_kept_is_the_beginning_of_the_answer_and_all_there_is_room_for(
    first: str, more: list[str], room: int
) -> None:
    taken = context(room)
    pieces = [Text(text=piece) for piece in (first, *more)]
    for piece in pieces:
        taken.take(piece)
    whole = "".join(piece.text for piece in pieces)
    kept = taken.received()
    assert whole.startswith(kept)
    assert kept == whole.encode()[:room].decode("utf-8", "ignore")
    assert taken.lost_bytes == max(len(whole.encode()) - room, 0)


async def test_what_has_no_room_any_more_is_told_once() -> None:
    taken = context(2000)
    for number in range(100):
        taken.take(Tool(name=f"tool {number}"))
    *tools, last = taken.call.log.events
    assert all(isinstance(event, Tool) for event in tools)
    assert last == Notice(message=taken.notices[0])
    assert taken.notices == ["it did more than there is room to tell"]
    assert taken.acted


async def test_a_notice_is_told_once_and_only_so_many_are() -> None:
    taken = context(MIB)
    for number in (0, 0, *range(100)):
        taken.take(Notice(message=f"notice {number}"))
    assert taken.notices == [f"notice {number}" for number in range(MAX_NOTICES)]
    assert len(taken.call.log.events) == MAX_NOTICES


@given(st.lists(EVENTS, max_size=40), st.integers(min_value=0, max_value=5), st.integers(min_value=1, max_value=5))
def test_a_long_log_has_the_same_text_between_the_same_events(events: list[Event], fine: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events_module, "FINE_EVENTS", fine)
        patch.setattr(events_module, "BLOCK_CHARS", block)
        log = EventLog()
        for event in events:
            log.append(event)
        log.close()
    assert joined(log.events) == joined(events)
    assert log.events[:fine] == events[:fine]


def joined(events: Iterable[Event]) -> list[Event]:
    """The events with neighbouring texts as one."""
    whole: list[Event] = []
    for event in events:
        if isinstance(event, Text) and whole and isinstance(whole[-1], Text):
            whole[-1] = Text(text=whole[-1].text + event.text)
        else:
            whole.append(event)
    return whole


async def test_a_follower_of_a_long_answer_sees_each_block_at_once_and_the_rest_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events_module, "FINE_EVENTS", 2)
    monkeypatch.setattr(events_module, "BLOCK_CHARS", 3)
    log = EventLog()
    for piece in ("a", "b", "c", "d", "e", "f"):
        log.append(Text(text=piece))
    with anyio.fail_after(60):
        seen = await anext(log.batches())
        assert [event.text for event in seen if isinstance(event, Text)] == ["a", "b", "cde"]
        log.close()
        assert [event async for event in log.follow(3)] == [Text(text="f")]


async def test_what_was_written_into_a_file_before_the_end_is_read_though_it_takes_long(
    make_engine: MakeEngine, cli: FakeCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "DRAIN_S", 0.0)
    cli.script({"spew": 5_000_000, "line_bytes": 200, "json_key": "text"}, DONE)
    async with make_engine(FakeAdapter(stdout=Stdout.FILE)) as engine:
        reply = await ask(engine)
    assert (reply.status, reply.model) == ("completed", "m")


async def test_a_child_that_fills_the_disk_through_its_file_is_killed(
    make_engine: MakeEngine, cli: FakeCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "FILE_BYTES", 2 * MIB)
    async with Liveness() as live, make_engine(FakeAdapter(stdout=Stdout.FILE)) as engine:
        ignore = {"ignore": ["TERM"]}
        cli.script(live.connect(), ignore, {"line": {"text": "part"}}, {"repeat": 10**9, "steps": [{"spew": 100_000}]})
        reply = await ask(engine)
        assert (error_code(reply), reply.text) == (ErrorCode.OUTPUT_LIMIT, "part")
        assert "2 MiB to stdout" in (reply.error.message if reply.error else "")
        await live.all_gone()


async def test_a_call_that_is_cancelled_does_not_read_the_rest_of_a_file(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script({"spew": 30_000_000, "line_bytes": 100, "json_key": "text"}, DONE)
    with anyio.fail_after(60):
        async with make_engine(FakeAdapter(stdout=Stdout.FILE)) as engine:
            call = engine.submit(LLMRequest(prompt="hi", provider="fake"))
            async for event in call.log.follow():
                if isinstance(event, Text):
                    break
            call.cancel()
            reply = await call.outcome()
    assert (reply.status, 0 < len(reply.text) < 20_000_000) == ("cancelled", True)


async def test_long_lines_on_stderr_are_skipped_and_told_and_its_end_is_shown(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    cli.script({"spew": 3_000_000, "line_bytes": 0, "to": "stderr"}, {"err": "\nthe last words\n"}, {"exit": 1})
    async with make_engine(configuration={"retry": {"max_attempts": 1}}) as engine:
        reply = await ask(engine)
    assert reply.error is not None
    assert (reply.error.stderr_tail or "").endswith("the last words")
    assert len(reply.error.stderr_tail or "") <= 2000
    assert any("over 262144 bytes" in notice for notice in reply.notices)


async def test_an_error_as_long_as_a_book_is_cut(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script({"line": {"error": {"code": "internal", "message": "x" * 1_000_000}}})
    async with make_engine(configuration={"retry": {"max_attempts": 1}}) as engine:
        reply = await ask(engine)
    assert error_code(reply) is ErrorCode.INTERNAL
    assert 1000 < len(reply.error.message if reply.error else "") < 5000


class Answering(LineDialogue):
    """Answers every line, as a server's client does."""

    def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        yield from islice(repeat(Write(b"no\n" * 10)), len(frames))


class AnsweringAdapter(FakeAdapter):
    def dialogue(self, plan: Plan) -> Dialogue:
        return Answering()


async def test_a_child_that_asks_and_never_reads_the_answers_is_stopped(
    make_engine: MakeEngine, cli: FakeCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_UNREAD", 1000)
    cli.script({"repeat": 1_000_000, "steps": [{"spew": 100_000, "line_bytes": 20}]})
    async with make_engine(AnsweringAdapter(), configuration={"retry": {"max_attempts": 1}}) as engine:
        reply = await ask(engine)
    assert error_code(reply) is ErrorCode.CRASHED
    assert "1000 messages unread" in (reply.error.message if reply.error else "")
