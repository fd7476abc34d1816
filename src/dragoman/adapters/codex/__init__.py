"""Codex (``codex``): its app-server, spoken to in JSON-RPC; ``codex exec`` where that does not do.

Facts measured with 0.169.0: the app-server ignores a key in the environment; a user's MCP servers start unless each is
switched off by name; the built-in provider's retries cannot be configured, so the dialogue gives up when it has seen
enough of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from dragoman.adapters.base import (
    FINISH_S,
    FLUSH_S,
    Dialogue,
    Installed,
    Launch,
    Login,
    NpmPackage,
    Plan,
    Profile,
    Refused,
    StopStep,
    Transport,
    Turn,
    UserSetting,
)
from dragoman.adapters.codex.app_server import AppServerDialogue
from dragoman.adapters.codex.exec import ExecDialogue, exec_arguments
from dragoman.adapters.codex.lean import overrides
from dragoman.schemas import ErrorCode

APP_SERVER_SINCE = (0, 151)
KEY = "CODEX_API_KEY"
PROMPT_CHARACTERS = 1_048_576
"""codex refuses more, but only after it has started."""


def _root_key(key: str) -> Mapping[str, UserSetting]:
    """A key of the user's ``config.toml`` that stands before its first table, wherever that file is."""
    pattern = rf"""(?ms)\A(?:(?!^\s*\[).)*?^{key}\s*=\s*["']([^"'\n]+)["']"""
    return {
        f"CODEX_HOME {key}": UserSetting("config.toml", pattern, below=("CODEX_HOME",)),
        f"HOME {key}": UserSetting(".codex/config.toml", pattern),
    }


PROFILE = Profile(
    name="codex",
    title="Codex",
    description="OpenAI's models through the Codex CLI: strong at code, debugging and reviewing changes.",
    executables=("codex",),
    install_hint="npm install -g @openai/codex, then run `codex login`",
    npm=NpmPackage(
        "@openai/codex",
        native="@openai/codex-{os}-{cpu}",
        program="vendor/*/bin/codex",
        env=(("CODEX_MANAGED_PACKAGE_ROOT", "{package}"), ("CODEX_MANAGED_BY_NPM", "1")),
    ),
    order=20,
    plan_needs_version=True,
    transports=(Transport("app-server", since=APP_SERVER_SINCE, without=(KEY,)), Transport("exec")),
    login=Login(("login", "status"), "run `codex login`"),
    pass_env=("CODEX_HOME", "CODEX_CA_CERTIFICATE"),
    account_env=("CODEX_HOME",),
    metered_env=(KEY, "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "OPENROUTER_API_KEY"),
    settings={**_root_key("openai_base_url"), **_root_key("model_provider")},
    own_retries="limited",
    start_gap_s=0.5,
    strength={"read-only": "enforced"},
    # There is an "ultra", too: it hands parts to other agents, which are switched off here.
    efforts=("minimal", "low", "medium", "high", "xhigh", "max"),
    keeps_sessions=True,
    forks_sessions=True,
    native_schema="strict",
    detaches=True,
)

# At the end of its input the app-server ends at once and takes what its model started with it.
_STOP = (StopStep("eof", 1.0), StopStep("term"), StopStep("kill"))


class CodexAdapter:
    """See the module."""

    profile = PROFILE

    def plan(self, turn: Turn, found: Installed) -> Plan:
        """The app-server; ``exec`` for versions without it, for a key in the environment and for a detached turn."""
        if len(turn.prompt) > PROMPT_CHARACTERS:
            raise Refused(
                ErrorCode.PROMPT_TOO_LARGE,
                f"the prompt has {len(turn.prompt)} characters, codex takes {PROMPT_CHARACTERS}",
                "shorten the prompt, or ask another provider",
            )
        looks = turn.cwd is not None
        finish_s = FLUSH_S if turn.session else FINISH_S
        if turn.detached or PROFILE.transport(found) == "exec":
            launch = Launch(exec_arguments(turn, _base_url(turn, found)), finish_s=finish_s, can_be_left=True)
            return Plan(launch, host_key=f"codex exec {turn.id}")
        arguments = ("app-server", *overrides(looks=looks))
        # A command that codex runs outlives the end of its turn, so only turns without a shell share a process.
        return Plan(
            Launch(arguments, stop=_STOP, finish_s=finish_s),
            host_key=f"codex {turn.id}" if looks else "codex",
            capacity=1 if looks else None,
        )

    def dialogue(self, plan: Plan) -> Dialogue:
        """A new dialogue."""
        return AppServerDialogue() if "app-server" in plan.channel.argv else ExecDialogue()

    def logged_in(self, code: int, stdout: str, stderr: str) -> bool | None:
        """From ``codex login status``, which exits with 1 when nobody is."""
        if code == 0:
            return True
        return False if "not logged in" in f"{stdout}{stderr}".lower() else None


def _base_url(turn: Turn, found: Installed) -> str | None:
    """Where the user has codex send its questions: `exec` is run without their configuration, which says so."""
    home = "CODEX_HOME" if "CODEX_HOME" in found.environment else "HOME"
    provider = found.settings.get(f"{home} model_provider", "openai")
    if provider != "openai":
        raise Refused(
            ErrorCode.BAD_REQUEST,
            f"your config.toml has codex ask {provider!r}, which `codex exec` cannot be told of without the rest of it",
            "ask without `background`" if turn.detached else f"unset {KEY}, so that codex is asked by its app-server",
        )
    return found.settings.get(f"{home} openai_base_url")


adapter = CodexAdapter()
