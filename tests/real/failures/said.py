"""What a CLI said last, in the few words that tell of a failure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

SHOWN = 100
_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def last_words(cli: str, stdout: bytes, stderr: bytes) -> Iterator[str]:
    """The last event that tells how the turn ended; where there is none, the last line of stderr."""
    events = list(_objects(stdout))
    told = ""
    if (tells := _TELLS.get(cli)) is not None:
        told = next((words for event in reversed(events) if (words := tells(event))), "")
    if told:
        yield f"`{told}`"
        return
    lines = [line for line in _TERMINAL.sub("", stderr.decode("utf-8", "replace")).splitlines() if line.strip()]
    # A terminal's boxes and a stack say less than the line that names the error.
    line = next((line for line in reversed(lines) if re.search(r"\berror\b|Error:|^unknown ", line, re.IGNORECASE)), "")
    if line := line or next(reversed(lines), ""):
        yield f"stderr `{_short(line.strip())}`"


def _claude(event: Mapping[str, Any]) -> str:
    if event.get("type") != "result":
        return ""
    facts = {key: event.get(key) for key in ("is_error", "subtype", "api_error_status", "terminal_reason")}
    return "result " + " ".join(f"{key}={json.dumps(value)}" for key, value in facts.items() if value is not None)


def _app_server(event: Mapping[str, Any]) -> str:
    params = _mapping(event.get("params"))
    if event.get("method") == "error":
        again = ", will retry" if params.get("willRetry") else ""
        return _short(f"error {json.dumps(_mapping(params.get('error')).get('codexErrorInfo'))}{again}")
    if event.get("method") == "turn/completed":
        return f"turn/completed {_mapping(params.get('turn')).get('status')}"
    return _short(f"error {_mapping(event['error']).get('code')}") if "error" in event else ""


def _exec(event: Mapping[str, Any]) -> str:
    if event.get("type") in ("turn.failed", "error"):
        words = _mapping(event.get("error")).get("message") or event.get("message")
        return _short(f"{event['type']} {words}")
    return str(event["type"]) if event.get("type") == "turn.completed" else ""


def _acp(event: Mapping[str, Any]) -> str:
    if "error" in event:
        return f"error {_mapping(event['error']).get('code')}"
    reason = _mapping(event.get("result")).get("stopReason")
    return f"stopReason {reason}" if reason else ""


def _headless(event: Mapping[str, Any]) -> str:
    if event.get("type") != "result":
        return ""
    error = _mapping(event.get("error")).get("type")
    return f"result {event.get('status')}" + (f", error {error}" if error else "")


def _objects(stdout: bytes) -> Iterator[Mapping[str, Any]]:
    for line in stdout.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield cast("Mapping[str, Any]", value)


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _short(words: str) -> str:
    words = " ".join(words.split()).replace("`", "'")
    return words if len(words) <= SHOWN else f"{words[:SHOWN]}…"


_TELLS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "claude": _claude,
    "codex": _app_server,
    "codex-exec": _exec,
    "gemini": _acp,
    "acp": _acp,
    "acp-copilot": _acp,
    "gemini-old": _headless,
}
