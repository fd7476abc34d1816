"""``dragoman stats``."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from dragoman.cli import output
from dragoman.cli.common import Common
from dragoman.cli.exits import OK, USAGE
from dragoman.cli.guard import run
from dragoman.engine.record import store_file
from dragoman.store import ProviderStats, open_store

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
HEADERS = (
    *("provider", "calls", "completed", "failed", "cancelled", "p50 s", "p95 s", "first p50 s", "first p95 s"),
    *("tokens in", "cached", "tokens out", "cost USD"),
)


def stats(common: Common, *, as_json: bool, since: str | None) -> int:
    """Figures by provider, of the calls that were kept."""
    common.warn(common.load())
    age_s = None if since is None else seconds(since)
    if since is not None and age_s is None:
        output.complain(f"--since: {since!r} is no age; write a number and a unit, such as 90m, 12h or 7d")
        return USAGE

    file = store_file()
    is_there = file.exists()

    async def tell() -> int:
        found = await _read(file, age_s) if is_there else []
        if as_json:
            output.say_json([figures.model_dump(mode="json") for figures in found])
        elif found:
            output.say_table(HEADERS, [_row(figures) for figures in found])
        else:
            output.remark("no calls yet" if since is None else f"no calls in the last {since}")
        return OK

    return run(tell)


def seconds(age: str) -> float | None:
    """An age such as ``7d`` in seconds; None when it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", age.strip())
    return float(match[1]) * UNITS_S[match[2]] if match else None


async def _read(file: Path, age_s: float | None) -> list[ProviderStats]:
    async with open_store(file) as store:
        return await store.stats(None if age_s is None else time.time() - age_s)


def _row(figures: ProviderStats) -> Sequence[str]:
    codes = ", ".join(f"{count} {code}" for code, count in figures.failures.items())
    return (
        figures.provider or "(none chosen)",
        str(figures.calls),
        str(figures.completed),
        f"{figures.failed} ({codes})" if codes else str(figures.failed),
        str(figures.cancelled),
        *map(
            _spelled,
            (
                *(figures.latency_p50_s, figures.latency_p95_s),
                *(figures.first_output_p50_s, figures.first_output_p95_s),
                *(figures.input_tokens, figures.cached_input_tokens, figures.output_tokens, figures.cost_usd),
            ),
        ),
    )


def _spelled(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.3f}"
