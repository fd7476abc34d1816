"""Plays codex 0.169.0 to its adapter, message by message; and what the acts of a dialogue say."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dragoman.adapters.base import (
    Act,
    Completed,
    Dialogue,
    Done,
    Emit,
    Failed,
    Installed,
    Ready,
    Stream,
    Turn,
    Write,
)
from dragoman.adapters.codex.app_server import AppServerDialogue
from dragoman.schemas import ErrorCode

NEW = Installed(Path("/bin/codex"), (0, 169, 0), "0.169.0")
TURN = Turn("t", "What is the capital of France?")


def say(dialogue: Dialogue, *messages: dict[str, Any]) -> list[Act]:
    return list(dialogue.receive(Stream.STDOUT, [json.dumps(message).encode() for message in messages]))


def sent(acts: Iterable[Act]) -> list[dict[str, Any]]:
    return [json.loads(act.data) for act in acts if isinstance(act, Write)]


def events(acts: Iterable[Act]) -> list[object]:
    return [act.event for act in acts if isinstance(act, Emit)]


def outcome(acts: Iterable[Act]) -> Completed | Failed:
    (done,) = [act for act in acts if isinstance(act, Done)]
    return done.outcome


def failed(acts: Iterable[Act]) -> ErrorCode:
    end = outcome(acts)
    assert isinstance(end, Failed)
    assert end.error.message
    return end.error.code


def note(method: str, thread: str = "th-t", **params: object) -> dict[str, Any]:
    return {"method": method, "params": {"threadId": thread, **params}}


class Server:
    """Plays codex up to the start of a turn."""

    def __init__(self, account: dict[str, Any] | None = None) -> None:
        self.dialogue = AppServerDialogue()
        (initialize,) = sent(self.dialogue.start())
        initialized, account_read = sent(say(self.dialogue, {"id": initialize["id"], "result": {}}))
        assert (initialize["method"], initialized["method"]) == ("initialize", "initialized")
        found = {"account": {"type": "chatgpt"}, "requiresOpenaiAuth": True} if account is None else account
        assert say(self.dialogue, {"id": account_read["id"], "result": found}) == [Ready()]

    def begin(self, turn: Turn = TURN, servers: Iterable[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the thread and the turn were started with."""
        (config,) = sent(self.dialogue.begin(turn))
        assert config["method"] == "config/read"
        known = {name: {"command": "x"} for name in servers}
        (thread,) = sent(say(self.dialogue, {"id": config["id"], "result": {"config": {"mcp_servers": known}}}))
        (start,) = sent(say(self.dialogue, {"id": thread["id"], "result": {"thread": {"id": f"th-{turn.id}"}}}))
        assert say(self.dialogue, {"id": start["id"], "result": {"turn": {"id": f"tu-{turn.id}"}}}) == []
        return thread["params"], start["params"]


def begun() -> AppServerDialogue:
    server = Server()
    server.begin()
    return server.dialogue


MESSAGE = {"type": "agentMessage", "id": "m1", "text": "The capital is Paris."}
COMPLETED = note("turn/completed", turn={"id": "tu-t", "status": "completed", "error": None})
