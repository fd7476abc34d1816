"""What gemini is started with so that nothing of the user's starts, nothing can be changed, and the login is found.

Its whole home (settings, sessions, caches) is moved into the call's private folder, so none of the user's settings,
servers, hooks, extensions, policies, commands, agents or ``GEMINI.md`` is there. The login is linked into it: gemini
itself reads the user's file, and writes a token that it has renewed there. The folder it runs in is not trusted, so
of a ``.env`` it takes nothing but keys, and nothing at all from a project. A session is kept in that home and bound to
the folder that it was begun in, so the private folder of a turn that is kept in one is kept, and is the session's own::

    PRIVATE/.env                        -> the user's own ~/.gemini/.env or ~/.env, else empty
    PRIVATE/home/.gemini/settings.json  ours
    PRIVATE/home/.gemini/oauth_creds.json, google_accounts.json, gemini-credentials.json  -> the user's
    PRIVATE/work                        where it runs; empty
    PRIVATE/system.md, policy.toml, tmp

The links stand outside of ``work``, so that no tool and no ``@path`` can reach them. The empty ``.env`` ends the search
for one, which would go on to the root of the file system.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from dragoman.adapters.base import Argument, Installed, PrivateFile, PrivatePath, Turn, UserFile, UserSetting, Value
from dragoman.schemas import Billing

DEFAULT_MODEL = "flash"
DEFAULT_SYSTEM_PROMPT = "Answer the question directly and completely."
READING_TOOLS = ("read_file", "list_directory", "grep_search", "glob")
SETTINGS = "home/.gemini/settings.json"

KEY = "GEMINI_API_KEY"
VERTEX = "GOOGLE_GENAI_USE_VERTEXAI"
SIGN_IN = "GOOGLE_GENAI_USE_GCA"

_HOMES = ("GEMINI_CLI_HOME", "HOME")
_LOGIN_FILES = ("oauth_creds.json", "google_accounts.json", "gemini-credentials.json")
_BILLING: Mapping[str, Billing] = {
    "oauth-personal": "subscription",
    "gemini-api-key": "metered",
    "vertex-ai": "metered",
}

LOGIN_TYPE = UserSetting(".gemini/settings.json", r'"selectedType"\s*:\s*"([a-z-]{1,40})"', below=_HOMES)
"""Which of its logins the user chose."""

WORK = PrivatePath("work")
ONE_PROCESS = {"GEMINI_CLI_NO_RELAUNCH": "true"}
"""Otherwise it starts itself again, which takes longer, and the first process ignores every signal."""


def login_type(found: Installed) -> str:
    """How gemini is to log in: a key that reaches it was asked for, then what the user chose, then what is usual."""
    if KEY in found.environment:
        return "gemini-api-key"
    if VERTEX in found.environment:
        return "vertex-ai"
    if chosen := found.settings.get("login"):
        return chosen
    return "oauth-personal" if SIGN_IN in found.environment else "gemini-api-key"


def billing_of(settings: object) -> Billing | None:
    """Who pays, by the settings that `files` wrote."""
    if not isinstance(settings, bytes):
        return None
    return _BILLING.get(json.loads(settings)["security"]["auth"]["selectedType"])


def files(turn: Turn, login: str) -> Mapping[str, bytes | UserFile]:
    """The private folder's content."""
    links = {name: UserFile((f".gemini/{name}",), below=_HOMES) for name in _LOGIN_FILES}
    return {
        SETTINGS: json.dumps(_settings(turn, login)).encode(),
        "system.md": _system_prompt(turn).encode(),
        ".env": UserFile((".gemini/.env", ".env"), below=_HOMES, otherwise=b""),
        **{f"home/.gemini/{name}": link for name, link in links.items()},
    }


def arguments(turn: Turn) -> tuple[Argument, ...]:
    """The options that every way to run it has."""
    folder = (Value("--include-directories=", str(turn.cwd)),) if turn.cwd else ()
    return (
        # Without a model it asks another one which to take: a second request for each question.
        Value("--model=", turn.model or DEFAULT_MODEL),
        *("--extensions=none", "--allowed-mcp-server-names=none", "--approval-mode=default"),
        # A policy that is not there would be passed over in silence; the settings name the same tools.
        PrivateFile("--policy=", "policy.toml", _policy(turn).encode()),
        *folder,
    )


def environment(*, trusts: bool) -> Mapping[str, str | PrivatePath]:
    """Its environment, beside what the user's has. `trusts`: the empty folder it runs in; without ACP it must."""
    return {
        **({"GEMINI_CLI_TRUST_WORKSPACE": "true"} if trusts else {}),
        "GEMINI_CLI_HOME": PrivatePath("home"),
        "GEMINI_SYSTEM_MD": PrivatePath("system.md"),
        # It writes whole conversations into its temporary folder when a request fails.
        "TMPDIR": PrivatePath("tmp"),
        **ONE_PROCESS,
        "GEMINI_SANDBOX": "false",
        # Without a login it would open a browser and wait five minutes.
        "NO_BROWSER": "true",
        "NO_COLOR": "1",
        "TERM": "xterm-256color",
    }


def _settings(turn: Turn, login: str) -> Mapping[str, object]:
    return {
        **_generation(turn),
        "security": {"auth": {"selectedType": login}, "folderTrust": {"enabled": True}},
        "general": {
            "maxAttempts": 1,
            "enableAutoUpdate": False,
            "enableAutoUpdateNotification": False,
            # It would take a session that was gone on with in another minute for an empty one, and remove it.
            "sessionRetention": {"enabled": False},
        },
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "context": {"includeDirectoryTree": False},
        "hooksConfig": {"enabled": False},
        "skills": {"enabled": False},
        "experimental": {"enableAgents": False},
        "ide": {"enabled": False},
        "tools": {"core": list(_tools(turn)), "useRipgrep": False},
        # It takes long answers with repeated lines for a loop; the engine bounds an answer's size and time.
        "model": {"disableLoopDetection": True},
    }


def _generation(turn: Turn) -> Mapping[str, object]:
    if turn.temperature is None:
        return {}
    # Its name for what is asked by itself, and not by an agent of its own: by a model's name an alias is not matched.
    override = {
        "match": {"overrideScope": "core"},
        "modelConfig": {"generateContentConfig": {"temperature": turn.temperature}},
    }
    return {"modelConfigs": {"customOverrides": [override]}}


def _policy(turn: Turn) -> str:
    allowed = "".join(_rule(tool, "allow", 999) for tool in _tools(turn))
    return allowed + _rule("*", "deny", 998)


def _rule(tool: str, decision: str, priority: int) -> str:
    return f'[[rule]]\ntoolName = "{tool}"\ndecision = "{decision}"\npriority = {priority}\n\n'


def _tools(turn: Turn) -> tuple[str, ...]:
    return READING_TOOLS if turn.cwd else ()


def _system_prompt(turn: Turn) -> str:
    prompt = turn.system or DEFAULT_SYSTEM_PROMPT
    if turn.cwd is None:
        return prompt
    return f"{prompt}\n\nThe question is about the folder {turn.cwd}. Look into it with your tools; use absolute paths."
