"""What providers say of when they can be asked again."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.engine.layers import resets
from dragoman.engine.layers.resets import LONGEST, reset_time, with_reset
from dragoman.schemas import ErrorCode, ErrorInfo

ZONE = timezone(timedelta(hours=1))
NOW = datetime(2026, 11, 21, 14, 30, tzinfo=ZONE)


def seconds(words: str) -> float | None:
    moment = reset_time(words, NOW)
    return None if moment is None else (moment - NOW).total_seconds()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("429: Please retry in 12.5s.", 12.5),
        ("quota will reset after 3h34m12s", 12852),
        ("You've hit your usage limit. Try again in 3 days 5 hours 20 minutes.", 278400),
        ("try again in 1 hour and 5 minutes", 3900),
        ("Rate limit reached. Please try again in 250ms.", 0.25),
        ("rate limit, retry after 30 s", 30),
        ("Retry-After: 17", 17),
        ('{"retry-after": "17"}', 17),
        ("please wait for 2 min", 120),
        ("Please wait 30 seconds and try again", 30),
        ("your limit resets in 1 week", 604800),
        ("Claude usage limit reached. Your limit will reset at 3pm", 1800),
        ("try again at 3:42 PM", 4320),
        ("You've hit your session limit · resets 3:42am", 47520),
        ("resets 3am (America/New_York)", 66600),
        ("resets 15:00 UTC", 5400),
        ("try again at Nov 25th, 2026 3:30 PM.", 349200),
        ("limit reached · resets Monday 9am", 153000),
        ("weekly limit · resets Sat at 2pm", 603000),
        ("try again Saturday, 3:00 PM", 1800),
        ("Claude AI usage limit reached|1795275000", 7200),
        ("limit resets at 2026-11-21T15:30:00Z", 7200),
        ("limit resets at 2026-11-21 15:30", 3600),
    ],
)
def test_the_time_is_read(words: str, expected: float) -> None:
    assert seconds(words) == expected


@pytest.mark.parametrize(
    "words",
    [
        "",
        "too many requests",
        "retry later",
        "try again at 25:99",
        "resets Nov 31 3pm",
        "try again in 90 days",
        "resets at 2026-11-20T15:30:00Z",
        "resets at 2026-13-45T10:00",
        "resets at 2026-11-22T10:00:00+99:99",
        f"Retry-After: {'9' * 30}",
        f"try again in {'9' * 400} s",
        "try again in 99999999999999 days",
        "resets Oct 6, 1pm",
        "HTTP 429 at 3:42",
        "retry 3 of 10",
    ],
)
def test_what_tells_no_time_gives_none(words: str) -> None:
    assert reset_time(words, NOW) is None


def test_in_december_january_is_next_years() -> None:
    december = datetime(2026, 12, 28, 12, 0, tzinfo=ZONE)
    assert reset_time("resets Jan 2, 9am", december) == datetime(2027, 1, 2, 9, 0, tzinfo=ZONE)


digits = st.text("0123456789", min_size=1, max_size=40)


@given(
    st.text(max_size=120)
    | st.text("retryesinafo 0123456789:.hmsdap-TZ(/)", max_size=60).map(lambda t: f"try again {t}")
    | st.from_regex(resets._ISO, fullmatch=True, alphabet=st.characters(codec="ascii"))  # pyright: ignore[reportPrivateUsage] - each form that is read, with any numbers
    | st.builds(
        "{} {} {}".format,
        st.sampled_from(("retry-after:", "try again in", "resets Jan")),
        digits,
        st.sampled_from("wdhms"),
    )
)
def test_no_words_are_too_strange_and_no_time_is_past_or_far(words: str) -> None:
    moment = reset_time(words, NOW)
    assert moment is None or NOW <= moment <= NOW + LONGEST


def test_a_failure_keeps_what_its_adapter_knew_and_others_stay_as_they_are() -> None:
    quota = ErrorInfo.of(ErrorCode.QUOTA, "resets at 3pm")
    told = with_reset(quota, NOW)
    assert (told.retry_after_s, told.reset_at) == (1800, datetime(2026, 11, 21, 14, 0, tzinfo=UTC))
    known = ErrorInfo.of(ErrorCode.QUOTA, "resets at 3pm", retry_after_s=5)
    assert with_reset(known, NOW) is known
    other = ErrorInfo.of(ErrorCode.AUTH, "try again in 5 minutes")
    assert with_reset(other, NOW) is other
