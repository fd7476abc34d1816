"""The real programs of the failure table, each in a home of its own that talks to the fake model API."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.fakes.model_api import refused_url
from tests.real import toolchain
from tests.real.environments import (
    base_env,
    claude_env,
    codex_env,
    copilot_settings,
    gemini_env,
    llm_env,
)

WEIGHTS = Path(__file__).parents[3] / ".cache" / "weights"
"""Where the tests of the embedded model keep its weights, too."""

_COMPILED = Path(__file__).parents[3] / ".cache" / "compiled"

Environment = Callable[[Path, str, str | None], Mapping[str, str]]
"""From a home, the API's address and a key (None: not logged in) to the environment."""


Settings = Callable[[str, str | None], Mapping[str, Any]]
"""From the API's address and a key to what the configuration says of the provider."""


@dataclass(frozen=True)
class Cli:
    """One real program, or one way to talk with it."""

    name: str
    """How rows name it."""
    heading: str
    provider: str
    environment: Environment
    settings: Settings
    """Its section of the configuration."""
    model: str | None = None
    streams: bool = True
    """It tells its answer as it comes."""
    serves: bool = False
    """It stays when a turn has ended: how it exits then tells nothing."""

    @property
    def program(self) -> Callable[[], Path]:
        """Finds the program, or raises `UnavailableError`."""
        return _PROGRAMS[self.name]


def _nothing(_url: str, _key: str | None) -> Mapping[str, Any]:
    return {}


def _compiled(_url: str, _key: str | None) -> Mapping[str, Any]:
    # A good part of what a start of gemini costs is that Node compiles it.
    return {"env": {"NODE_COMPILE_CACHE": str(_COMPILED)}}


def _claude(home: Path, url: str, key: str | None) -> Mapping[str, str]:
    return claude_env(home, url, toolchain.claude(), key=key, subscription=True)


def _codex(home: Path, url: str, key: str | None) -> Mapping[str, str]:
    return codex_env(home, url, toolchain.codex(), key=key)


def _codex_exec(home: Path, url: str, key: str | None) -> Mapping[str, str]:
    return {**codex_env(home, url, toolchain.codex(), key=None), "CODEX_API_KEY": key or ""}


def _exec_settings(url: str, key: str | None) -> Mapping[str, Any]:
    # It is told to ignore the user's configuration, where the address stands otherwise.
    return {"credentials": "inherit", "command": ["codex", "-c", f"openai_base_url={url}/v1"]}


def _gemini(home: Path, url: str, key: str | None) -> Mapping[str, str]:
    return gemini_env(home, url, toolchain.gemini(), key=key)


def _old_gemini(home: Path, url: str, key: str | None) -> Mapping[str, str]:
    """The pinned gemini that says it is old: a really old one takes half a gigabyte and five seconds to start."""
    program = home / "old" / "gemini"
    program.parent.mkdir(exist_ok=True)
    pinned = toolchain.gemini()
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo 0.32.1 && exit\nexec {pinned} "$@"\n', "utf-8")
    program.chmod(0o755)
    return gemini_env(home, url, program, key=key)


def _acp_settings(url: str, key: str | None) -> Mapping[str, Any]:
    own = {
        "NODE_COMPILE_CACHE": str(_COMPILED),
        **({"GEMINI_API_KEY": key} if key else {}),
        "GOOGLE_GEMINI_BASE_URL": url,
        "GEMINI_CLI_NO_RELAUNCH": "true",
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
    }
    return {"command": ["gemini", "--acp"], "env": own}


def _acp(home: Path, url: str, key: str | None) -> Mapping[str, str]:
    environment = gemini_env(home, url, toolchain.gemini(), key=None)
    # As its own user would set it up: without this it tries for minutes, which no other agent's user can shorten.
    (home / ".gemini" / "settings.json").write_text(
        '{"security": {"auth": {"selectedType": "gemini-api-key"}}, "general": {"maxAttempts": 1}}', "utf-8"
    )
    return environment


def _copilot(home: Path, url: str, key: str | None) -> Mapping[str, str]:
    return base_env(home, toolchain.copilot())


def _copilot_settings(url: str, key: str | None) -> Mapping[str, Any]:
    return {"command": ["copilot", "--acp"], "env": copilot_settings(url, toolchain.copilot(), key=key)}


def _llm(home: Path, url: str, key: str | None) -> Mapping[str, str]:
    return llm_env(home, url, toolchain.llm(), key=key)


def _local(home: Path, url: str, key: str | None) -> Mapping[str, str]:
    # A package index that nobody listens on: whatever is fetched fails at once.
    offline = {"PIP_INDEX_URL": f"{refused_url()}/simple", "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
    return {**base_env(home), "DRAGOMAN_HOME": str(home / "state"), **offline}


def _local_with_weights(home: Path, url: str, key: str | None) -> Mapping[str, str]:
    needs = ("PIP_", "UV_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    settings = {name: value for name, value in os.environ.items() if name.startswith(needs)}
    # HOME is for the fetch alone: pip finds the user's index there.
    fetch = {"PATH": os.defpath, "HOME": str(Path.home()), "DRAGOMAN_HOME": str(WEIGHTS), **settings}
    subprocess.run([sys.executable, "-m", "dragoman.local", "fetch"], env=fetch, check=True, timeout=300)
    return {**base_env(home), "DRAGOMAN_HOME": str(WEIGHTS)}


MODEL = "gemini-3.5-flash-lite"
"""Without one, gemini asks another model which to take."""

_CLIS = (
    Cli("claude", "claude", "claude", _claude, _nothing),
    Cli("codex", "codex, its app-server", "codex", _codex, _nothing, serves=True),
    Cli("codex-exec", "codex exec", "codex", _codex_exec, _exec_settings, streams=False),
    Cli("gemini", "gemini, over ACP", "gemini", _gemini, _compiled, serves=True),
    Cli("gemini-old", "gemini before 0.33, in stream-json", "gemini", _old_gemini, _compiled),
    Cli(
        "acp",
        "any agent over ACP, here gemini as its user would name it",
        "acp",
        _acp,
        _acp_settings,
        MODEL,
        serves=True,
    ),
    Cli(
        "acp-copilot",
        "copilot, over ACP as its user would name it",
        "acp",
        _copilot,
        _copilot_settings,
        serves=True,
    ),
    Cli("llm", "llm", "llm", _llm, _nothing),
    Cli("local", "local, the embedded model", "local", _local, _nothing),
    Cli("local-weights", "local, the embedded model", "local", _local_with_weights, _nothing),
)
_PROGRAMS: Mapping[str, Callable[[], Path]] = {
    "claude": toolchain.claude,
    "codex": toolchain.codex,
    "codex-exec": toolchain.codex,
    "gemini": toolchain.gemini,
    "gemini-old": toolchain.gemini,
    "acp": toolchain.gemini,
    "acp-copilot": toolchain.copilot,
    "llm": toolchain.llm,
    "local": toolchain.llm,
    "local-weights": toolchain.llm,
}
CLIS: Mapping[str, Cli] = {cli.name: cli for cli in _CLIS}

VERSIONS: Mapping[str, str] = {
    "claude": toolchain.pinned("@anthropic-ai/claude-code"),
    "codex": toolchain.pinned("@openai/codex"),
    "copilot": toolchain.pinned("@github/copilot"),
    "gemini": toolchain.pinned("@google/gemini-cli"),
    "llm": version("llm"),
}
