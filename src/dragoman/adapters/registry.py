"""Finding adapters: ours and other distributions' come through the same entry points."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

from dragoman.adapters.base import Adapter

GROUP = "dragoman.adapters"


@cache
def load_adapters() -> tuple[Mapping[str, Adapter], Mapping[str, str]]:
    """Every adapter by provider name, in the default order, and what went wrong with those that did not load.

    A broken third-party adapter must not take the working ones with it, so it is reported and left out.
    """
    adapters: dict[str, Adapter] = {}
    broken: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        try:
            adapter = point.load()
        except Exception as error:  # noqa: BLE001 - whatever a stranger's module raises
            broken[point.name] = f"{point.value} did not load: {error!r}"
            continue
        if not isinstance(adapter, Adapter):
            broken[point.name] = f"{point.value} is not an adapter: it lacks plan, dialogue, logged_in or profile"
        else:
            adapters[point.name] = adapter
    ordered = sorted(adapters, key=lambda name: (adapters[name].profile.order, name))
    return {name: adapters[name] for name in ordered}, broken
