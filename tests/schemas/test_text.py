"""Half characters never reach an encoder."""

import json

from hypothesis import given
from hypothesis import strategies as st

from dragoman.schemas import LLMResponse, Text
from dragoman.schemas.text import readable, writable

ANYTHING = st.text(st.characters(exclude_categories=()))


@given(ANYTHING)
def test_every_text_can_be_written_out(text: str) -> None:
    event = Text(text=text)
    assert Text.model_validate_json(event.model_dump_json()) == event
    assert LLMResponse(status="completed", text=text).model_dump_json()


@given(st.text())
def test_a_whole_text_stays_as_it_is(text: str) -> None:
    assert writable(text) == text


def test_halves_that_belong_together_are_joined_and_a_single_one_is_replaced() -> None:
    assert writable("a\ud83d\ude00b") == "a😀b"
    assert writable("a\ud83db") == "a\ufffdb"


@given(ANYTHING)
def test_json_with_half_characters_becomes_json_without(text: str) -> None:
    assert json.loads(readable(json.dumps(text))) == writable(text)
    assert json.loads(readable(json.dumps(json.dumps(text)))) == json.dumps(text)
