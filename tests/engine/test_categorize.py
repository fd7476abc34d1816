"""What a failure is called: facts first, words last, and always something."""

import json
import signal
import socket
import subprocess
import urllib.error
from email.message import Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import dragoman
from dragoman import ErrorCategory, ErrorCode, ErrorInfo, LLMError, categorize_error
from dragoman.adapters.classify import code_from_status, code_from_text
from dragoman.schemas import RULES, error_from


class StatusError(Exception):
    def __init__(self, status: int, words: str = "no") -> None:
        super().__init__(words)
        self.status_code = status


class UnshowableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError

    @property
    def response(self) -> object:
        raise RuntimeError


def validation_error() -> ValidationError:
    class Answer(BaseModel):
        city: str

    with pytest.raises(ValidationError) as caught:
        Answer.model_validate({})
    return caught.value


def json_error() -> json.JSONDecodeError:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    return caught.value


FAILED = subprocess.CalledProcessError


@pytest.mark.parametrize(
    ("exception", "said", "category"),
    [
        (subprocess.TimeoutExpired("claude", 30), {}, "timeout"),
        (TimeoutError(), {"stderr": "rate limit"}, "timeout"),
        (RuntimeError("CLI returned 1"), {"stderr": "API rate limit exceeded"}, "rate_limit"),
        (RuntimeError("CLI returned 1"), {"stderr": "429 Too Many Requests"}, "rate_limit"),
        (RuntimeError("CLI returned 1"), {"stderr": "Authentication required"}, "auth"),
        (RuntimeError("CLI returned 1"), {"stderr": "open: Permission denied"}, "auth"),
        (RuntimeError("Connection closed"), {}, "retryable"),
        (RuntimeError("network is unreachable"), {}, "retryable"),
        (RuntimeError("timeout of 3 s"), {}, "timeout"),
        (RuntimeError("the request timed out: 503"), {}, "retryable"),
        (ConnectionResetError(), {}, "retryable"),
        (socket.gaierror(-2, "Name or service not known"), {}, "retryable"),
        (json_error(), {}, "malformed"),
        (validation_error(), {}, "malformed"),
        (FileNotFoundError("claude"), {}, "permanent"),
        (StatusError(401), {}, "auth"),
        (StatusError(429), {"stderr": "you exceeded your quota"}, "rate_limit"),
        (StatusError(529), {}, "retryable"),
        (urllib.error.HTTPError("http://h", 503, "no", Message(), None), {}, "retryable"),
        (RuntimeError("no"), {"status": 401, "stderr": "rate limit"}, "auth"),
        (RuntimeError("no"), {"status": 200, "stderr": "rate limit"}, "rate_limit"),
        (FAILED(1, "llm", stderr=b"Error code: 429 - slow down"), {}, "rate_limit"),
        (FAILED(1, "llm", output="Not logged in"), {}, "auth"),
        (FAILED(-signal.SIGSEGV, "llm", stderr="rate limit"), {}, "permanent"),
        (FAILED(127, "llm", stderr="rate limit: not found"), {}, "permanent"),
        (RuntimeError("no"), {"stdout": "how to deal with a rate limit"}, "permanent"),
        (ValueError("what is this"), {}, "permanent"),
        (KeyboardInterrupt(), {}, "permanent"),
        (UnshowableError(), {}, "permanent"),
        (LLMError("no", ErrorCategory.UNKNOWN), {"stderr": "rate limit"}, "unknown"),
    ],
)
def test_each_kind_of_failure_gets_its_category(exception: BaseException, said: dict[str, Any], category: str) -> None:
    found, message = categorize_error(exception, **said)
    assert found == category
    assert message.startswith(f"{category}: ")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("You've hit your session limit · resets 3:42am", ErrorCode.QUOTA),
        ("5-hour limit reached ∙ resets 3pm", ErrorCode.QUOTA),
        ("weekly limit reached", ErrorCode.QUOTA),
        ('{"error":{"code":"insufficient_quota"}}', ErrorCode.QUOTA),
        ("402 Payment Required", ErrorCode.QUOTA),
        ("Insufficient funds", ErrorCode.QUOTA),
        ("You've hit your rate limit", ErrorCode.RATE_LIMITED),
        ("Rate limit reached for gpt-x", ErrorCode.RATE_LIMITED),
        ("Too many concurrent requests", ErrorCode.RATE_LIMITED),
        ("RESOURCE_EXHAUSTED", ErrorCode.RATE_LIMITED),
        ("(429)", ErrorCode.RATE_LIMITED),
        ('{"code":429}', ErrorCode.RATE_LIMITED),
        ("OAuth token has expired. Please obtain a new one.", ErrorCode.AUTH),
        ("Please run /login", ErrorCode.AUTH),
        ("This organization has been disabled.", ErrorCode.AUTH),
        ("407 Proxy Authentication Required", ErrorCode.NETWORK),
        ("unable to verify the first certificate", ErrorCode.NETWORK),
        ("getaddrinfo EAI_AGAIN api.example.com", ErrorCode.NETWORK),
        ("write EPIPE", ErrorCode.NETWORK),
        ("502 Bad Gateway", ErrorCode.OVERLOADED),
        ("Service Unavailable", ErrorCode.OVERLOADED),
        ("API Error: 500.", ErrorCode.OVERLOADED),
        ("input is too long for requested model", ErrorCode.CONTEXT_LENGTH),
        ("your message violates our usage policies", ErrorCode.REFUSED),
        ("model_not_found", ErrorCode.BAD_REQUEST),
        # What only looks like it.
        *(
            (words, ErrorCode.INTERNAL)
            for words in (
                *("could not parse catalog information", "dialog input was closed", "unterminated quotation mark"),
                *("disk quota exceeded", "SyntaxError at line 503", "cli.js:503:17", "out of memory at 512 MB"),
                *("listening on 127.0.0.1:5029, 127.0.0.1:503", "port 429", "took 500 ms", "version 4.04", "1,500,429"),
                *("goodness", "kindns", "req_503ab", "a503"),
            )
        ),
    ],
)
def test_words_are_told_from_those_that_only_look_like_them(words: str, code: ErrorCode) -> None:
    assert code_from_text(words, ErrorCode.INTERNAL) is code


@pytest.mark.parametrize("code", list(ErrorCode))
def test_a_failure_of_ours_keeps_the_category_of_its_code(code: ErrorCode) -> None:
    error = error_from(ErrorInfo.of(code, "why"))
    assert categorize_error(error, "rate limit") == (RULES[code].category, f"{RULES[code].category.value}: why")


def test_the_message_is_one_short_line_without_secrets_and_colours() -> None:
    words = f"\x1b[31mbad key\x1b[0m sk-ant-{'x' * 40}\n{'y' * 9000}"
    _, message = categorize_error(RuntimeError("no"), words)
    assert "sk-ant" not in message
    assert "\x1b" not in message
    assert "\n" not in message
    assert len(message) < 600


@given(st.text(), st.text(), st.text(), st.none() | st.integers(), st.none() | st.integers())
def test_there_is_a_category_for_everything(
    raised: str, stderr: str, stdout: str, exit_code: int | None, status: int | None
) -> None:
    category, message = categorize_error(Exception(raised), stderr, stdout, exit_code=exit_code, status=status)
    assert isinstance(category, ErrorCategory)
    assert message


@given(st.integers(), st.text())
def test_every_status_and_every_text_has_a_code(status: int, words: str) -> None:
    assert code_from_status(status, words) in RULES
    assert code_from_text(words, ErrorCode.INTERNAL) in RULES


def test_it_is_a_name_of_the_package() -> None:
    assert "categorize_error" in dragoman.__all__
