"""JSON-RPC 2.0 in lines, in both directions: what we asked, what we are asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dragoman.adapters.base import Write
from dragoman.adapters.json_lines import mapping

METHOD_NOT_FOUND = -32601

Purpose = TypeVar("Purpose")


@dataclass(frozen=True)
class Reply(Generic[Purpose]):
    """The answer to a request of ours. ``error`` is None when there is a result."""

    purpose: Purpose
    result: Mapping[str, Any]
    error: Mapping[str, Any] | None


@dataclass(frozen=True)
class Asked:
    """A request of the other side's. It wants an answer, whatever it is."""

    id: object
    method: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """A notification."""

    method: str
    params: Mapping[str, Any]


class Peer(Generic[Purpose]):
    """Our side of one connection. `Purpose` is what a caller wants to know again when its answer comes."""

    def __init__(self) -> None:
        self._number = 0
        self._open: dict[int, Purpose] = {}

    def ask(self, purpose: Purpose, method: str, params: Mapping[str, Any]) -> Write:
        """A request."""
        self._number += 1
        self._open[self._number] = purpose
        return _line({"id": self._number, "method": method, "params": params})

    def tell(self, method: str, params: Mapping[str, Any]) -> Write:
        """A notification."""
        return _line({"method": method, "params": params})

    def answer(self, asked: Asked, result: Mapping[str, Any]) -> Write:
        """The answer to a request of the other side's."""
        return _line({"id": asked.id, "result": result})

    def decline(self, asked: Asked) -> Write:
        """Say that there is no such method here."""
        error = {"code": METHOD_NOT_FOUND, "message": f"Method not found: {asked.method}"}
        return _line({"id": asked.id, "error": error})

    def read(self, message: Mapping[str, Any]) -> Reply[Purpose] | Asked | Told | None:
        """What a message is; None: nothing that is for us."""
        method, number = message.get("method"), message.get("id")
        if isinstance(method, str):
            params = mapping(message.get("params"))
            return Asked(number, method, params) if "id" in message else Told(method, params)
        if isinstance(number, bool) or not isinstance(number, int) or number not in self._open:
            return None
        error = mapping(message.get("error")) if message.get("error") is not None else None
        return Reply(self._open.pop(number), mapping(message.get("result")), error)


def _line(message: Mapping[str, Any]) -> Write:
    return Write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
