from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from dragoman.structured import JSONLines, Line, PartialValue, partial


class Person(BaseModel):
    name: str


def grown(text: str, schema: object = None) -> list[object]:
    value = PartialValue(schema)
    return [value.value for character in text if value.feed(character)]


def test_an_object_is_seen_as_it_grows() -> None:
    assert grown('Sure:\n```json\n{"name": "An\\u00e9", "tags": [1, 20]}\n```\nDone {"x": 1}') == [
        {},
        {"name": ""},
        {"name": "A"},
        {"name": "An"},
        {"name": "Ané"},
        {"name": "Ané", "tags": []},
        {"name": "Ané", "tags": [1]},
        {"name": "Ané", "tags": [1, 20]},
    ]


def test_brackets_of_another_kind_than_the_root_are_passed_over() -> None:
    assert grown('As in [1]: {"name": "A"}', Person)[-1] == {"name": "A"}
    assert grown('{"note": 1} [1, 2]', {"type": "array"})[-1] == [1, 2]


def test_a_value_that_breaks_stays_as_far_as_it_came() -> None:
    value = PartialValue()
    assert value.feed('{"name": "Ann", ')
    assert not value.feed("age: 7}" * 10)
    assert value.value == {"name": "Ann"}
    assert not value.feed('{"name": "Bob"}')


def test_words_give_no_value() -> None:
    assert grown("No JSON here, only [words] and {more}.") == []


def test_parsing_again_and_again_takes_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []

    def counted(text: str, **options: object) -> object:
        parsed.append(len(text))
        return real(text, **options)  # pyright: ignore[reportArgumentType] - whatever it was given

    real = partial.from_json
    monkeypatch.setattr(partial, "from_json", counted)
    text = json.dumps([{"name": "x" * 20, "n": n} for n in range(5000)])
    value = PartialValue()
    for at in range(0, len(text), 4):
        value.feed(text[at : at + 4])
    assert sum(parsed) < 20 * len(text)
    assert len(parsed) > 50


def test_past_the_bound_nothing_more_is_shown_or_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial, "MAX_CHARACTERS", 50)
    value = PartialValue()
    assert value.feed('{"a": "' + "x" * 20)
    assert not value.feed("x" * 100)
    assert value.value == {"a": "x" * 20}


def test_each_line_is_judged_when_it_is_complete() -> None:
    lines = JSONLines(Person)
    assert list(lines.feed('```jsonl\n{"name": "Ann"}\n{"na')) == [Line(2, Person(name="Ann"))]
    assert list(lines.feed('me": "Bob"}')) == []
    assert list(lines.feed("\r\n\n")) == [Line(3, Person(name="Bob"))]
    bad = [*lines.feed('{"name": 3}\n{"name": "Cy",}\n'), *lines.feed("```"), *lines.close()]
    assert [(line.number, line.value) for line in bad] == [(5, None), (6, None)]
    assert bad[0].problem == "it does not match the schema: $.name: expected a string, got 3"
    assert bad[1].problem is not None
    assert bad[1].problem.startswith("it is not JSON: ")


def test_a_line_without_end_is_a_problem_and_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial, "MAX_LINE", 100)
    lines = JSONLines(Person)
    for _ in range(100):
        assert list(lines.feed("x" * 10)) == []
    assert sum(map(len, lines._pending)) <= 100  # pyright: ignore[reportPrivateUsage] - what is held shows nowhere else
    late = list(lines.feed('\n{"name": "Ann"}\n'))
    assert late[0].problem == "the line has 1,000 characters; at most 100 are taken"
    assert late[1].value == Person(name="Ann")
