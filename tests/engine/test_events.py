"""The event log: all of it for everyone, and the text of an answer once."""

import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.engine import EventLog
from dragoman.engine import events as events_module
from dragoman.schemas import Event, Notice, Text

MIB = 1024 * 1024
PIECE = st.text(alphabet="aé世😀\n", max_size=6)
STEP = st.one_of(
    st.tuples(st.sampled_from(["text", "notice"]), PIECE),
    st.tuples(st.just("withdraw"), st.integers(min_value=0, max_value=30)),
    st.tuples(st.sampled_from(["whole", "share"]), st.none()),
)


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


@given(st.lists(STEP, max_size=30), st.integers(min_value=1, max_value=20))
def test_a_log_is_a_list_of_events_whose_text_can_be_had_as_one_and_taken_back(
    steps: list[tuple[str, str | int | None]], joined: int
) -> None:
    log = EventLog()
    plain: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events_module, "JOINED_CHARS", joined)
        for step in steps:
            match step:
                case "text", str(text):
                    log.append(Text(text=text))
                    plain.append(Text(text=text))
                case "notice", str(text):
                    log.append(Notice(message=text))
                    plain.append(Notice(message=text))
                case "withdraw", int(start):
                    assert log.withdraw(start) == len(plain)
                    plain[start:] = [Text(text="") if isinstance(event, Text) else event for event in plain[start:]]
                case "share", _:
                    log.share(text_of(plain))
                    log.share("something else")
                case _:
                    assert log.text() == text_of(plain)
            assert list(log.events) == plain
    assert log.events[3:7] == plain[3:7]
    assert log.text() == text_of(plain)


@pytest.mark.parametrize("is_told_again", [False, True])
def test_a_long_answer_is_in_memory_once_when_it_is_over(is_told_again: bool) -> None:
    log = EventLog()
    piece, many = "x" * 50_000, 400
    tracemalloc.start()
    try:
        for _ in range(many):
            log.append(Text(text="".join([piece[1:], "x"])))
        if is_told_again:
            reply = piece * many
            log.share(reply)
        else:
            reply = log.text()
        log.close()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reply == piece * many
    assert log.text() is reply
    assert kept < sys.getsizeof(reply) + MIB
    assert peak < 2 * sys.getsizeof(reply) + 3 * MIB
