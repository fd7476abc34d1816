"""Bad input is refused with words that say what is wrong."""

import pytest
from pydantic import ValidationError

from dragoman.schemas import LLMRequest, LLMResponse, TimeoutConfig, TimeoutOverrides, Usage


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompt": ""}, "is empty"),
        ({"prompt": " \n"}, "is empty"),
        ({"prompt": "a\0b"}, "NUL"),
        ({"prompt": "hi", "model": "--yolo"}, "begin with a dash"),
        ({"prompt": "hi", "modle": "x"}, "Extra inputs"),
        ({"prompt": "hi", "timeouts": {"call": -1}}, "greater than 0"),
        ({"prompt": "hi", "access": "root"}, "'read-only', 'edit' or 'full'"),
    ],
)
def test_bad_input_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LLMRequest.model_validate(fields)


def test_overrides_change_only_what_they_name() -> None:
    assert TimeoutOverrides(idle=7).over(TimeoutConfig()) == TimeoutConfig(idle=7)


def test_a_longer_call_is_not_cut_by_its_only_attempt() -> None:
    clocks = TimeoutOverrides(call=3600).over(TimeoutConfig())
    assert (clocks.call, clocks.attempt) == (3600, 3600)
    assert TimeoutOverrides(call=60).over(TimeoutConfig()).attempt == TimeoutConfig().attempt
    assert TimeoutOverrides(call=3600, attempt=5).over(TimeoutConfig()).attempt == 5


def test_the_interactive_preset_has_short_clocks() -> None:
    clocks = TimeoutConfig.interactive()
    assert (clocks.spawn, clocks.startup, clocks.idle, clocks.call, clocks.grace) == (5, 10, 5, 60, 5)


def test_the_public_form_counts_attempts_and_leaves_out_what_is_empty() -> None:
    reply = LLMResponse(status="completed", text="hi", usage=Usage(input_tokens=3))
    assert reply.public() == {
        "status": "completed",
        "text": "hi",
        "billing": "unknown",
        "duration_s": 0.0,
        "usage": {"input_tokens": 3},
        "attempts": 0,
    }
