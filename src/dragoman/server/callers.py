"""Who calls a tool: how long its client waits, how much of an answer it shows, and what it calls the call."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context

from dragoman.config.settings import ServerSettings
from dragoman.engine.jobs.job import HAND_OUT_S
from dragoman.server.departures import Departure, departure_of

RequestContext = Context[Departure | None, Any]


@dataclass(frozen=True)
class Client:
    """A client as data: what it does with a call that takes long and with an answer that is large."""

    name: str
    """How the name begins by which it introduces itself, in small letters."""
    wait_s: float
    """How long a call may take. Its own limit is longer: by a tenth at least, and by more where it was only read of."""
    http_wait_s: float | None = None
    """The same over HTTP, where that is another."""
    answer_bytes: int = 40_000
    """How much of an answer it shows its model, as JSON in UTF-8."""
    firm: bool = True
    """Whether it gives up then, whoever asked for more."""
    hand_out_s: float = HAND_OUT_S
    """How much longer than `wait_s` a call may take to be handed out: its own limit is longer than both."""


LONGEST_NAME = 150
"""Of a call, in characters; a longer one is told by its hash."""

UNKNOWN = Client("", 45, firm=False)
"""What nearly every client can do: the SDKs give a call up after 60 s unless they are told otherwise."""

CLIENTS = (
    Client("claude-code", 600, http_wait_s=240, answer_bytes=190_000),
    Client("claude-ai", 180, answer_bytes=60_000),
    Client("claude-desktop", 180, answer_bytes=60_000),
    Client("codex", 240, answer_bytes=9_000),
    Client("gemini-cli", 480, answer_bytes=36_000),
    # One name for all of its hosts. In JetBrains' it waits for 30 s; its command cuts an answer at 10 kB.
    Client("github-copilot", 25, answer_bytes=9_000, hand_out_s=4),
    Client("jetbrains", 25, hand_out_s=4),
    Client("zed", 45),
)


@dataclass(frozen=True)
class Caller:
    """Whoever made one request."""

    client: Client
    max_wait_s: float | None
    """How long its calls may take before a job is handed out; None: to the end."""
    bounded: bool
    """Whether a caller who asks for more gets no more."""
    answer_bytes: int
    scope: str
    """Within it a key means one call."""
    context: RequestContext | None = None
    departure: Departure | None = None

    @cached_property
    def meta(self) -> Mapping[str, Any]:
        """What the client says about its request."""
        return (self.context and self.context.request_context.meta) or {}

    @property
    def tell(self) -> Callable[[float, None, str], Awaitable[None]] | None:
        """Tells the client how its request goes on; None: it did not ask for that."""
        return self.context.report_progress if self.context is not None and "progress_token" in self.meta else None

    def wait_s(self, asked: float | None, otherwise: float | None = None) -> float | None:
        """How long to wait for an answer, when the arguments ask for so long."""
        if asked is None:
            return self.max_wait_s if otherwise is None else otherwise
        return asked if self.max_wait_s is None or not self.bounded else min(asked, self.max_wait_s)


@dataclass(frozen=True)
class ToolCall:
    """One call of a tool, its arguments checked against the schema."""

    tool: str
    given: Mapping[str, Any]
    caller: Caller

    @property
    def key(self) -> str | None:
        """What the client calls this call, for one that it repeats; None: it has no name for it.

        Some models number their calls anew in each turn or conversation: such a name may return.
        """
        meta = self.caller.meta
        names = [meta.get(name) for name in ("claudecode/toolUseId", "callId")]
        called = next((name for name in names if isinstance(name, str) and name), None)
        if called is None:
            return None
        match meta.get("x-codex-turn-metadata"):
            case {"turn_id": str(turn)}:
                called = f"{turn}/{called}"
            case _:
                pass
        if len(called) > LONGEST_NAME:
            called = hashlib.sha256(called.encode(errors="backslashreplace")).hexdigest()
        return f"call:{called}"


class Callers:
    """Knows who calls from the context of the request."""

    def __init__(self, settings: ServerSettings, process: str) -> None:
        self._settings = settings
        self._process = process
        """Tells the one client over stdio from that of another server."""

    def of(self, context: RequestContext | None) -> Caller:
        """Whoever made this request; None: nobody who says."""
        request = context.request_context if context is not None else None
        name = client_name(request)
        client = next((known for known in CLIENTS if name.startswith(known.name)), UNKNOWN)
        over_http = request is not None and is_over_http(request)
        usual = client.http_wait_s if over_http and client.http_wait_s is not None else client.wait_s
        configured = self._settings.max_wait_s
        size = self._settings.answer_bytes
        session = session_of(request) if request is not None else None
        return Caller(
            client,
            usual if configured == "by-client" else configured,
            client.firm and configured == "by-client",
            client.answer_bytes if size == "by-client" else size,
            f"{name}/{session or self._process}",
            context,
            departure_of(request),
        )


def client_name(request: ServerRequestContext[Any, Any] | None) -> str:
    """What the client calls itself, in small letters with dashes; empty when it does not say."""
    params = request.session.client_params if request is not None else None
    return "-".join(params.client_info.name.lower().split()) if params is not None else ""


def is_over_http(request: ServerRequestContext[Any, Any]) -> bool:
    """Whether the request came over HTTP, in whichever way."""
    return request.request is not None


def session_of(request: ServerRequestContext[Any, Any]) -> str | None:
    """The name of the connection that a request belongs to; None when there is only one, or none."""
    stream = request.lifespan_context
    if isinstance(stream, Departure):
        return stream.id
    return request.request.headers.get("mcp-session-id") if request.request is not None else None
