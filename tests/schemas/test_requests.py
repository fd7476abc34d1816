"""Bad input is refused with words that say what is wrong."""

from pathlib import Path

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
        ({"prompt": "hi", "cwd": ""}, "name a folder"),
        ({"prompt": "hi", "modle": "x"}, "Extra inputs"),
        ({"prompt": "hi", "timeouts": {"call": -1}}, "greater than 0"),
        ({"prompt": "hi", "timeouts": "leisurely"}, "'default' or 'interactive'"),
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


def test_a_preset_replaces_what_stood_below_it_and_what_is_named_beside_it_counts_on_top() -> None:
    below = TimeoutConfig(idle=300, queue=7)
    assert TimeoutOverrides(preset="interactive").over(below) == TimeoutConfig.interactive()
    assert TimeoutOverrides(preset="interactive", idle=20).over(below).idle == 20
    assert TimeoutOverrides(preset="default").over(below) == TimeoutConfig()
    floor = TimeoutOverrides(startup=30, idle=1)
    raised = TimeoutOverrides(preset="interactive", call=20).over(below, floor)
    assert (raised.startup, raised.idle, raised.call) == (30, 5, 20)


def test_clocks_are_only_ever_raised_to_a_floor() -> None:
    assert TimeoutConfig().raised(TimeoutOverrides(startup=90, idle=1)) == TimeoutConfig(startup=90)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("interactive", TimeoutOverrides(preset="interactive")),
        ({"preset": "interactive", "idle": 9}, TimeoutOverrides(preset="interactive", idle=9)),
        (TimeoutConfig(idle=9), TimeoutOverrides(idle=9)),
        (TimeoutOverrides(idle=9), TimeoutOverrides(idle=9)),
    ],
)
def test_clocks_may_be_given_as_a_preset_a_mapping_or_a_configuration(given: object, taken: TimeoutOverrides) -> None:
    assert LLMRequest.model_validate({"prompt": "hi", "timeouts": given}).timeouts == taken


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


def test_no_text_of_a_request_has_half_characters() -> None:
    texts = {"prompt": "\udcff", "provider": "\udcff", "system_prompt": "\udcff"}
    lists = {"fallback": ["\udcff"], "validators": ["regex:\udcff"]}
    request = LLMRequest.model_validate({**texts, **lists, "cwd": "/\udcff"})
    assert LLMRequest.model_validate_json(request.model_dump_json()) == request.model_copy(update={"cwd": Path("/�")})
    assert request.cwd == Path("/\udcff")
