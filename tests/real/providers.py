"""Each real CLI as the tests ask it through Dragoman: set up in a home that is nobody's, talking to the fake API."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio

from dragoman.config import Configuration
from dragoman.engine import Engine
from tests.real.environments import claude_env, codex_env, gemini_env, llm_env


@dataclass(frozen=True)
class Real:
    """A provider whose real CLI is installed."""

    name: str
    home: Path
    environment: Callable[[str], Mapping[str, str]]
    """The environment in which it talks to the API at this address."""

    def engine(self, url: str) -> Engine:
        """An engine that has this environment and tries once."""
        project = self.home / "project"
        project.mkdir(exist_ok=True)
        # What is judged is how one attempt ends; trying again is judged elsewhere, and in virtual time.
        configuration = Configuration.model_validate({"retry": {"max_attempts": 1}, "providers": self.providers})
        return Engine(configuration, environ=self.environment(url), folder=project)

    @property
    def providers(self) -> Mapping[str, object]:
        """Its section of the configuration: the clock of the start is none for a machine that is slow."""
        return {self.name: {"timeouts": {"spawn": 60}}}

    @property
    def project(self) -> Path:
        """The engine's only workspace."""
        return self.home / "project"


def real(name: str, home: Path, program: Path) -> Real:
    """The provider of this name, logged in as a person with a subscription or a stored key would be."""
    environments: dict[str, Callable[[str], Mapping[str, str]]] = {
        "claude": lambda url: claude_env(home, url, program, subscription=True),
        "codex": lambda url: codex_env(home, url, program),
        "gemini": lambda url: gemini_env(home, url, program),
        "llm": lambda url: llm_env(home, url, program),
    }
    return Real(name, home, environments[name])


async def all_gone(home: Path) -> None:
    """Wait until no process with this home is left."""
    with anyio.fail_after(60):
        while processes_of(home):  # noqa: ASYNC110 - the end of a process that is not ours sends no event
            await anyio.sleep(0.02)


def processes_of(home: Path) -> list[int]:
    """The processes whose environment names this home."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"HOME={home}\0".encode() in environment:
                found.append(int(entry.name))
    return found
