"""Google's Gemini CLI (``gemini``): ACP; ``stream-json`` into a file for versions before ``--acp``.

Facts measured with 0.61.0: ACP loses nothing and expands no ``@path``; over a pipe its other outputs lose their end,
with exit code 0; a failed request is tried ten times unless the settings say otherwise. Of a session that is loaded
under its plain name, within the minute in which it was last written to, nothing is left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dragoman.adapters.acp import STOP
from dragoman.adapters.acp.dialogue import AcpDialogue, Agent
from dragoman.adapters.acp.errors import words_of
from dragoman.adapters.base import (
    FINISH_S,
    FLUSH_S,
    STOP_BY_SIGNAL,
    Argument,
    Dialogue,
    Installed,
    Launch,
    Plan,
    Profile,
    Refused,
    Session,
    Stdout,
    Transport,
    Turn,
    Value,
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
STDIN_BYTES = 8 << 20
"""Without ACP the rest of a prompt is cut off."""
_NATIVE = re.compile(r"([A-Za-z0-9_-]{1,64})/([0-9A-Fa-f-]{36})")
"""The name of a session as we give it: that of its private folder, and its own."""

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
    takes_temperature=True,
    keeps_sessions=True,
    detaches=True,
)


class Gemini(Agent):
    """What is known of gemini as an agent."""

    name = "gemini"
    sets_model = False
    wishes: Mapping[str, Any] = {}

    def __init__(self, billing: Billing | None, keeps: str | None = None) -> None:
        self.billing = billing
        self._keeps = keeps

    def native(self, session: str) -> str:
        """Its name, below that of the folder that it is kept in."""
        return f"{self._keeps}/{session}"

    def own(self, native: str) -> str:
        """The blank is cut off where it looks for the session, and not where it begins a file for a new one.

        Under the plain name that file would be the session's own, for a minute, and be begun anew.
        """
        return f" {native.rpartition('/')[2]}"

    def error(self, error: Mapping[str, Any]) -> ErrorInfo:
        """Its codes are HTTP statuses, not all of them right."""
        return errors.failure(whole(error.get("code")), words_of(error))

    def exit(self, code: int, stderr: str) -> ErrorInfo:
        """It has exit codes of its own."""
        return errors.exited(code, stderr, serves=True)

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
        """One process for one turn, in a home of its own, or in that of its session."""
        has_acp = PROFILE.transport(found) == "acp"
        if turn.cwd is not None:
            _check_folder(str(turn.cwd), found, has_acp=has_acp)
        kept = _kept(turn.session, found, has_acp=has_acp)
        speaks_acp = has_acp and not turn.detached
        way: tuple[Argument, ...] = ("--acp",)
        if not speaks_acp:
            way = ("--output-format=stream-json", *_headless(turn))
        channel = Launch(
            (*way, *arguments(turn)),
            env=environment(trusts=not speaks_acp),
            files=files(turn, login_type(found)),
            keeps=kept,
            runs_in=WORK,
            stdout=Stdout.PIPE if speaks_acp else Stdout.FILE,
            stop=STOP if speaks_acp else STOP_BY_SIGNAL,
            finish_s=FINISH_S if kept is None else FLUSH_S,
        )
        return Plan(channel, host_key=f"gemini {turn.id}")

    def dialogue(self, plan: Plan) -> Dialogue:
        """A new dialogue."""
        channel = plan.channel
        billing = billing_of(channel.files.get(SETTINGS))
        agent = Gemini(billing, channel.keeps)
        return AcpDialogue(agent) if "--acp" in channel.argv else HeadlessDialogue(billing, channel.keeps)

    def logged_in(self, code: int, stdout: str, stderr: str) -> bool | None:
        """It has no command that tells."""
        return None


def _kept(session: Session | None, found: Installed, *, has_acp: bool) -> str | None:
    """The name of the private folder that a session is kept in; a version without ACP keeps none."""
    if session is None or (session.is_new and not has_acp):
        return None
    if session.is_new:
        return session.id
    if not has_acp:
        words = f"gemini {found.version_text} cannot go on with a session"
        raise Refused(ErrorCode.BAD_REQUEST, words, "update gemini, or begin a new conversation")
    if (named := _NATIVE.fullmatch(session.id)) is None:
        words = f"{session.id!r} is not the name of a gemini session of ours"
        raise Refused(ErrorCode.BAD_REQUEST, words, "begin a new conversation")
    return named[1]


def _headless(turn: Turn) -> tuple[Argument, ...]:
    if len(turn.prompt.encode("utf-8", "replace")) > STDIN_BYTES:
        words = f"the prompt is over {STDIN_BYTES} bytes, more than gemini reads from a file"
        raise Refused(ErrorCode.PROMPT_TOO_LARGE, words, "shorten it")
    if turn.session is None or turn.session.is_new:
        return ()
    return (Value("--resume=", turn.session.id.rpartition("/")[2]),)


def _check_folder(folder: str, found: Installed, *, has_acp: bool) -> None:
    if not has_acp:
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
