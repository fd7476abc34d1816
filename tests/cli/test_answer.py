"""An answer on stdout, piece by piece."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragoman.cli.answer import Answer

PIECES = st.lists(st.text("ab\n", max_size=4), max_size=6)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("pieces", "written"),
    [
        (["a", "b"], "ab\n"),
        (["a\n", "\n", "b\n", "\n\n"], "a\n\nb\n"),
        (["\n", "a"], "\na\n"),
        ([], ""),
    ],
)
async def test_an_answer_ends_with_one_newline_however_it_is_cut(
    pieces: list[str], written: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Answer()
    for piece in pieces:
        await answer.write(piece)
    await answer.end()
    assert capsys.readouterr().out == written


@pytest.mark.anyio
@given(PIECES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_nothing_is_lost_but_newlines_at_the_end(capsys: pytest.CaptureFixture[str], pieces: list[str]) -> None:
    answer = Answer()
    for piece in pieces:
        await answer.write(piece)
    await answer.end()
    whole = "".join(pieces).rstrip("\n")
    assert capsys.readouterr().out == (f"{whole}\n" if whole else "")
