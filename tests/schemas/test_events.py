"""What a provider tells of a call is taken as it is, unless nobody can mean it."""

import math

import pytest

from dragoman.schemas import Usage
from dragoman.schemas.events import MOST_TOKENS

FIGURES = ("input_tokens", "cached_input_tokens", "output_tokens")


@pytest.mark.parametrize("count", [-1, MOST_TOKENS + 1, 2**63, 10**400])
def test_a_count_that_nobody_can_mean_is_unknown(count: int) -> None:
    for name in FIGURES:
        usage = Usage.model_validate({**dict.fromkeys(FIGURES, 3), name: count})
        assert usage.model_dump(include={*FIGURES}) == {**dict.fromkeys(FIGURES, 3), name: None}


@pytest.mark.parametrize("cost", [-0.01, 2.0**53, math.inf, math.nan])
def test_a_cost_that_nobody_can_mean_is_unknown(cost: float) -> None:
    assert Usage(output_tokens=3, cost_usd=cost) == Usage(output_tokens=3)


def test_every_other_figure_stays() -> None:
    usage = Usage(input_tokens=0, cached_input_tokens=MOST_TOKENS, output_tokens=3, cost_usd=0.5)
    assert (usage.input_tokens, usage.cached_input_tokens, usage.cost_usd) == (0, MOST_TOKENS, 0.5)
