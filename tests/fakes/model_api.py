"""A fake of four model APIs on one loopback port: Anthropic messages, OpenAI responses and chat completions, Gemini.

``async with model_api(answer("Paris")) as api:`` serves until the block ends; real CLIs are pointed at ``api.url``.
The test chooses the behaviour as data (`tests.fakes.scenario`) and reads what was asked from ``api.requests``.
By hand: ``python -m tests.fakes.model_api --port 8901 --answer Paris``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import anyio

from tests.fakes.dialects import Dialect, dialect_of
from tests.fakes.http1 import BadRequestError, Reply, Request, read_request
from tests.fakes.scenario import Ending, Scenario, answer, hang, status

_PATIENCE = 120.0
"""Ends a wait in vain. A CLI may take half a minute to start on a bad day."""


class ModelAPI:
    """A running server: what it does next, and what it has seen.

    Attributes:
        url: its address, without ``/v1``.
        requests: every request in order, also those that ask no model (``HEAD /``, ``GET /v1/models``).
        open: connections that are open now; each carries one request.
        also: what else it answers, by path: objects that are sent as JSON.
    """

    def __init__(self, url: str, scenario: Scenario) -> None:
        self.url = url
        self.requests: list[Request] = []
        self.open = 0
        self.also: dict[str, object] = {}
        self._play = [scenario]
        self._changed = asyncio.Event()

    @property
    def scenario(self) -> Scenario:
        """What the next question gets. Setting it ends a sequence begun by :meth:`play`."""
        return self._play[0]

    @scenario.setter
    def scenario(self, scenario: Scenario) -> None:
        self._play = [scenario]

    def play(self, *scenarios: Scenario) -> None:
        """Give each question the next of these; the last one stays.

        Raises:
            ValueError: none given.
        """
        if not scenarios:
            raise ValueError("play() needs at least one scenario")
        self._play = list(scenarios)

    @property
    def questions(self) -> list[Request]:
        """The requests that asked a model."""
        return [request for request in self.requests if dialect_of(request) is not None]

    async def wait_requests(self, count: int) -> None:
        """Wait, however long, until so many requests of any kind have come."""
        while len(self.requests) < count:
            await self._changed.wait()

    async def wait_questions(self, count: int = 1) -> None:
        """Wait until so many questions have come.

        Raises:
            TimeoutError: they did not come within two minutes.
        """
        await self._until(lambda: len(self.questions) >= count)

    async def wait_idle(self) -> None:
        """Wait until no connection is open.

        Raises:
            TimeoutError: one was still open after two minutes.
        """
        await self._until(lambda: self.open == 0)

    async def _until(self, reached: Callable[[], bool]) -> None:
        with anyio.fail_after(_PATIENCE):
            while not reached():
                await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its request to its end."""
        self.open += 1
        self._tell()
        try:
            with contextlib.suppress(ConnectionError):
                await self._exchange(reader, Reply(writer))
        except asyncio.CancelledError:
            writer.transport.abort()  # a client that does not read must not hold up the end of the server
            raise
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self.open -= 1
            self._tell()

    async def _exchange(self, reader: asyncio.StreamReader, reply: Reply) -> None:
        try:
            request = await read_request(reader)
        except BadRequestError as error:
            await reply.whole(400, _json({"error": {"message": str(error)}}))
            return
        if request is None:
            return
        self.requests.append(request)
        self._tell()
        await _while_connected(reader, self._respond(request, reply))

    async def _respond(self, request: Request, reply: Reply) -> None:
        dialect = dialect_of(request)
        if dialect is not None:
            await _answer(request, dialect, self._next(), reply)
        elif request.wants_websocket:
            # The status on which codex falls back to plain HTTPS at once; any other is retried.
            await reply.whole(426, _json({"error": {"message": "no WebSocket here"}}))
        elif request.path in self.also:
            await reply.whole(200, _json(self.also[request.path]))
        elif request.path == "/v1/models":
            await reply.whole(200, _json({"object": "list", "data": [], "models": []}))
        elif request.path == "/":
            await reply.whole(200, with_body=request.method != "HEAD")
        else:
            await reply.whole(404, _json({"error": {"message": f"nothing at {request.path!r}"}}))

    def _next(self) -> Scenario:
        return self._play.pop(0) if len(self._play) > 1 else self._play[0]


@asynccontextmanager
async def model_api(scenario: Scenario | None = None, *, port: int = 0) -> AsyncGenerator[ModelAPI]:
    """Serve on 127.0.0.1 while the block runs; a scenario not given answers "Paris". asyncio only."""
    listener = socket.create_server(("127.0.0.1", port))
    api = ModelAPI(_url(listener), scenario or answer("Paris"))
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        task.add_done_callback(connections.discard)
        await api.serve(reader, writer)

    server = await asyncio.start_server(connected, sock=listener)
    try:
        yield api
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def refused_url() -> str:
    """An address on loopback that nobody listens on as long as this process lives."""
    return _url(_refusing())


@cache
def _refusing() -> socket.socket:
    bound = socket.socket()
    # As it does not listen it refuses, and nobody else is given its port meanwhile.
    bound.bind(("127.0.0.1", 0))
    return bound


async def _answer(request: Request, dialect: Dialect, scenario: Scenario, reply: Reply) -> None:
    if scenario.mute:
        await _silence()
    if scenario.status != 200:
        body = scenario.body() if callable(scenario.body) else scenario.body
        body = dialect.error(scenario) if body is None else body
        await reply.whole(scenario.status, _json(body), headers=scenario.headers)
    elif isinstance(scenario.body, bytes):
        await reply.whole(200, scenario.body, headers={"content-type": "text/html", **scenario.headers})
    elif not dialect.streams(request):
        await _send_whole(request, dialect, scenario, reply)
    else:
        await _send_stream(request, dialect, scenario, reply)


async def _send_whole(request: Request, dialect: Dialect, scenario: Scenario, reply: Reply) -> None:
    for _ in scenario.chunks:
        await scenario.pass_gate()
    if scenario.ending is Ending.FAILED:
        await reply.whole(500, _json(dialect.error(scenario)), headers=scenario.headers)
        return
    body = _json(dialect.whole(request, scenario))
    if scenario.ending in _BROKEN:
        await reply.begin(200, {"content-type": "application/json"})
        await reply.send(body[: len(body) // 2])
        await _break_off(scenario.ending, reply)
    else:
        await reply.whole(200, body, headers=scenario.headers)


async def _send_stream(request: Request, dialect: Dialect, scenario: Scenario, reply: Reply) -> None:
    await reply.begin(200, {"content-type": "text/event-stream", **scenario.headers})
    await reply.send(dialect.opening(request, scenario))
    for text in scenario.chunks:
        await scenario.pass_gate()
        await reply.send(dialect.chunk(request, text, scenario))
    if scenario.ending in _BROKEN:
        await _break_off(scenario.ending, reply)
    else:
        failed = scenario.ending is Ending.FAILED
        await reply.send(dialect.failure(scenario) if failed else dialect.closing(request, scenario))
        await reply.end()


_BROKEN = (Ending.SILENCE, Ending.CUT, Ending.UNFINISHED)


async def _break_off(ending: Ending, reply: Reply) -> None:
    if ending is Ending.SILENCE:
        await _silence()
    if ending is Ending.UNFINISHED:
        await reply.end()


async def _silence() -> None:
    await asyncio.get_running_loop().create_future()


async def _while_connected(reader: asyncio.StreamReader, work: Coroutine[Any, Any, None]) -> None:
    """Run the work, but end it when the client leaves: with one request a connection, nothing else can be read."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, leaving):
            task.cancel()
        results = await asyncio.gather(working, leaving, return_exceptions=True)
    if isinstance(results[0], Exception):
        raise results[0]


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


async def _serve_by_hand(port: int, scenario: Scenario) -> None:
    async with model_api(scenario, port=port) as api:
        print(api.url, flush=True)
        for seen in itertools.count():
            await api.wait_requests(seen + 1)
            request = api.requests[seen]
            print(request.method, request.path, request.raw.decode(errors="replace"), flush=True)


def main() -> None:
    """Serve one scenario until interrupted; print the address, then every request."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.model_api", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--answer", default="Paris", metavar="TEXT", help="answer word by word (default: %(default)s)")
    chosen.add_argument("--status", type=int, metavar="CODE", help="fail with this HTTP status")
    chosen.add_argument("--hang", action="store_true", help="take requests and say nothing")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="before every word")
    options = parser.parse_args()
    words = re.findall(r"\S+\s*|\s+", options.answer)
    spoken = answer(options.answer, chunks=words, delay=options.delay)
    scenario = hang() if options.hang else status(options.status) if options.status else spoken
    with contextlib.suppress(KeyboardInterrupt):
        anyio.run(_serve_by_hand, options.port, scenario)


if __name__ == "__main__":
    main()
