"""Every answer of `outputs`, with the verdict that stands beside it."""

from __future__ import annotations

import sys
import time

import pytest

from dragoman.schemas import ErrorCode, LLMError
from dragoman.structured import JSONExtractor, OutputSchema, extract
from tests.structured.outputs import CASES, SMALL, Case


def each(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name.replace(" ", "-"))


def test_there_are_enough_of_them_and_each_has_a_name_of_its_own() -> None:
    assert len(CASES) >= 200
    assert len({case.name for case in CASES}) == len(CASES)


@each(CASES)
def test_the_ladder_comes_to_the_verdict(case: Case) -> None:
    found = extract(case.text, case.wanted)
    if case.error is None:
        assert (found.step, found.error) == (case.step, None)
        assert found.value == case.value or case.value == "deep"
        assert OutputSchema.of(case.wanted).validate(found.value) == []
    else:
        assert found.error is not None
        assert case.error in found.error
        assert not found.found
        assert found.value is None
        assert len(found.error) < 4000


@each(SMALL)
def test_strict_takes_nothing_but_the_whole_text(case: Case) -> None:
    found = extract(case.text, case.wanted, strict=True, repair=True)
    assert found.found == (case.step == "whole")


@each(SMALL)
def test_mending_changes_nothing_where_a_value_was_found_and_guesses_nothing_elsewhere(case: Case) -> None:
    plain, mended = extract(case.text, case.wanted), extract(case.text, case.wanted, repair=True)
    if plain.candidates:
        assert (mended.step, mended.error) == (plain.step, plain.error)
    elif case.mended is None:
        assert not mended.found
    else:
        assert (mended.step, mended.value) == ("repaired", case.mended)


@each(SMALL)
def test_the_short_form_says_the_same(case: Case) -> None:
    value, error = JSONExtractor.extract_json(case.text, case.wanted)
    found = extract(case.text, case.wanted)
    assert (value, error) == (found.value, found.error)


def test_asking_for_mending_without_its_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "json_repair", None)
    assert extract('{"name": "Ann"}', "name", repair=True).found
    with pytest.raises(LLMError) as caught:
        extract("{'name': 'Ann'}", "name", repair=True)
    assert caught.value.code is ErrorCode.NOT_FOUND
    assert caught.value.info.next_step is not None
    assert "dragoman[repair]" in caught.value.info.next_step


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{'a': '" + "x" * 40_000 + "'}", "too long to be mended"),
        ("{" + "a: 1, " * 501 + "}", "too many properties or parentheses"),
        ("[" + "(" * 16_000 + "]", "too many properties or parentheses"),
        ("[" + "a " * 16_000 + "]", "none of"),
        ("{'a': [1, 'b'}", "not complete"),
        ("{'a': 1, 'b'}", "leaving something out"),
    ],
)
def test_mending_has_bounds_and_says_which(text: str, reason: str) -> None:
    # Without the bounds some of these keep the library busy for minutes.
    began = time.process_time()
    found = extract(text, "name", repair=True)
    assert time.process_time() - began < 10
    assert found.error is not None
    assert reason in found.error or reason == "none of"
