"""Claude Code (``claude``), one question per process, spoken to in its stream-json protocol.

Facts measured with 2.1.329 and 2.1.197: ``is_error`` tells failure, never ``subtype``; one 401 is retried for three
minutes unless ``CLAUDE_CODE_MAX_RETRIES`` says otherwise; ``@path`` in a prompt is expanded even without tools unless
attachments are off; a prompt that begins with a slash is taken for a command unless ``client_composed`` is set. Of a
session that is gone on with, the system prompt and the model of the turn before hold unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dragoman.adapters.base import (
    FINISH_S,
    FLUSH_S,
    STOP_BY_SIGNAL,
    Argument,
    Dialogue,
    Installed,
    Launch,
    Login,
    NpmPackage,
    Plan,
    Profile,
    Refused,
    Session,
    StopStep,
    Transport,
    Turn,
    Value,
)
from dragoman.adapters.claude.dialogue import READING_TOOLS, ClaudeDialogue
from dragoman.adapters.claude.errors import INSTALL, LOG_IN
from dragoman.adapters.json_lines import parse
from dragoman.schemas import ErrorCode

__all__ = ["PROFILE", "ClaudeAdapter", "ClaudeDialogue", "adapter"]

SINCE = (2, 1, 329)
"""The oldest version in which `--restricted` was seen, which confines the file tools to the folder, and
`--system-prompt-snapshot`, without which it stays with a session's first system prompt; and which was seen to read its
input from a file. 2.1.197 does none of this, and takes each turn's own system prompt anyway."""

PROFILE = Profile(
    name="claude",
    title="Claude Code",
    description="Anthropic's Claude through the Claude Code CLI: strong at code, long texts and careful reasoning.",
    executables=("claude",),
    install_hint=INSTALL,
    # Its install script puts the native program in the launcher's place; where scripts are off, a stub stays there.
    npm=NpmPackage("@anthropic-ai/claude-code", native="@anthropic-ai/claude-code-{os}-{cpu}", program="claude"),
    order=10,
    plan_needs_version=True,
    transports=(Transport("stream-json"),),
    login=Login(("auth", "status"), LOG_IN),
    pass_env=(
        *("CLAUDE_CONFIG_DIR", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_TMPDIR", "ANTHROPIC_BASE_URL"),
        *("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_ERROR_REPORTING"),
    ),
    account_env=("CLAUDE_CONFIG_DIR", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_BASE_URL"),
    metered_env=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_USE_*"),
    own_retries="limited",
    start_gap_s=0.5,
    strength={"read-only": "enforced"},
    efforts=("low", "medium", "high", "xhigh", "max"),
    takes_max_tokens=True,
    keeps_sessions=True,
    forks_sessions=True,
    native_schema="any",
    detaches=True,
    billing="unknown",
)

_ENVIRONMENT = {
    "CLAUDE_CODE_MAX_RETRIES": "0",
    "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "DISABLE_AUTOUPDATER": "1",
    # An answer that does not match the schema is the engine's to tell the model about.
    "MAX_STRUCTURED_OUTPUT_RETRIES": "0",
}
# Closing stdin first would let it finish, and bill, the turn. On SIGTERM it ends its tools, which takes up to 1.6 s.
_STOP = (StopStep("interrupt", 0.5), StopStep("term"), StopStep("kill"))


class ClaudeAdapter:
    """See the module."""

    profile = PROFILE

    def plan(self, turn: Turn, found: Installed) -> Plan:
        """One process for one turn."""
        if turn.detached:
            _check_version(found, "go on alone", "`background`")
        arguments: list[Argument] = [
            *("-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"),
            *("--include-partial-messages", "--setting-sources=", "--strict-mcp-config", "--disable-slash-commands"),
            *_session(turn.session, found),
            *self._tools(turn, found),
        ]
        if turn.model is not None:
            arguments.append(Value("--model=", turn.model))
        elif turn.session is not None and not turn.session.is_new:
            arguments.append("--model=default")
        if turn.effort is not None:
            arguments.append(Value("--effort=", turn.effort))
        launch = Launch(
            tuple(arguments),
            env=_environment(turn),
            stop=STOP_BY_SIGNAL if turn.detached else _STOP,
            finish_s=FINISH_S if turn.session is None else FLUSH_S,
            # Open, its input is only for an interrupt.
            can_be_left=found.at_least(*SINCE),
        )
        return Plan(launch, host_key=f"claude {turn.id}")

    def dialogue(self, plan: Plan) -> Dialogue:
        """A new dialogue."""
        return ClaudeDialogue()

    def logged_in(self, code: int, stdout: str, stderr: str) -> bool | None:
        """From ``claude auth status``, which prints JSON."""
        status = parse(stdout.encode())
        return bool(status["loggedIn"]) if "loggedIn" in status else None

    def _tools(self, turn: Turn, found: Installed) -> Sequence[str]:
        if turn.cwd is None:
            return ("--tools", "")
        _check_version(found, "be confined to a folder", "`cwd`")
        return ("--tools", ",".join(READING_TOOLS), "--permission-mode", "dontAsk", "--restricted")


def _check_version(found: Installed, what: str, without: str) -> None:
    if not found.at_least(*SINCE):
        wanted = ".".join(map(str, SINCE))
        words = f"claude {found.version_text or 'of unknown version'} cannot {what}; {wanted} can"
        raise Refused(ErrorCode.POLICY, words, f"update claude, or ask without {without}")


def _session(session: Session | None, found: Installed) -> Sequence[Argument]:
    if session is None:
        return ("--no-session-persistence",)
    if session.is_new:
        return (Value("--session-id=", session.id),)
    arguments: list[Argument] = [Value("--resume=", session.id)]
    if found.at_least(*SINCE):
        arguments += ("--system-prompt-snapshot", "off")
    if session.fork:
        arguments.append("--fork-session")
        if session.last_turn is not None:
            arguments.append(Value("--resume-session-at=", session.last_turn.partition(" ")[0]))
    return arguments


def _environment(turn: Turn) -> Mapping[str, str]:
    if turn.max_tokens is None:
        return _ENVIRONMENT
    return {**_ENVIRONMENT, "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(turn.max_tokens)}


adapter = ClaudeAdapter()
