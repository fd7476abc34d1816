"""The one logger: silent until `setup_logging`, then stderr and perhaps a file; never stdout, the protocol's own.

Every module of the package that logs takes ``logger`` from here, so that importing it configures and prints nothing.
"""

from __future__ import annotations

import json as jsonlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

__all__ = ["logger", "redact", "setup_logging"]

MASK = "[redacted]"

logger.disable("dragoman")


class _Installed:
    """What `setup_logging` put in place, so that the next call can take it out again."""

    sinks: list[int] = [0]  # noqa: RUF012 - 0 is the sink loguru starts with; the list is this process's state
    files: list[TextIO] = []  # noqa: RUF012 - the same


def setup_logging(level: str = "WARNING", *, json: bool = False, file: Path | None = None) -> None:
    """Log to stderr, and to `file` as well when it is given. A second call replaces the first.

    The standard library's `logging` and `warnings` are routed into the same sinks.

    Args:
        level: The lowest level that is written: TRACE, DEBUG, INFO, SUCCESS, WARNING, ERROR or CRITICAL.
        json: One JSON object a line, instead of text.
        file: Appended to; made for the user alone, with its folder.

    Raises:
        ValueError: no such level.
        OSError: the file cannot be opened.
    """
    number = logger.level(level.upper()).no
    opened = [_open(file)] if file else []
    _remove_installed()
    render = _as_json if json else _as_text
    coloured = not json and sys.stderr.isatty() and "NO_COLOR" not in os.environ
    _install(sys.stderr, _in_colour if coloured else render, number)
    for stream in opened:
        _install(stream, render, number)
    _Installed.files += opened
    logger.enable("dragoman")
    logging.basicConfig(handlers=[_Intercept()], level=number, force=True)
    logging.captureWarnings(capture=True)


def _open(file: Path) -> TextIO:
    file = file.expanduser()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(descriptor, "a", encoding="utf-8")


def _remove_installed() -> None:
    for sink in _Installed.sinks:
        try:
            logger.remove(sink)
        except ValueError:
            continue  # the program that uses us took it out already
    for stream in _Installed.files:
        stream.close()
    _Installed.sinks.clear()
    _Installed.files.clear()


def _install(stream: TextIO, render: Callable[[Record], str], level: int) -> None:
    def write(message: Message) -> None:
        stream.write(render(message.record) + "\n")
        stream.flush()

    # diagnose would print the values of variables, prompts and keys among them.
    _Installed.sinks.append(logger.add(write, level=level, format="{message}", backtrace=False, diagnose=False))


class _Intercept(logging.Handler):
    """Hands records of the standard library's loggers to ours, under their own names."""

    def emit(self, record: logging.LogRecord) -> None:
        def as_it_was(ours: Record) -> None:
            ours["name"], ours["function"], ours["line"] = record.name, record.funcName, record.lineno

        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - arguments that do not fit the text; a bad log call must not end its caller
            message = f"{record.msg!r} {record.args!r}"
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        logger.patch(as_it_was).opt(exception=record.exc_info).log(level, "{}", message)


def _as_text(record: Record) -> str:
    extra = "".join(f" {name}={value}" for name, value in record["extra"].items())
    when = record["time"].strftime("%H:%M:%S.%f")[:-3]
    line = f"{when} {record['level'].name:<8} {record['name']}: {record['message']}{extra}"
    # One event is one line: what a child wrote must not look like a line of ours, nor drive the terminal.
    return _printable(redact(line)) + "".join(f"\n  {_printable(part)}" for part in _exception(record))


_COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "1;31", "SUCCESS": "32", "TRACE": "2", "DEBUG": "2"}


def _in_colour(record: Record) -> str:
    colour = _COLOURS.get(record["level"].name)
    return f"\x1b[{colour}m{_as_text(record)}\x1b[0m" if colour else _as_text(record)


def _as_json(record: Record) -> str:
    event: dict[str, Any] = {
        "time": record["time"].isoformat(),
        "level": record["level"].name,
        "logger": record["name"],
        "message": redact(record["message"]),
    }
    event |= {name: _redacted_value(name, value) for name, value in record["extra"].items() if name not in event}
    trace = _exception(record)
    if trace:
        event["exception"] = "\n".join(trace)
    return jsonlib.dumps(event, ensure_ascii=False, default=lambda value: redact(str(value)))


def _redacted_value(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    return MASK if _is_secret(name) else redact(value)


def _exception(record: Record) -> list[str]:
    exception = record["exception"]
    if exception is None or exception.value is None:
        return []
    text = "".join(traceback.format_exception(exception.type, exception.value, exception.traceback))
    return redact(text).rstrip("\n").split("\n")


# Patterns are compiled when they are first used (`re` keeps them): a start needs none of them.
_CONTROL = r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]"


def _printable(text: str) -> str:
    return re.sub(_CONTROL, lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


# Shapes that are keys wherever they stand. The vendors' own prefixes make them safe to mask without context.
_SHAPES = (
    r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|sk-(?:ant|proj|or|svcacct|admin)-[A-Za-z0-9_-]{8,}"
    r"|(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))sk-[A-Za-z0-9_-]{16,}"
    r"|AIza[A-Za-z0-9_-]{20,}"
    r"|ya29\.[A-Za-z0-9_-]{16,}"
    r"|gh[a-z]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,}"
    r"|(?:gsk|hf|npm)_[A-Za-z0-9]{16,}|xai-[A-Za-z0-9]{16,}|pplx-[A-Za-z0-9]{16,}"
    r"|xox[a-z]-[A-Za-z0-9-]{10,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|eyJ[A-Za-z0-9_-]{17,}(?:\.[A-Za-z0-9_-]*)*"
)
_BEARER = r"(?i)(bearer\s{1,4})[A-Za-z0-9._~+/=-]{8,}"
_HEADER = r"(?i)((?:authorization|cookie)\\?[\"']?\s{0,4}[=:]\s{0,4}\\?[\"']?)[^\r\n\"'\\]+"
_LOGIN_IN_URL = r"(://)[^\s/@\"']{1,512}@"
# The stem is searched and the name's beginning looked up before it: matched from its start, a long word costs n².
_QUOTED = r"(?:\\[\"'][^\"'\\\n]*(?:\\[\"'])?|\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?)"
_ASSIGNED = (
    r"(?i)(?P<rest>(?:key|token|secret|passw(?:or)?d|credential)[A-Za-z0-9_.-]{0,64})"
    r"(?P<sign>\\?[\"']?\s{0,8}[=:]\s{0,8})"
    rf"(?P<value>{_QUOTED}(?:{_QUOTED}|[^\s\"',;}}\])])*|[^\s\"'](?:{_QUOTED}|[^\s\"'])*)"
)
# The letter of an escape, as in a JSON string, is not of the name: "\npassword=".
_NAME_BEGINS = r"(?:\\[nrt])?([A-Za-z0-9_.-]*)\Z"
_WORD = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+"
_SECRET_WORDS = frozenset({"key", "apikey", "token", "tokens", "secret", "secrets", "password", "passwd", "credential"})


def redact(text: str) -> str:
    """`text` with everything that looks like a key, token or password masked.

    Cut a text after this, not before: half a key has no shape to be known by.
    """
    text = re.sub(_SHAPES, MASK, text)
    text = re.sub(_HEADER, rf"\1{MASK}", text)
    text = re.sub(_BEARER, rf"\1{MASK}", text)
    text = re.sub(_LOGIN_IN_URL, rf"\1{MASK}@", text)
    return re.sub(_ASSIGNED, _without_value, text)


def _without_value(match: re.Match[str]) -> str:
    before = re.search(_NAME_BEGINS, match.string[max(0, match.start() - 64) : match.start()])
    name = f"{before[1] if before else ''}{match['rest']}"
    counted = name.lower().endswith("tokens") and re.fullmatch(r"\d{1,12}", match["value"].strip(",;}])\"'"))
    prose = name.lower() == "key" and "=" not in match["sign"]
    if counted or prose or not _is_secret(name):
        return match[0]
    return f"{match['rest']}{match['sign']}{MASK}"


def _is_secret(name: str) -> bool:
    """Whether a variable or field of this name holds a secret: in capitals any such stem tells, else a whole word."""
    if name.isupper():
        return any(stem in name for stem in ("KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL"))
    return any(word.lower() in _SECRET_WORDS for word in re.findall(_WORD, name))
