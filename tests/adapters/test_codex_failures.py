"""How codex's failures and its own retries are told."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from dragoman.adapters.base import (
    Act,
    Completed,
    Done,
    Exit,
    Failed,
    Stream,
)
from dragoman.adapters.codex.errors import error_code, error_info
from dragoman.schemas import ErrorCode, Retrying, Text
from tests.adapters.codex_server import (
    COMPLETED,
    MESSAGE,
    begun,
    events,
    failed,
    note,
    outcome,
    say,
    sent,
)


@pytest.mark.parametrize(
    ("info", "words", "code"),
    [
        ({"httpConnectionFailed": {"httpStatusCode": 401}}, "", ErrorCode.AUTH),
        ({"httpConnectionFailed": {"httpStatusCode": 403}}, "", ErrorCode.AUTH),
        ({"responseTooManyFailedAttempts": {"httpStatusCode": 429}}, "", ErrorCode.RATE_LIMITED),
        ("rateLimitExceeded", "", ErrorCode.RATE_LIMITED),
        ("usageLimitExceeded", "try again at 3:42 AM", ErrorCode.QUOTA),
        ("internalServerError", "", ErrorCode.OVERLOADED),
        ("serverOverloaded", "", ErrorCode.OVERLOADED),
        ("modelNotFound", "", ErrorCode.BAD_REQUEST),
        ("contextWindowExceeded", "", ErrorCode.CONTEXT_LENGTH),
        ("cyberPolicy", "", ErrorCode.REFUSED),
        (
            {"responseStreamDisconnected": {"httpStatusCode": None}},
            "currently experiencing high demand",
            ErrorCode.OVERLOADED,
        ),
        (
            {"responseStreamDisconnected": {"httpStatusCode": None}},
            "Connection refused (os error 111)",
            ErrorCode.NETWORK,
        ),
        ({"responseStreamDisconnected": {"httpStatusCode": None}}, "what is this", ErrorCode.NETWORK),
        ("other", "Incomplete response returned, reason: max_output_tokens", ErrorCode.OUTPUT_LIMIT),
        ("other", "stream disconnected before completion: x", ErrorCode.NETWORK),
        ("aNewName", "nobody knows", ErrorCode.INTERNAL),
        (None, "", ErrorCode.INTERNAL),
    ],
)
def test_each_failure_gets_its_code(info: object, words: str, code: ErrorCode) -> None:
    assert error_code(info, words) is code
    error = {"message": words, "codexErrorInfo": info, "additionalDetails": None}
    assert failed(say(begun(), note("error", error=error, willRetry=False))) is code
    assert failed(say(begun(), note("turn/completed", turn={"status": "failed", "error": error}))) is code


def retry(number: int, status: int | None, cause: str) -> dict[str, Any]:
    info = {"responseStreamDisconnected": {"httpStatusCode": status}}
    error = {"message": f"Reconnecting... {number}/5", "codexErrorInfo": info, "additionalDetails": cause}
    return note("error", error=error, willRetry=True)


def broken_off(acts: Iterable[Act]) -> int:
    """How many retries were sat through before the turn was given up, and codex told so."""
    acts = list(acts)
    (stop,) = sent(acts)
    assert stop["method"] == "turn/interrupt"
    assert stop["params"] == {"threadId": "th-t", "turnId": "tu-t"}
    return len([event for event in events(acts) if isinstance(event, Retrying)])


REFUSED = "stream disconnected before completion: Connection refused (os error 111)"
BUSY = "We're currently experiencing high demand, which may cause temporary errors."


@pytest.mark.parametrize("first", [1, 2], ids=["over HTTPS", "over a WebSocket"])
@pytest.mark.parametrize(
    ("status", "cause", "code", "sat_through"),
    [
        (401, "unexpected status 401 Unauthorized: x, url: ws", ErrorCode.AUTH, 0),
        (429, "exceeded retry limit, last status: 429 Too Many Requests", ErrorCode.RATE_LIMITED, 0),
        (None, REFUSED, ErrorCode.NETWORK, 1),
        (None, "stream disconnected before completion: failed to lookup address", ErrorCode.NETWORK, 1),
    ],
)
def test_what_another_try_cannot_cure_is_told_at_once(
    first: int, status: int | None, cause: str, code: ErrorCode, sat_through: int
) -> None:
    acts = say(begun(), *(retry(number, status, cause) for number in range(first, first + sat_through + 1)))
    assert failed(acts) is code
    assert broken_off(acts) == sat_through


@pytest.mark.parametrize(
    ("status", "cause", "code"),
    [
        (None, BUSY, ErrorCode.OVERLOADED),
        (502, "unexpected status 502 Bad Gateway: x, url: http://h/v1/responses", ErrorCode.OVERLOADED),
        (403, "unexpected status 403 Forbidden: x, url: http://h/v1/responses", ErrorCode.AUTH),
        (None, "Connection failed: error sending request", ErrorCode.NETWORK),
    ],
)
def test_over_https_a_failed_request_is_told_at_its_first_retry(
    status: int | None, cause: str, code: ErrorCode
) -> None:
    acts = say(begun(), retry(1, status, cause))
    assert failed(acts) is code
    assert broken_off(acts) == 0


@pytest.mark.parametrize("status", [403, 404, 407, 500, 502, 503, None])
def test_a_blocked_websocket_is_sat_through_and_what_https_says_counts(status: int | None) -> None:
    cause = f"unexpected status {status} Blocked, url: ws://h/v1/responses" if status else BUSY
    warning = note("warning", message=f"Falling back from WebSockets to HTTPS transport. {cause}")
    dialogue = begun()
    waiting = say(dialogue, *(retry(number, status, cause) for number in range(2, 6)), warning)
    assert not [act for act in waiting if isinstance(act, Done)]
    answered = say(dialogue, note("item/completed", item=MESSAGE), COMPLETED)
    assert isinstance(outcome(answered), Completed)
    other = begun()
    assert (
        broken_off([*say(other, *(retry(n, status, cause) for n in range(2, 6)), warning, retry(1, None, BUSY))]) == 4
    )


def test_a_message_that_breaks_off_begins_anew_in_its_own_paragraph() -> None:
    broken = retry(1, None, "stream disconnected before completion: stream closed before response.completed")
    piece = note("item/agentMessage/delta", itemId="m1", delta="The cap")
    acts = say(begun(), piece, broken, piece, note("item/completed", item=MESSAGE), COMPLETED)
    assert [event.text for event in events(acts) if isinstance(event, Text)] == ["The cap", "\n\nThe cap"]
    end = outcome(acts)
    assert isinstance(end, Completed)
    assert end.text == "The capital is Paris."


def test_the_body_of_a_refused_request_is_told_by_its_message() -> None:
    body = json.dumps({"error": {"message": "the request is not valid", "code": None}})
    assert error_code("other", body) is ErrorCode.BAD_REQUEST
    assert error_info(ErrorCode.BAD_REQUEST, body).message == "the request is not valid"


def test_an_end_in_mid_turn_says_why_and_an_empty_turn_is_no_answer() -> None:
    dialogue = begun()
    noise = b"\x1b[2m2026-11-21T06:23:11Z\x1b[0m \x1b[31mERROR\x1b[0m codex_app_server: no bubblewrap on PATH"
    list(dialogue.receive(Stream.STDERR, [b"\x1b[31mError\x1b[0m: no space left", noise]))
    end = outcome(dialogue.closed(Exit(1)))
    assert isinstance(end, Failed)
    assert end.error.code is ErrorCode.CRASHED
    assert end.error.message == "codex ended in mid-turn (exit 1): Error: no space left"
    blank = note("item/completed", item={**MESSAGE, "text": " "})
    for nothing in ([COMPLETED], [blank, COMPLETED]):
        assert failed(say(begun(), *nothing)) is ErrorCode.MALFORMED_OUTPUT
