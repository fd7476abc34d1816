"""The layers together, for two virtual hours: an upstream that is shaky, then down for an hour, then back."""

from benchmarks.outage import CALLERS, DOWN, END, UP, play, with_dragoman


def test_an_outage_is_sat_out_with_a_probe_a_minute_and_over_within_two() -> None:
    story = play(with_dragoman, seed=3)
    asked = story.calls(0, DOWN)
    assert asked > CALLERS * 30
    assert story.calls(0, DOWN, "completed") > 0.95 * asked, "what fails now and then is tried again"
    assert story.calls(0, DOWN, "circuit_open") == 0, "and is no outage"
    assert story.attempted(DOWN, UP) < 60 + 2 * CALLERS, "one probe a minute, and what ran when it went down"
    assert story.herd() == 1
    assert story.steady_s() < 120
    assert story.calls(UP + 120, END, "completed") == story.calls(UP + 120, END)
