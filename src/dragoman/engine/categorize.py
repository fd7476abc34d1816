"""What a failure of any LLM program is called, for code that runs one by itself. Calls through Dragoman need it not:
their replies have an `ErrorInfo`, made by the adapter that knows the program.

Facts come first: the exception's type, an HTTP status, a signal; words last, of stderr before those of stdout.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
from collections.abc import Mapping

from pydantic import ValidationError

from dragoman.adapters.classify import code_from_status, code_from_text
from dragoman.log import redact
from dragoman.schemas import RULES, ErrorCategory, ErrorCode, LLMError
from dragoman.schemas.text import plain

MESSAGE_CHARS = 500
_TIMED_OUT = re.compile(r"time[d-]? ?out", re.IGNORECASE)
_CONNECTION = re.compile(r"connection", re.IGNORECASE)
_DENIED = re.compile(r"(permission|access) denied", re.IGNORECASE)
_CANNOT_RUN = frozenset({126, 127})
"""A shell's exit codes for a program that cannot be started and one that is not there."""

# In this order: a `JSONDecodeError` is a `ValueError`, a `TimeoutError` an `OSError`.
_BY_TYPE: Mapping[type[BaseException], ErrorCode] = {
    subprocess.TimeoutExpired: ErrorCode.TIMEOUT,
    TimeoutError: ErrorCode.TIMEOUT,
    json.JSONDecodeError: ErrorCode.MALFORMED_OUTPUT,
    UnicodeDecodeError: ErrorCode.MALFORMED_OUTPUT,
    ValidationError: ErrorCode.SCHEMA_MISMATCH,
    ConnectionError: ErrorCode.NETWORK,
    socket.gaierror: ErrorCode.NETWORK,
    ssl.SSLError: ErrorCode.NETWORK,
    FileNotFoundError: ErrorCode.NOT_FOUND,
    PermissionError: ErrorCode.NOT_FOUND,
    KeyboardInterrupt: ErrorCode.CANCELLED,
}


def categorize_error(
    exception: BaseException,
    stderr: str = "",
    stdout: str = "",
    *,
    exit_code: int | None = None,
    status: int | None = None,
) -> tuple[ErrorCategory, str]:
    """The category of a failure, and what happened, in one line without secrets. Never raises.

    Args:
        exception: what was raised. Of an `LLMError` its own category is taken; of a ``CalledProcessError`` and its
            like also the exit code and what the program wrote.
        stderr: what the program wrote there.
        stdout: the same; looked at last, since an answer may speak of errors.
        exit_code: how the program ended; minus the number of a signal.
        status: the HTTP status of the model's API.
    """
    if isinstance(exception, LLMError):
        return exception.category, _line(exception.category, exception.message)
    stderr = stderr or _text(exception, "stderr")
    stdout = stdout or _text(exception, "stdout")
    exit_code = _number(exception, "returncode") if exit_code is None else exit_code
    status = _status(exception) if status is None else status
    category = RULES[_code(exception, stderr, stdout, exit_code, status)].category
    said = next((words for words in (stderr, _said(exception), stdout) if words.strip()), type(exception).__name__)
    return category, _line(category, said)


def _code(exception: BaseException, stderr: str, stdout: str, exit_code: int | None, status: int | None) -> ErrorCode:
    by_type = next((code for kind, code in _BY_TYPE.items() if isinstance(exception, kind)), None)
    if by_type is not None:
        return by_type
    raised = _said(exception)
    if status is not None and status >= 400:
        return code_from_status(status, f"{stderr}\n{raised}")
    if exit_code in _CANNOT_RUN:
        return ErrorCode.NOT_FOUND
    if exit_code is not None and exit_code < 0:
        return ErrorCode.CRASHED
    if _DENIED.search(stderr):
        return ErrorCode.AUTH
    for words in (stderr, raised, stdout if exit_code else ""):
        # What timed out may still be told by the other words.
        unknown = ErrorCode.TIMEOUT if _TIMED_OUT.search(words) else ErrorCode.INTERNAL
        if (code := code_from_text(_TIMED_OUT.sub("", words), unknown)) is not ErrorCode.INTERNAL:
            return code
    if _CONNECTION.search(raised):
        return ErrorCode.NETWORK
    # Asking again helps against nothing that is known.
    return ErrorCode.CRASHED if exit_code else ErrorCode.BAD_REQUEST


def _said(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception:  # noqa: BLE001 - a stranger's exception that cannot even be shown
        return type(exception).__name__


def _status(exception: BaseException) -> int | None:
    """The HTTP status that clients of all kinds keep in their exceptions."""
    for owner in (exception, _attribute(exception, "response")):
        for name in ("status_code", "status", "code"):
            number = _number(owner, name)
            if number is not None and 100 <= number < 600:
                return number
    return None


def _number(owner: object, name: str) -> int | None:
    value = _attribute(owner, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _attribute(owner: object, name: str) -> object:
    try:
        return getattr(owner, name, None)
    except Exception:  # noqa: BLE001 - such as a property that needs a response which never came
        return None


def _text(owner: object, name: str) -> str:
    value = _attribute(owner, name)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def _line(category: ErrorCategory, said: str) -> str:
    # Redacted before it is cut: half a key has no recognisable shape.
    words = " ".join(redact(plain(said)).split())
    return f"{category.value}: {words[:MESSAGE_CHARS]}{'…' if len(words) > MESSAGE_CHARS else ''}"
