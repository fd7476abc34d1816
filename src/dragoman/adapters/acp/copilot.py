"""What GitHub's Copilot tells beside the protocol, where it takes its failures for answers.

By the protocol alone a failure is a piece of the answer, "Error: …", and then a good end; so is each retry, "Info: …",
also between the halves of an answer that is told again. To who asks for them it sends its own events, since 1.0.81, and
each before the piece of the answer that repeats it: what a model says never has one. (Measured with 1.0.102.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dragoman.adapters.acp.errors import retry_after
from dragoman.adapters.answer import Answer
from dragoman.adapters.classify import code_from_status, code_from_text
from dragoman.adapters.json_lines import mapping, parse, text, whole
from dragoman.schemas import ErrorCode, ErrorInfo, Event, Notice, Retrying

EVENT = "github.com/copilot/sessionEvent"
"""The notification."""
WISHES: Mapping[str, Any] = MappingProxyType(
    {
        "github.com/copilot": {
            "events": [
                "assistant.turn_start",
                "assistant.turn_retry",
                "model.call_failure",
                "session.error",
                "session.info",
                "session.warning",
            ]
        }
    }
)
"""What asks for the events, among the client's capabilities; who does not know it passes over it."""

_SINCE = (1, 0, 81)
_REPEATED_AS = {"session.error": "Error: ", "session.info": "Info: ", "session.warning": "Warning: "}
_BY_TYPE = {
    "authentication": ErrorCode.AUTH,
    "authorization": ErrorCode.AUTH,
    "quota": ErrorCode.QUOTA,
    "context_limit": ErrorCode.CONTEXT_LENGTH,
}
"""`rate_limit` comes with the status 429; all others are `query`, whatever happened."""
_DENIED = (
    "ask for what needs reading only, or add `--deny-tool=shell` and `--deny-tool=write` so that it goes on without"
)
_UNTOLD = "a request to its model failed"
_BY_WORDS = (
    (ErrorCode.MALFORMED_OUTPUT, r"^No response was returned"),
    (ErrorCode.NETWORK, r"stream ended without|finalize .*stream|^Could not connect"),
)


def outdated(agent: Mapping[str, Any]) -> ErrorInfo | None:
    """Why this agent, by what it says of itself, cannot be asked: its failures could not be told from answers."""
    version = re.match(r"(\d+)\.(\d+)\.(\d+)", text(agent.get("version")))
    if agent.get("name") != "Copilot" or version is None or tuple(map(int, version.groups())) >= _SINCE:
        return None
    words = f"Copilot {version[0]} tells its failures as if they were answers, and no more"
    step = f"update Copilot to {'.'.join(map(str, _SINCE))} or newer"
    return ErrorInfo.of(ErrorCode.NOT_FOUND, words, next_step=step)


@dataclass(frozen=True)
class _CallFailure:
    """A request to the model that failed."""

    words: str
    status: int | None
    attempt: int
    code: ErrorCode

    @property
    def sat_through(self) -> int | None:
        """So many of a kind are left to its own retries; None: all, it ends them itself and soon.

        It would wait for half a minute and more; after a 429 longer each time, or as long as the API said, five times.
        """
        if self.code is ErrorCode.QUOTA:
            return 0
        if self.status == 429:
            return 1
        return 2 if self.status is None or self.status >= 500 else None


class Beside:
    """What Copilot tells of one turn. Any other agent tells nothing here."""

    def __init__(self, name: str, answer: Answer) -> None:
        self._name = name
        self._answer = answer
        self._call: _CallFailure | None = None
        self._repeated_as: str | None = None
        self.failure: ErrorInfo | None = None
        """Why the turn failed, if nothing more comes of it."""
        self.is_hopeless = False
        """It would go on trying for longer than anybody waits."""

    def hear(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """One of its events. What one says that is too large for it comes in the answer's piece."""
        data, kind = mapping(event.get("data")), text(event.get("type"))
        message = text(data.get("message"))
        if kind in _REPEATED_AS:
            self._repeated_as = _REPEATED_AS[kind] + message
        if event.get("agentId"):
            return  # a helper of its own: that one failed is for the agent to judge
        match kind:
            case "assistant.turn_start":
                self._answer.mark()
                self._call = None
            case "model.call_failure" if "omitted" not in data:
                yield from self._call_failed(_call_failure(data))
            case "assistant.turn_retry":
                self._answer.take_back()
                if self._call is None:
                    yield Retrying(attempt=1, cause=text(data.get("reason")) or _UNTOLD)
                elif self._call.sat_through is None:
                    yield Retrying(attempt=self._call.attempt, cause=self._call.words)
            case "session.error":
                self.failure = self._explain(data, message)
            case "session.warning" if message:
                yield Notice(message=message)
            case "session.info" if data.get("infoType") == "cancellation":
                words = f"{self._name} ended the turn, since something that it asked permission for was denied"
                self.failure = ErrorInfo.of(ErrorCode.POLICY, words, next_step=_DENIED)
            case "session.info" if message and data.get("infoType") != "model_retry":
                yield Notice(message=message)
            case _:
                pass

    def repeats(self, piece: str) -> bool:
        """Whether a piece is no part of the answer. An answer after a failure is one all the same."""
        said, self._repeated_as = self._repeated_as, None
        if said is not None and piece.startswith(said):
            if self.failure is not None and said == _REPEATED_AS["session.error"]:
                self.failure = self._explain({}, piece.removeprefix(said))
            return True
        self.failure = None
        return False

    def _call_failed(self, failed: _CallFailure) -> Iterator[Event]:
        self._call = failed
        if failed.sat_through is None:
            return
        if failed.attempt > failed.sat_through:
            self.failure, self.is_hopeless = self._info(failed.code, failed.words), True
        else:
            yield Retrying(attempt=failed.attempt, cause=failed.words)

    def _explain(self, data: Mapping[str, Any], message: str) -> ErrorInfo:
        status, call = whole(data.get("statusCode")), self._call
        by_words = (each for each, words in _BY_WORDS if re.search(words, message))
        code = _BY_TYPE.get(text(data.get("errorType"))) or next(by_words, None)
        if code is None and call is not None and status in (call.status, None):
            code = call.code
        elif code is None:
            code = code_from_text(message, ErrorCode.INTERNAL) if status is None else code_from_status(status, message)
        return self._info(code, message)

    def _info(self, code: ErrorCode, words: str) -> ErrorInfo:
        step = f"log in to {self._name} with its own command" if code is ErrorCode.AUTH else None
        words = words or f"{self._name} failed without saying why"
        return ErrorInfo.of(code, words, next_step=step, retry_after_s=retry_after(words))


def _call_failure(data: Mapping[str, Any]) -> _CallFailure:
    # What the API said stands there as JSON: its error, or the words.
    raw = text(data.get("errorMessage"))
    body = parse(b'{"said": ' + raw.encode("utf-8", "replace") + b"}").get("said")
    said = text(body) or text(mapping(body).get("message")) or raw
    status = whole(data.get("statusCode"))
    names = " ".join(filter(None, (text(data.get("errorCode")), text(data.get("errorType")))))
    if status is not None:
        code = code_from_status(status, f"{names} {said}")
    else:
        broken_off = data.get("failureKind") == "transport"
        code = code_from_text(f"{names} {said}", ErrorCode.NETWORK if broken_off else ErrorCode.OVERLOADED)
    words = f"HTTP {status}: {said}" if status is not None and said else said or names
    return _CallFailure(words or _UNTOLD, status, (whole(data.get("retryAttempt")) or 0) + 1, code)
