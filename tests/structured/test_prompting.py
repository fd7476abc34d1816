from __future__ import annotations

import pytest

from dragoman.structured import Extraction, correction, extract, feedback, instructions, prompt_for


def test_the_instructions_have_the_schema_and_every_rule() -> None:
    text = instructions("name, age int?")
    assert '"age":{"type":["integer","null"]}' in text
    for rule in (
        "exactly one JSON value",
        "No words before or after",
        "no code fence",
        "every required field",
        "is null",
    ):
        assert rule in text
    assert prompt_for("Who?\n", "name").startswith("Who?\n\nAnswer with exactly one JSON value")


def test_the_instructions_take_a_schema_with_braces_and_percent_signs() -> None:
    assert '"const":"{schema} {0} %s"' in instructions({"const": "{schema} {0} %s"})


def test_feedback_names_each_problem_with_its_place() -> None:
    text = feedback(extract('{"age": "7"}', "name, age int"))
    assert "- at $.name: expected a string (required), got nothing\n" in text
    assert '- at $.age: expected an integer, got "7"\n' in text
    assert "Send the whole JSON value again" in text


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "the answer is empty"),
        ("I cannot.", "no JSON value was found"),
        ('{"name": "A"} {"name": "B"}', "2 different values"),
        ('{"name": "A', "cut off"),
    ],
)
def test_feedback_says_why_nothing_was_found(answer: str, reason: str) -> None:
    assert reason in feedback(extract(answer, "name"))


def test_feedback_is_bounded_and_tells_what_it_left_out() -> None:
    long = {"type": "object", "required": ["x" * 300 + str(n) for n in range(50)]}
    text = feedback(extract("{}", long))
    assert len(text) <= 2000
    many = correction([f"fault {n} " + "y" * 300 for n in range(100)])
    assert len(many) <= 2000
    assert "more\n" in many
    assert len(feedback(Extraction(error="z" * 10_000))) <= 2000


def test_a_correction_asks_for_json_only_where_json_is_wanted() -> None:
    assert "JSON" in correction(["it is empty"], wants_json=True)
    assert "JSON" not in correction(["it is empty"])
