"""Figures by provider. Latencies are those of completed calls; cancelled calls are no failures."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from dragoman.store.errors import explain

if TYPE_CHECKING:
    import sqlite3


class ProviderStats(BaseModel):
    """One provider's calls. Times in seconds; None: no completed call to take it from, or no provider told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str
    """``""`` for calls that ended before a provider was chosen."""
    calls: int
    completed: int
    cancelled: int
    interrupted: int
    running: int
    failed: int
    failures: dict[str, int]
    """Failed calls by code, the most frequent first."""
    latency_p50_s: float | None
    latency_p95_s: float | None
    first_output_p50_s: float | None
    first_output_p95_s: float | None
    input_tokens: int | None
    cached_input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


_BY_STATUS = """
    SELECT provider, count(*), {counts}, sum(input_tokens), sum(cached_input_tokens),
        sum(output_tokens), sum(cost_usd)
    FROM calls LEFT JOIN usage ON usage.call_id = calls.id WHERE started_at >= :since GROUP BY 1 ORDER BY 1
"""
_STATUSES = ("completed", "cancelled", "interrupted", "running", "failed")
_FIGURES = ("provider", "calls", *_STATUSES, "input_tokens", "cached_input_tokens", "output_tokens", "cost_usd")
_FAILURES = """
    SELECT coalesce(code, 'internal'), count(*) FROM calls
    WHERE provider IS :provider AND started_at >= :since AND status = 'failed'
    GROUP BY 1 ORDER BY 2 DESC, 1
"""
_MEASURED = """
    FROM calls WHERE provider IS :provider AND started_at >= :since AND status = 'completed'
    AND {column} IS NOT NULL
"""


def read_stats(path: Path, since: float | None) -> list[ProviderStats]:
    """Read the figures; blocks. See `Store.stats`."""
    import sqlite3

    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            # One transaction: all figures are of the same moment.
            db.execute("BEGIN")
            return _read(db, since or 0.0)
    except sqlite3.Error as error:
        raise explain(path, error) from error


def _read(db: sqlite3.Connection, since: float) -> list[ProviderStats]:
    counts = ", ".join(f"sum(status = '{status}')" for status in _STATUSES)
    found: list[ProviderStats] = []
    for row in db.execute(_BY_STATUS.format(counts=counts), {"since": since}).fetchall():
        figures: dict[str, Any] = dict(zip(_FIGURES, row, strict=True))
        of: dict[str, object] = {"provider": figures["provider"], "since": since}
        figures["provider"] = figures["provider"] or ""
        found.append(
            ProviderStats(
                **figures,
                failures=dict(db.execute(_FAILURES, of).fetchall()),
                latency_p50_s=_percentile(db, "duration_s", 50, of),
                latency_p95_s=_percentile(db, "duration_s", 95, of),
                first_output_p50_s=_percentile(db, "first_output_s", 50, of),
                first_output_p95_s=_percentile(db, "first_output_s", 95, of),
            )
        )
    return found


def _percentile(db: sqlite3.Connection, column: str, percent: int, of: dict[str, object]) -> float | None:
    """The nearest rank: the smallest value that at least `percent` of all do not exceed."""
    measured = _MEASURED.format(column=column)
    count: int = db.execute(f"SELECT count(*) {measured}", of).fetchone()[0]
    if count == 0:
        return None
    rank = -(-count * percent // 100)
    query = f"SELECT {column} {measured} ORDER BY {column} LIMIT 1 OFFSET :skip"
    value: float = db.execute(query, {**of, "skip": rank - 1}).fetchone()[0]
    return value
