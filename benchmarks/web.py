"""A bare MCP client over streamable HTTP: one POST a request, over one connection that is kept alive."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

Era = Literal["handshake", "2026-07-28"]

_CLIENT = {"name": "benchmark", "version": "1"}
_HANDSHAKE = "2025-06-18"
_MODERN = "2026-07-28"
_META = {
    "io.modelcontextprotocol/protocolVersion": _MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": _CLIENT,
}


class WebServer:
    """A server over HTTP in a process of its own."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self._process = subprocess.Popen(
            (*argv, "--transport", "streamable-http", "--port", "0"), env=env, cwd=cwd, stderr=subprocess.PIPE
        )
        assert self._process.stderr is not None
        told = self._process.stderr.readline().decode()
        found = re.search(r"http://([\d.]+):(\d+)(/\w+)", told)
        assert found, told
        self.host, self.port, self.path = found[1], int(found[2]), found[3]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=10)


class WebClient:
    """A client of one era."""

    def __init__(self, server: WebServer, era: Era) -> None:
        self._connection = http.client.HTTPConnection(server.host, server.port)
        self._path = server.path
        self._modern = era == _MODERN
        self._headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        self._number = 0
        if not self._modern:
            hello = {"protocolVersion": _HANDSHAKE, "capabilities": {}, "clientInfo": _CLIENT}
            self.request("initialize", hello)
            self._post({"method": "notifications/initialized"}, {})

    def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its result."""
        self._number += 1
        headers: dict[str, str] = {}
        if self._modern:
            params = {**params, "_meta": _META}
            headers = {"mcp-protocol-version": _MODERN, "mcp-method": method, "mcp-name": params.get("name", "")}
        body = self._post({"id": self._number, "method": method, "params": params}, headers)
        if not body.startswith(b"{"):
            body = next(line[6:] for line in body.splitlines() if line.startswith(b"data: {"))
        return json.loads(body)["result"]

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - what a tool takes
        """Call a tool, which must not fail."""
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        assert not result.get("isError"), result
        return result

    def _post(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
        body = json.dumps({"jsonrpc": "2.0", **message})
        self._connection.request("POST", self._path, body.encode(), {**self._headers, **headers})
        response = self._connection.getresponse()
        assert response.status in (200, 202), response.read()
        if session := response.getheader("mcp-session-id"):
            self._headers |= {"mcp-session-id": session, "mcp-protocol-version": _HANDSHAKE}
        return response.read()
