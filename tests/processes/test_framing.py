"""The framer gives what a plain split would, however the bytes are cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dragoman.processes import LineFramer, Tail

BYTES = st.lists(st.sampled_from([b"a", b"{}", b"\n", b"\r", b"\r\n", "é€".encode(), b" "])).map(b"".join)


def plain_split(data: bytes) -> list[bytes]:
    lines = (line[:-1] if line.endswith(b"\r") else line for line in data.split(b"\n"))
    return [line for line in lines if line]


def frame(chunks: list[bytes], max_line: int = 1000) -> tuple[list[bytes], int]:
    framer = LineFramer(max_line)
    lines = [line for chunk in chunks for line in framer.feed(chunk)]
    return [*lines, *framer.finish()], framer.skipped


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(position % (len(data) + 1) for position in at), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(BYTES, st.lists(st.integers(min_value=0)))
def test_framing_equals_a_plain_split_for_every_chunking(data: bytes, at: list[int]) -> None:
    assert frame(cut(data, at)) == (plain_split(data), 0)


@given(st.lists(st.integers(min_value=0)))
def test_a_line_that_is_too_long_is_skipped_and_counted_and_its_neighbours_are_kept(at: list[int]) -> None:
    data = b"before\n" + b"x" * 11 + b"\nafter\n" + b"y" * 12
    assert frame(cut(data, at), max_line=10) == ([b"before", b"after"], 2)


def test_a_separator_inside_json_does_not_cut_it() -> None:
    line = '{"text":"a\u2028b\u0085c"}'.encode()
    assert frame([line + b"\n"]) == ([line], 0)


def test_a_tail_keeps_the_end_and_counts_everything() -> None:
    tail = Tail(10)
    for _ in range(1000):
        tail.feed(b"0123456789")
    assert tail.text() == "0123456789"
    assert tail.text(3) == "789"
    assert tail.total == 10_000
