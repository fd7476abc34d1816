"""codex's own sessions, which it calls threads: how one is begun, gone on with or copied, and why it could not be."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dragoman.adapters.base import Failed, Session, Turn
from dragoman.adapters.codex.lean import DEFAULT_INSTRUCTIONS
from dragoman.schemas import ErrorCode, ErrorInfo


def opening(turn: Turn, servers: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The request of the app-server that gives the turn its thread, with the user's MCP servers switched off."""
    params = _settings(turn, servers)
    session = turn.session
    if session is None or session.is_new:
        return "thread/start", {**params, "ephemeral": session is None}
    # Without the earlier turns in the reply, which can be any amount of text.
    params |= {"threadId": session.id, "excludeTurns": True}
    if not session.fork:
        return "thread/resume", params
    return "thread/fork", {**params, "ephemeral": False, "lastTurnId": session.last_turn}


def question(thread: str, turn: Turn) -> Mapping[str, Any]:
    """The parameters of ``turn/start``."""
    return {
        "threadId": thread,
        "input": [{"type": "text", "text": turn.prompt}],
        **({"effort": turn.effort} if turn.effort else {}),
        **({"outputSchema": turn.schema} if turn.schema is not None else {}),
    }


def goes_on(session: Session | None) -> bool:
    """Whether there is a thread already that the turn is to follow."""
    return session is not None and not session.is_new


def is_another(thread: str, session: Session | None) -> bool:
    """Whether codex opened another thread than the one that was to be gone on with."""
    return session is not None and not session.is_new and not session.fork and thread != session.id


def is_thread(name: str) -> bool:
    """Whether codex can take this for a thread's id. Given anything else, `codex exec` silently begins a new thread."""
    try:
        return str(uuid.UUID(name)) == name.lower()
    except ValueError:
        return False


def not_gone_on_with(words: str, model: str | None = None) -> Failed:
    """The failure when a thread could not be gone on with; no model was asked."""
    reason: Literal["lost", "busy"] = "busy" if "active writer" in words else "lost"
    error = ErrorInfo.of(
        ErrorCode.OVERLOADED if reason == "busy" else ErrorCode.BAD_REQUEST,
        f"codex could not go on with its session: {words}",
        next_step="close the codex that has it open, or begin a new conversation"
        if reason == "busy"
        else "begin a new conversation",
    )
    return Failed(error, model=model, session=reason)


def _settings(turn: Turn, servers: Mapping[str, Any]) -> dict[str, Any]:
    params: dict[str, Any] = {
        "sandbox": "read-only",
        "approvalPolicy": "never",
        "config": {
            "mcp_servers": {name: {"enabled": False} for name in servers},
            # A project that the user trusts could bring its own instructions, servers and hooks.
            "projects": {str(folder): {"trust_level": "untrusted"} for folder in _folders(turn)},
        },
    }
    if turn.model is not None:
        params["model"] = turn.model
    if turn.cwd is None:
        params["baseInstructions"] = turn.system or DEFAULT_INSTRUCTIONS
    else:
        # codex's own instructions tell it how to use its shell, so the caller's stand beside them.
        params["cwd"] = str(turn.cwd)
        if turn.system:
            params["developerInstructions"] = turn.system
    return params


def _folders(turn: Turn) -> tuple[Path, ...]:
    return (turn.cwd, *turn.cwd.parents) if turn.cwd else ()
