"""A client over HTTP that hides nothing: it can drop its connection in the middle, as a machine that sleeps does."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import httpx2

Message = dict[str, Any]

MODERN = "2026-07-28"
LEGACY = "2025-06-18"
CLIENT = {"name": "test", "version": "1"}
PATIENCE_S = 120
"""Ends a wait in vain."""


class Web:
    """One client of one server. Leaving it drops what is open and says no goodbye."""

    def __init__(self, url: str, mode: str) -> None:
        self._url = url
        self._modern = mode == "auto"
        self._http = httpx2.AsyncClient(timeout=PATIENCE_S)
        self._headers = {"accept": "application/json, text/event-stream"}
        self._number = 0
        self._stack = AsyncExitStack()
        self._stream: AsyncIterator[tuple[str, str]] | None = None

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._http)
        if self._url.endswith("/sse"):
            response = await self._stack.enter_async_context(self._http.stream("GET", self._url))
            self._stream = events(response)
            kind, endpoint = await anext(self._stream)
            assert kind == "endpoint"
            self._url = urljoin(self._url, endpoint)
        if not self._modern:
            hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT}
            async with self.request("initialize", hello) as messages:
                assert "result" in await anext(messages)
            await self.notify("notifications/initialized", {})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def request(self, method: str, params: Message) -> AsyncGenerator[AsyncGenerator[Message]]:
        """What the server writes, the answer last. Leaving it early drops the connection, unless that is for all."""
        self._number += 1
        headers = dict(self._headers)
        if self._modern:
            name = params.get("taskId", params.get("name", ""))
            headers |= {"mcp-protocol-version": MODERN, "mcp-method": method, "mcp-name": name}
            meta = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": CLIENT,
            }
            params = {**params, "_meta": {**meta, **params.get("_meta", {})}}
        message = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        async with self._http.stream("POST", self._url, json=message, headers=headers) as response:
            if self._stream is not None:
                assert response.status_code == 202
                yield read(self._stream, self._number)
                return
            # Some errors of the protocol have a status of their own, and are told in the body all the same.
            assert response.status_code in (200, 400, 404), await response.aread()
            if session := response.headers.get("mcp-session-id"):
                self._headers |= {"mcp-session-id": session, "mcp-protocol-version": LEGACY}
            if response.headers["content-type"].startswith("application/json"):
                yield once(json.loads(await response.aread()))
            else:
                yield read(events(response), self._number)

    @asynccontextmanager
    async def asking(self, tool: str, **arguments: Any) -> AsyncGenerator[AsyncGenerator[Message]]:  # noqa: ANN401 - JSON
        """A call of a tool, with progress."""
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}}
        async with self.request("tools/call", params) as messages:
            yield messages

    async def call(self, tool: str, **arguments: Any) -> Message:  # noqa: ANN401 - JSON
        """The result of a call."""
        async with self.asking(tool, **arguments) as messages:
            return [message async for message in messages][-1]["result"]

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """The stream of the handshake era for what the server says unasked."""
        async with self._http.stream("GET", self._url, headers=self._headers) as response:
            assert response.status_code == 200
            yield

    async def cancel_last(self) -> None:
        """Tell the server that nobody waits for the last request any more."""
        await self.notify("notifications/cancelled", {"requestId": self._number})

    async def leave(self) -> None:
        """End the session of the handshake era."""
        response = await self._http.delete(self._url, headers=self._headers)
        assert response.status_code == 200

    async def post(self, body: bytes) -> tuple[int, str]:
        """Send these bytes as a message; the status and what comes with it."""
        modern = {"mcp-protocol-version": MODERN, "mcp-method": "ping"} if self._modern else {}
        headers = {**self._headers, **modern, "content-type": "application/json"}
        response = await self._http.post(self._url, content=body, headers=headers)
        return response.status_code, response.text

    async def notify(self, method: str, params: Message) -> None:
        """Send a notification."""
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        response = await self._http.post(self._url, json=message, headers=self._headers)
        assert response.status_code == 202


async def events(response: httpx2.Response) -> AsyncGenerator[tuple[str, str]]:
    """The kind and the data of every event."""
    kind = ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data" and value:
            yield kind, value


async def read(stream: AsyncIterator[tuple[str, str]], number: int) -> AsyncGenerator[Message]:
    """The messages of a stream up to the answer to this request."""
    async for _, data in stream:
        message = json.loads(data)
        yield message
        if message.get("id") == number:
            return


async def once(message: Message) -> AsyncGenerator[Message]:
    """An answer that came as a whole."""
    yield message
