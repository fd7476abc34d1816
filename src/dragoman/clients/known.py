"""The MCP clients that can be set up: where each keeps its servers, and what an entry looks like there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Entry = dict[str, Any]
System = Literal["linux", "darwin", "win32"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a person keeps things on this machine."""

    home: Path
    environ: Mapping[str, str]
    system: str

    def variable(self, name: str, otherwise: Path) -> Path:
        """The folder a variable names, or this one."""
        value = self.environ.get(name)
        return Path(value) if value else otherwise

    @property
    def settings(self) -> Path:
        """Where applications keep their settings."""
        match self.system:
            case "darwin":
                return self.home / "Library" / "Application Support"
            case "win32":
                return self.variable("APPDATA", self.home / "AppData" / "Roaming")
            case _:
                return self.variable("XDG_CONFIG_HOME", self.home / ".config")


@dataclass(frozen=True, slots=True)
class Client:
    """One MCP client."""

    name: str
    title: str
    file: Callable[[Place], Path]
    servers: str
    """The key below which its servers stand."""
    format: Literal["json", "toml"] = "json"
    project_file: str | None = None
    """The same in a project's folder."""
    first: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What an entry has besides the command, unless the person has changed it."""
    type: str | None = None
    """The word by which an entry says that it is a program to start."""
    hint: str = "restart it to see the tools"

    def entry(self, command: Sequence[str]) -> Entry:
        """How to start the server, as this client wants it told."""
        program, *arguments = command
        kind = {"type": self.type} if self.type else {}
        return {**kind, "command": program, "args": arguments}


LONG_MS = 30 * 60 * 1000
"""Clients that stop a call after a fixed time are given ours, so that our clocks decide."""

CLIENTS = {
    client.name: client
    for client in (
        Client(
            "claude-code",
            "Claude Code",
            lambda place: place.variable("CLAUDE_CONFIG_DIR", place.home) / ".claude.json",
            "mcpServers",
            project_file=".mcp.json",
            type="stdio",
            hint="start a new session; /mcp lists it",
        ),
        Client(
            "claude-desktop",
            "Claude Desktop",
            lambda place: place.settings / "Claude" / "claude_desktop_config.json",
            "mcpServers",
        ),
        Client(
            "codex",
            "Codex",
            lambda place: place.variable("CODEX_HOME", place.home / ".codex") / "config.toml",
            "mcp_servers",
            format="toml",
            project_file=".codex/config.toml",
            # Without `required` its first turn goes without the tools of a server that takes a moment to start.
            first={"required": True, "startup_timeout_sec": 30, "tool_timeout_sec": LONG_MS // 1000},
            hint="start a new session; `codex mcp list` lists it",
        ),
        Client(
            "cursor",
            "Cursor",
            lambda place: place.home / ".cursor" / "mcp.json",
            "mcpServers",
            project_file=".cursor/mcp.json",
        ),
        Client(
            "gemini",
            "Gemini CLI",
            lambda place: place.variable("GEMINI_CLI_HOME", place.home) / ".gemini" / "settings.json",
            "mcpServers",
            project_file=".gemini/settings.json",
            first={"timeout": LONG_MS},
            hint="start a new session; /mcp lists it",
        ),
        Client(
            "vscode",
            "VS Code",
            lambda place: place.settings / "Code" / "User" / "mcp.json",
            "servers",
            project_file=".vscode/mcp.json",
            type="stdio",
            hint="start it from the MCP SERVERS section of the extensions view",
        ),
        Client(
            "windsurf",
            "Windsurf",
            lambda place: place.home / ".codeium" / "windsurf" / "mcp_config.json",
            "mcpServers",
        ),
        Client(
            "zed",
            "Zed",
            lambda place: (place.settings / "Zed" if place.system == "win32" else _zed_folder(place)) / "settings.json",
            "context_servers",
            project_file=".zed/settings.json",
            hint="the agent panel lists it at once",
        ),
    )
}


def _zed_folder(place: Place) -> Path:
    # It keeps its settings in ~/.config on macOS, too.
    config = place.home / ".config"
    return (place.variable("XDG_CONFIG_HOME", config) if place.system == "linux" else config) / "zed"
