"""When a provider says that it can be asked again: "resets after 3h34m", "try again at 3:42 AM", "retry in 12.5s".

CLIs say it in words, and only here is there a clock to read them by. A time of day without a zone is the machine's, as
CLIs print it for the person before it; a moment that has passed is the next day's.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from dragoman.schemas import ErrorCode, ErrorInfo

TELLING = frozenset({ErrorCode.QUOTA, ErrorCode.RATE_LIMITED, ErrorCode.OVERLOADED})
"""Failures whose words may tell a time."""
LONGEST = timedelta(days=40)
"""No plan resets later than monthly: a longer time was misread."""

_ABOUT = r"(?:retry|try again|resets?|available|wait|back)\b[^.;\n]{0,30}?"
_UNITS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER = r"\d+(?:\.\d+)?"
_UNIT = r"(?:ms|milliseconds?|w(?:eeks?)?|d(?:ays?)?|h(?:ours?|rs?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)(?![a-z])"
# Patterns are compiled when they are first used (`re` keeps them): a start needs none of them.
_PART = rf"(?i)(?P<number>{_NUMBER})\s*(?P<unit>{_UNIT})"
_SPAN = (
    rf"(?i)(?:{_ABOUT}\b(?:in|after|for)|\bwait)\s+(?:about\s+)?"
    rf"(?P<span>{_NUMBER}\s*{_UNIT}(?:[\s,]*(?:and\s+)?{_NUMBER}\s*{_UNIT})*)"
)
_HEADER = r"(?i)retry-after[\"']?\s*[:=]\s*[\"']?(?P<seconds>\d+(?:\.\d+)?)\b"
_ISO = rf"(?i){_ABOUT}(?P<iso>\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)"
_EPOCH = r"(?i)limit reached\|(?P<epoch>\d{10})\b"
_WEEKDAY = r"\b(?P<weekday>mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\b,?\s+(?:at\s+)?"
_DATE = (
    r"(?P<month>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?"
    r"(?:,?\s+(?P<year>\d{4}))?,?\s+(?:at\s+)?"
)
_CLOCK = (
    rf"(?i){_ABOUT}(?:{_WEEKDAY})?(?:{_DATE})?"
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d\d))?\s*(?P<half>[ap]m)?\b"
    r"(?:\s*\((?P<zone>[A-Za-z]+(?:/[A-Za-z_+-]+)*)\)|\s*(?P<utc>UTC|GMT))?"
)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def with_reset(error: ErrorInfo, now: datetime) -> ErrorInfo:
    """The failure with the time that its words tell, unless it has one or tells of none. `now` has a zone."""
    if error.code not in TELLING or error.retry_after_s is not None or error.reset_at is not None:
        return error
    moment = reset_time(f"{error.message}\n{error.stderr_tail or ''}", now)
    if moment is None:
        return error
    wait = max((moment - now).total_seconds(), 0.0)
    return error.model_copy(update={"retry_after_s": round(wait, 3), "reset_at": moment.astimezone(UTC)})


def reset_time(words: str, now: datetime) -> datetime | None:
    """The moment that these words name; None: they name none, or none that can be."""
    try:
        moment = _after(words, now) or _at(words, now)
    except (ValueError, OverflowError):
        return None  # such as the 45th, or in a billion years
    return moment if moment is not None and now <= moment <= now + LONGEST else None


def _after(words: str, now: datetime) -> datetime | None:
    if found := re.search(_HEADER, words):
        return now + timedelta(seconds=float(found["seconds"]))
    if found := re.search(_SPAN, words):
        parts = re.finditer(_PART, found["span"])
        return now + timedelta(seconds=sum(float(part["number"]) * _seconds(part["unit"].lower()) for part in parts))
    return None


def _seconds(unit: str) -> float:
    return _UNITS["ms"] if unit.startswith(("ms", "milli")) else _UNITS[unit[0]]


def _at(words: str, now: datetime) -> datetime | None:
    if found := re.search(_EPOCH, words):
        return datetime.fromtimestamp(int(found["epoch"]), UTC)
    if found := re.search(_ISO, words):
        moment = datetime.fromisoformat(found["iso"])
        return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
    found = next((each for each in re.finditer(_CLOCK, words) if each["half"] or each["minute"]), None)
    if found is None:
        return None
    hour, minute = int(found["hour"]), int(found["minute"] or 0)
    if found["half"]:
        hour = hour % 12 + (12 if found["half"].lower() == "pm" else 0)
    here = now.astimezone(_zone(found["zone"], found["utc"]) or now.tzinfo)
    moment = here.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if found["month"]:
        month = _MONTHS.index(found["month"][:3].lower()) + 1
        moment = moment.replace(month=month, day=int(found["day"]), year=int(found["year"] or here.year))
        # In December, January is next year's.
        return moment if moment >= here or found["year"] else moment.replace(year=here.year + 1)
    if found["weekday"]:
        moment += timedelta(days=(_WEEKDAYS.index(found["weekday"][:3].lower()) - here.weekday()) % 7)
        return moment if moment >= here else moment + timedelta(days=7)
    return moment if moment >= here else moment + timedelta(days=1)


def _zone(name: str | None, utc: str | None) -> tzinfo | None:
    if utc:
        return UTC
    try:
        return ZoneInfo(name) if name else None
    except (ValueError, OSError, KeyError):
        return None
