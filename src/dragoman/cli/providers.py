"""``dragoman providers``."""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.cli import output
from dragoman.cli.common import Common
from dragoman.cli.exits import OK
from dragoman.cli.guard import run
from dragoman.engine import Engine
from dragoman.schemas import ProviderStatus


def providers(common: Common, *, as_json: bool, deep: bool) -> int:
    """Every provider, in the order of choice."""
    loaded = common.load()
    common.warn(loaded)

    async def ask() -> int:
        async with Engine(loaded.configuration) as engine:
            statuses = await engine.providers.statuses(deep=deep)
        if as_json:
            output.say_json([as_data(status) for status in statuses])
        else:
            say_providers(statuses)
        return OK

    return run(ask)


def as_data(status: ProviderStatus) -> dict[str, object]:
    """A status for JSON; what is not known is left out."""
    return status.model_dump(mode="json", exclude_none=True)


def _login(status: ProviderStatus) -> str:
    if status.path is None:
        return ""
    if not status.needs_login:
        return "needs none"
    return {True: "yes", False: "no", None: "not known"}[status.logged_in]


def say_providers(statuses: Sequence[ProviderStatus]) -> None:
    """A row for each provider."""
    rows = [
        (
            status.name,
            status.state,
            status.version or "",
            _login(status),
            str(status.path or ""),
            "; ".join(filter(None, (status.reason, status.next_step))),
        )
        for status in statuses
    ]
    output.say_table(("name", "state", "version", "login", "path", "next step"), rows)
