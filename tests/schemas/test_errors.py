"""The closed list of failures: every row as the contract has it."""

import math
import pickle

import pytest

from dragoman.schemas import (
    RULES,
    ErrorCategory,
    ErrorCode,
    ErrorInfo,
    LLMError,
    LLMResponse,
    RateLimitError,
    error_from,
)

TABLE = {
    "rate_limited": ("rate_limit", "yes", True),
    "quota": ("rate_limit", "yes", False),
    "overloaded": ("retryable", "yes", True),
    "network": ("retryable", "yes", True),
    "circuit_open": ("retryable", "no", True),
    "timeout": ("timeout", "yes", True),
    "malformed_output": ("malformed", "no", False),
    "schema_mismatch": ("malformed", "no", False),
    "auth": ("auth", "local", False),
    "not_found": ("permanent", "local", False),
    "bad_request": ("permanent", "no", False),
    "prompt_too_large": ("permanent", "no", False),
    "context_length": ("permanent", "no", False),
    "refused": ("permanent", "no", False),
    "policy": ("permanent", "no", False),
    "output_limit": ("permanent", "no", False),
    "crashed": ("permanent", "local", True),
    "cancelled": ("permanent", "no", False),
    "internal": ("unknown", "no", False),
}


def test_every_code_has_the_rule_of_the_contract() -> None:
    assert {code.value: (rule.category.value, rule.counts, rule.retryable) for code, rule in RULES.items()} == TABLE
    assert {code.value for code in ErrorCode} == TABLE.keys()


def test_there_are_seven_categories() -> None:
    assert {category.value for category in ErrorCategory} == {
        "retryable",
        "permanent",
        "rate_limit",
        "timeout",
        "malformed",
        "auth",
        "unknown",
    }


@pytest.mark.parametrize("code", list(ErrorCode))
def test_nothing_is_retryable_once_it_may_have_had_effects(code: ErrorCode) -> None:
    info = ErrorInfo.of(code, "x", effects="possible")
    assert not info.retryable
    assert info.with_effects("none").retryable is RULES[code].retryable


@pytest.mark.parametrize(("told", "meant"), [(0, 0), (40 * 86400.0, 40 * 86400.0), (1e10, None), (math.inf, None)])
def test_a_wait_that_nobody_can_mean_is_unknown(told: float, meant: float | None) -> None:
    assert ErrorInfo.of(ErrorCode.OVERLOADED, "x", retry_after_s=told).retry_after_s == meant


def test_an_error_can_be_made_the_short_way_with_a_category() -> None:
    cause = OSError("down")
    error = LLMError("no answer", ErrorCategory.TIMEOUT, cause, "tail")
    assert (error.code, error.is_retryable, error.stderr, error.original_error) == (
        ErrorCode.TIMEOUT,
        True,
        "tail",
        cause,
    )
    assert LLMError("what?").category is ErrorCategory.UNKNOWN


def test_an_exception_survives_pickling_with_its_facts() -> None:
    info = ErrorInfo.of(ErrorCode.RATE_LIMITED, "slow down", retry_after_s=3)
    error = error_from(info, LLMResponse(status="failed", text="part", error=info))
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert isinstance(copy, RateLimitError)
    assert (copy.retry_after, copy.info, copy.reply) == (3, info, error.reply)
