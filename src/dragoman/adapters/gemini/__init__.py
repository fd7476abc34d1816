"""Google's Gemini CLI (``gemini``): ACP; ``stream-json`` into a file for versions before ``--acp``.

Facts measured with 0.61.0: ACP loses nothing and expands no ``@path``; over a pipe its other outputs lose their end,
with exit code 0; a failed request is tried ten times unless the settings say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dragoman.adapters.acp import STOP
from dragoman.adapters.acp.dialogue import AcpDialogue, Agent
from dragoman.adapters.acp.errors import words_of
from dragoman.adapters.base import (
    STOP_BY_SIGNAL,
    Dialogue,
    Installed,
    Launch,
    Plan,
    Profile,
    Refused,
    Stdout,
    Transport,
    Turn,
)
from dragoman.adapters.gemini import errors
from dragoman.adapters.gemini.headless import HeadlessDialogue
from dragoman.adapters.gemini.lean import (
    KEY,
    LOGIN_TYPE,
    ONE_PROCESS,
    SETTINGS,
    SIGN_IN,
    VERTEX,
    WORK,
    arguments,
    billing_of,
    environment,
    files,
    login_type,
)
from dragoman.adapters.json_lines import whole
from dragoman.schemas import Billing, ErrorCode, ErrorInfo

ACP_SINCE = (0, 33)

PROFILE = Profile(
    name="gemini",
    title="Gemini CLI",
    description="Google's Gemini through the Gemini CLI: strong at long texts, code and broad knowledge.",
    executables=("gemini",),
    install_hint="npm install -g @google/gemini-cli (Node 20 or newer), then run `gemini` once to log in",
    order=30,
    plan_needs_version=True,
    version_env=ONE_PROCESS,
    minimum_version=(0, 30),
    transports=(Transport("acp", since=ACP_SINCE), Transport("stream-json")),
    settings={"login": LOGIN_TYPE},
    pass_env=(
        *("GEMINI_CLI_HOME", "GEMINI_FORCE_ENCRYPTED_FILE_STORAGE", "GEMINI_FORCE_FILE_STORAGE"),
        *("GOOGLE_GEMINI_BASE_URL", "CODE_ASSIST_ENDPOINT", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"),
        *(SIGN_IN, "GOOGLE_CLOUD_ACCESS_TOKEN"),
    ),
    metered_env=(KEY, "GOOGLE_API_KEY", VERTEX, "GOOGLE_APPLICATION_CREDENTIALS"),
    own_retries="limited",
    start_gap_s=0.5,
    strength={"read-only": "enforced"},
)


class Gemini(Agent):
    """What is known of gemini as an agent."""

    name = "gemini"
    sets_model = False

    def __init__(self, billing: Billing | None) -> None:
        self.billing = billing

    def error(self, error: Mapping[str, Any]) -> ErrorInfo:
        """Its codes are HTTP statuses, not all of them right."""
        return errors.failure(whole(error.get("code")), words_of(error))

    def exit(self, code: int, stderr: str) -> ErrorInfo:
        """It has exit codes of its own."""
        return errors.exited(code, stderr)

    def flaw(self, reason: str, result: Mapping[str, Any], *, answered: bool) -> ErrorInfo | None:
        """Broken streams and prompts that are too long end like good turns."""
        return errors.flaw(reason, result, answered=answered)

    def stray(self, line: str) -> ErrorInfo | None:
        """It may ask for a login."""
        return errors.stray(line)


class GeminiAdapter:
    """See the module."""

    profile = PROFILE

    def plan(self, turn: Turn, found: Installed) -> Plan:
        """One process for one turn, in a home of its own."""
        speaks_acp = PROFILE.transport(found) == "acp"
        if turn.cwd is not None:
            _check_folder(str(turn.cwd), found, speaks_acp=speaks_acp)
        way = "--acp" if speaks_acp else "--output-format=stream-json"
        channel = Launch(
            (way, *arguments(turn)),
            env=environment(trusts=not speaks_acp),
            files=files(turn, login_type(found)),
            runs_in=WORK,
            stdout=Stdout.PIPE if speaks_acp else Stdout.FILE,
            stop=STOP if speaks_acp else STOP_BY_SIGNAL,
        )
        return Plan(channel, host_key=f"gemini {turn.id}")

    def dialogue(self, plan: Plan) -> Dialogue:
        """A new dialogue."""
        billing = billing_of(plan.channel.files.get(SETTINGS))
        if "--acp" in plan.channel.argv:
            return AcpDialogue(Gemini(billing))
        return HeadlessDialogue(billing)

    def logged_in(self, code: int, stdout: str, stderr: str) -> bool | None:
        """It has no command that tells."""
        return None


def _check_folder(folder: str, found: Installed, *, speaks_acp: bool) -> None:
    if not speaks_acp:
        wanted = ".".join(map(str, ACP_SINCE))
        raise Refused(
            ErrorCode.POLICY,
            f"gemini {found.version_text} puts files that a prompt names into it; {wanted} does not",
            "update gemini, or ask without `cwd`",
        )
    if "," in folder:
        raise Refused(
            ErrorCode.BAD_REQUEST,
            f"gemini cannot be given the folder {folder!r}: it reads a comma as the end of the name",
            "name a folder without a comma in its path",
        )


adapter = GeminiAdapter()
