"""Every failure tells a person what to do next."""

import pytest

from dragoman.engine.advice import ADVICE, advised
from dragoman.schemas import ErrorCode, ErrorInfo


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_has_a_next_step_and_a_more_precise_one_is_kept(code: ErrorCode) -> None:
    assert advised(ErrorInfo.of(code, "x")).next_step == ADVICE[code]
    assert advised(ErrorInfo.of(code, "x", next_step="mine")).next_step == "mine"
