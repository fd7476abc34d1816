"""Serving many clients over HTTP: streamable HTTP at `/mcp`, or the SSE transport that came before it at `/sse`.

A request of either era of MCP is served on both. The server stops in the order: engine (every child, and with it every
call that is answered yet), open requests, connections.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import anyio
import uvicorn
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dragoman import __version__
from dragoman.adapters.base import Adapter
from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.server.departures import Departures
from dragoman.server.listening import listen, url_of
from dragoman.server.server import DragomanServer
from dragoman.server.stopping import ServerStopped, Stop

PATHS: Mapping[str, str] = {"streamable-http": "/mcp", "sse": "/sse"}
HEALTH = "/health"
LEAVE_S = 3.0
"""After a signal the process ends so soon, whatever is left to do."""
ANSWER_S = 0.5
"""How long requests may take to end once their calls have."""
CLOSE_S = 0.5
"""How long connections may take to close, and then to break."""
JSON_BYTES = 6
"""The most bytes that JSON spends on one byte of a text."""
FRAME_BYTES = 1 << 20
"""For all of a request but its prompt."""


async def serve_http(
    configuration: Configuration,
    ready: Callable[[str], None] | None = None,
    *,
    adapters: Mapping[str, Adapter] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    store_file: Path | None = None,
) -> int:
    """Serve until a signal to stop comes; the exit code. `ready` is told the URL when clients can connect.

    Runs inside an event loop of asyncio. The further arguments are those of `Engine`.

    Raises:
        ListenError: the address cannot be listened on.
    """
    settings = configuration.server
    with listen(settings.host, settings.port) as listener:
        engine = Engine(configuration, adapters=adapters, environ=environ, folder=folder, store_file=store_file)
        stop = Stop(engine, LEAVE_S)
        with stop.on_signals():
            await serve(engine, listener, stop.wanted, ready)
    return stop.exit_code


async def serve(
    engine: Engine, listener: socket.socket, stop: anyio.Event, ready: Callable[[str], None] | None = None
) -> None:
    """Open the engine and serve on a socket that listens, until `stop` is set."""
    transport = engine.configuration.server.transport
    if transport == "stdio":
        raise ValueError("the transport stdio needs no socket")
    server = DragomanServer(engine)
    web = _WebServer(application(server, transport, engine.configuration.limits.prompt_bytes))
    async with anyio.create_task_group() as tasks:
        with suppress(ServerStopped):
            async with engine:
                await tasks.start(web.serve_on, listener)
                tasks.start_soon(server.watch)
                if ready is not None:
                    ready(url_of(listener) + PATHS[transport])
                await stop.wait()
                web.should_exit = True
                raise ServerStopped
        await web.close()
        tasks.cancel_scope.cancel()


def application(server: DragomanServer, transport: Literal["sse", "streamable-http"], prompt_bytes: int) -> ASGIApp:
    """The server as an ASGI application for clients on this machine."""
    server.custom_route(HEALTH, methods=["GET"])(_health)
    most = JSON_BYTES * prompt_bytes + FRAME_BYTES
    if transport == "sse":
        logging.getLogger("mcp.server.sse").addFilter(_is_no_clients_mistake)
        app = server.sse_app(sse_path=PATHS[transport], max_request_body_size=most)
    else:
        app = server.streamable_http_app(streamable_http_path=PATHS[transport], max_request_body_size=most)
    _explain_other_paths(app, PATHS[transport])
    return _ThisMachineOnly(Departures(app))


def _is_no_clients_mistake(record: logging.LogRecord) -> bool:
    # A body that is no message is answered with 400. The SDK logs it as a fault of ours as well, with a traceback.
    return record.exc_info is None


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok", "version": __version__})


def _explain_other_paths(app: Starlette, path: str) -> None:
    async def not_found(request: Request, _: Exception) -> Response:
        there = f"this server has MCP at {path}, and {HEALTH}"
        others = [f"`--transport {name}` has {other}" for name, other in PATHS.items() if other != path]
        return JSONResponse({"error": f"there is no {request.url.path}", "next_step": "; ".join([there, *others])}, 404)

    app.add_exception_handler(404, not_found)


class _ThisMachineOnly:
    """Refuses what a web page may have sent: the name of another host, or another origin than a page of this machine.

    The SDK checks the same, but not on every path, and over SSE only after it began to answer.
    """

    _NAMES = ("127.0.0.1", "localhost", "[::1]")
    _REASONS: Mapping[int, tuple[str, str]] = {
        421: ("the request names another host than this machine", f"call it by one of: {', '.join(_NAMES)}"),
        403: ("the request comes from a web page of another machine", "call it from a program or a page of this one"),
    }

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._check = TransportSecurityMiddleware(
            TransportSecuritySettings(
                allowed_hosts=[*self._NAMES, *(f"{name}:*" for name in self._NAMES)],
                allowed_origins=[f"http://{name}{port}" for name in self._NAMES for port in ("", ":*")],
            )
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refused := await self._check.validate_request(Request(scope))):
            error, next_step = self._REASONS[refused.status_code]
            answer = JSONResponse({"error": error, "next_step": next_step}, refused.status_code)
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class _WebServer(uvicorn.Server):
    """Signals are not its business, and its connections can be closed."""

    def __init__(self, app: ASGIApp) -> None:
        # Nothing chosen by what happens to be installed: h11 is what the tests run.
        super().__init__(
            uvicorn.Config(
                app, http="h11", ws="none", log_config=None, access_log=False, server_header=False, proxy_headers=False
            )
        )
        self._ended = anyio.Event()

    async def serve_on(self, listener: socket.socket, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        self._starting = task_status
        try:
            await self.serve([listener])
        finally:
            self._ended.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._starting.started()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def close(self) -> None:
        """Let open requests end, then close the streams that stand open and connections that are kept alive."""
        self.should_exit = True
        with anyio.move_on_after(ANSWER_S):
            await self._ended.wait()
            return
        for connection in list(self.server_state.connections):
            connection.transport.close()
        with anyio.move_on_after(CLOSE_S):
            await self._ended.wait()
            return
        for connection in list(self.server_state.connections):
            # Its client does not read, and what it was sent would be waited for.
            connection.transport.abort()
        with anyio.move_on_after(CLOSE_S):
            await self._ended.wait()
