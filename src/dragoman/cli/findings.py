"""What ``dragoman doctor`` looks at."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import anyio

from dragoman.config import Configuration, Loaded, state_folder, user_config_file
from dragoman.engine import Engine
from dragoman.engine.attempt.environment import build_environment
from dragoman.local.machine import missing_features
from dragoman.local.weights import FETCH_COMMAND, find_weights, weights_folder
from dragoman.schemas import LLMRequest, LLMResponse, ProviderStatus, TimeoutOverrides

QUESTION = "Answer with the word ready."
CALL_S = 60.0
PACKAGES = ("dragoman", "mcp", "pydantic", "anyio", "loguru", "typer", "rich", "llm", "xllamacpp")

Facts = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Findings:
    """All that was found."""

    providers: Sequence[ProviderStatus]
    held_back: Mapping[str, Sequence[str]]
    """By provider: the names of keys that are set and kept from it."""
    replies: Mapping[str, LLMResponse]
    """By provider: what came of asking it; empty unless they were asked."""
    local: Facts
    configuration: Facts
    state: Facts
    versions: Facts

    @property
    def can_answer(self) -> bool:
        """Whether a provider is ready and, if it was asked, did answer."""
        ready = [status.name for status in self.providers if status.state == "ready"]
        return any(name not in self.replies or self.replies[name].error is None for name in ready)


async def examine(loaded: Loaded, *, deep: bool) -> Findings:
    """Look at everything. Every CLI is run for its version and login; `deep` asks those that are ready a question."""
    async with Engine(loaded.configuration) as engine:
        providers = await engine.providers.statuses(deep=True)
        ready = [status.name for status in providers if status.state == "ready"]
        replies = await _ask(engine, ready if deep else ())
    return Findings(
        providers=providers,
        held_back=_held_back(engine, loaded.configuration),
        replies=replies,
        local=_local(),
        configuration=_configuration(loaded, engine),
        state=_state(),
        versions=_versions(),
    )


async def _ask(engine: Engine, names: Iterable[str]) -> Mapping[str, LLMResponse]:
    replies: dict[str, LLMResponse] = {}

    async def ask(name: str) -> None:
        # Nobody goes on with it.
        request = LLMRequest(prompt=QUESTION, provider=name, remember=False, timeouts=TimeoutOverrides(call=CALL_S))
        async with engine.asking(request, face="cli", insists=True) as call:
            replies[name] = await call.outcome()

    async with anyio.create_task_group() as asking:
        for name in names:
            asking.start_soon(ask, name)
    return {name: replies[name] for name in names}


def _held_back(engine: Engine, configuration: Configuration) -> Mapping[str, Sequence[str]]:
    kept = {
        name: build_environment(adapter.profile, configuration.provider(name), os.environ).held_back
        for name, adapter in engine.providers.adapters.items()
    }
    return {name: keys for name, keys in kept.items() if keys}


def _local() -> Facts:
    lacking = missing_features()
    weights = find_weights(weights_folder())
    return {
        "engine": _version("xllamacpp") or "not installed: pip install 'dragoman[local]'",
        "processor": f"lacks {', '.join(sorted(lacking))}" if lacking else "ok",
        "weights": str(weights) if weights else f"not here yet; the first ask fetches them, or: {FETCH_COMMAND}",
    }


def _configuration(loaded: Loaded, engine: Engine) -> Facts:
    own = user_config_file()
    changed = sum(setting.source != "default" for setting in loaded.settings())
    return {
        "your file": str(own) if own.exists() else f"{own} (not there, none is needed)",
        "read, later wins": [str(path) for path in loaded.files] or "none",
        "values set": f"{changed}; `dragoman config show` tells where each comes from",
        "ignored": [*loaded.warnings, *_naming_nobody(loaded.configuration, engine)] or "nothing",
    }


def _naming_nobody(configuration: Configuration, engine: Engine) -> Iterator[str]:
    """Names of providers that no adapter has. They may be of one that is not installed now, so they are no fault."""
    named = {"order": configuration.order, "[providers]": configuration.providers}
    named |= {f"fallback of {name}": settings.fallback for name, settings in configuration.providers.items()}
    for place, names in named.items():
        for name in names:
            if name not in engine.providers.adapters:
                unknown = engine.providers.unknown(name).info
                yield f"{place}: {unknown.message}; {unknown.next_step}"


def _state() -> Facts:
    try:
        folder = state_folder()
    except OSError as error:
        return {"folder": f"cannot be made: {error}"}
    return {"folder": str(folder), "writable": "yes" if _is_writable(folder) else "no: calls cannot be recorded"}


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _versions() -> Facts:
    python = {"python": f"{sys.version.split()[0]} ({sys.executable})", "sqlite": sqlite3.sqlite_version}
    return python | {name: _version(name) or "not installed" for name in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
