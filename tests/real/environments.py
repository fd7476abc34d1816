"""Environments made from nothing, in which a real CLI talks to the fake model API and to nobody else.

Each function returns a plain dict, for starting the CLI itself or a Dragoman that starts it. They share HOME, PATH and
TMPDIR, so several can be merged: ``claude_env(...) | codex_env(...) | llm_env(...)``. PATH finds exactly the programs
that were asked for, and the system's own.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.real import toolchain

DUMMY_KEY = "dummy-key"
LLM_MODEL = "fake-model"
COPILOT_MODEL = "fake-model"


def base_env(home: Path, *programs: Path) -> dict[str, str]:
    """What every program needs: a home, a path with these programs under their own names, a folder for files."""
    files = home / "tmp"
    files.mkdir(parents=True, exist_ok=True)
    for program in programs:
        _link(home / "bin" / program.name, program)
    # codex refuses to work in a home below TMPDIR, which pytest's folders are unless it is moved.
    return {"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin", "TMPDIR": str(files), "LANG": "C.UTF-8"}


def claude_env(
    home: Path, api_url: str, claude: Path, *, key: str | None = DUMMY_KEY, subscription: bool = False
) -> dict[str, str]:
    """For ``claude``: with an API key, with the token of a subscription instead, or (``key=None``) not logged in."""
    login = "CLAUDE_CODE_OAUTH_TOKEN" if subscription else "ANTHROPIC_API_KEY"
    return {
        **base_env(home, claude),
        **({login: key} if key else {}),
        "ANTHROPIC_BASE_URL": api_url,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
    }


def codex_env(
    home: Path, api_url: str, codex: Path, *, key: str | None = DUMMY_KEY, stored: bool = True
) -> dict[str, str]:
    """For ``codex``, and its CODEX_HOME on disk: with a stored login, with a key in the environment (``stored=False``,
    which only ``exec`` reads), or (``key=None``) not logged in."""
    folder = home / ".codex"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(_codex_config(api_url), "utf-8")
    env = {**base_env(home, codex, toolchain.node()), "CODEX_HOME": str(folder)}
    if key and stored:
        login = [home / "bin" / codex.name, "login", "--with-api-key"]
        subprocess.run(login, env=env, input=key.encode(), capture_output=True, timeout=120, check=True)
    elif key:
        env["CODEX_API_KEY"] = key
    return env


def llm_env(home: Path, api_url: str, llm: Path, *, key: str | None = DUMMY_KEY) -> dict[str, str]:
    """For ``llm``, and its user folder on disk: the model `LLM_MODEL`, the default, is the fake API's."""
    folder = home / "llm"
    folder.mkdir(parents=True, exist_ok=True)
    model = {
        "model_id": LLM_MODEL,
        "model_name": LLM_MODEL,
        "api_base": f"{api_url}/v1",
        "api_key_name": "fake",
        "supports_schema": True,
    }
    # YAML is a superset of JSON.
    (folder / "extra-openai-models.yaml").write_text(json.dumps([model]), "utf-8")
    (folder / "keys.json").write_text(json.dumps({"fake": key} if key else {}), "utf-8")
    return {**base_env(home, llm), "LLM_USER_PATH": str(folder), "LLM_MODEL": LLM_MODEL}


def gemini_env(home: Path, api_url: str, gemini: Path, *, key: str | None = DUMMY_KEY) -> dict[str, str]:
    """For ``gemini``, and its ``.gemini`` on disk: with a stored key, or (``key=None``) not logged in."""
    folder = home / ".gemini"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text('{"security": {"auth": {"selectedType": "gemini-api-key"}}}', "utf-8")
    (folder / ".env").write_text(f"GEMINI_API_KEY={key}\n" if key else "", "utf-8")
    return {**base_env(home, gemini, toolchain.node()), "GOOGLE_GEMINI_BASE_URL": api_url}


def copilot_settings(api_url: str, copilot: Path, *, key: str | None = DUMMY_KEY) -> dict[str, str]:
    """For ``copilot``, beside a `base_env`: it asks a provider of one's own for its model, and needs nobody logged in.

    Whatever it says has the key blanked, also where the same characters stand elsewhere.
    """
    return {
        **toolchain.copilot_unpacked(copilot),
        **({"COPILOT_PROVIDER_API_KEY": key} if key else {}),
        "COPILOT_PROVIDER_BASE_URL": f"{api_url}/v1",
        # Of the API's dialects it is the one in which a scenario can use tools.
        "COPILOT_PROVIDER_WIRE_API": "responses",
        "COPILOT_MODEL": COPILOT_MODEL,
        "COPILOT_OFFLINE": "true",
        "COPILOT_AUTO_UPDATE": "false",
    }


def _codex_config(api_url: str) -> str:
    return f"""\
openai_base_url = "{api_url}/v1"
check_for_update_on_startup = false

[analytics]
enabled = false

[features]
plugins = false
shell_snapshot = false
"""


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)
