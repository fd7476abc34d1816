"""The server as a process of its own, spoken to in lines of JSON, so that nothing hides what it writes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

SERVE = (sys.executable, "-m", "dragoman", "serve")
LINE_BYTES = 1 << 20

Message = dict[str, Any]


class Wire:
    """One connection. `received` has every message the server wrote."""

    def __init__(self, process: Process, mode: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.received: list[Message] = []
        self._mode = mode
        self._stdin = process.stdin
        self._stdout = BufferedByteReceiveStream(process.stdout)
        self._number = 0

    async def open(self) -> Message:
        """The first exchange of the era; the server's answer."""
        client = {"name": "test", "version": "1"}
        if self._mode == "legacy":
            hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
            answer = await self.request("initialize", hello)
            await self._send({"method": "notifications/initialized"})
            return answer
        return await self.request("server/discover", {})

    async def ask(self, method: str, params: Message) -> int:
        """Send a request and do not wait; its id."""
        self._number += 1
        if self._mode == "auto":
            meta: Message = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            params = {**params, "_meta": {**meta, **params.get("_meta", {})}}
        await self._send({"id": self._number, "method": method, "params": params})
        return self._number

    async def request(self, method: str, params: Message) -> Message:
        """Send a request and wait for its result."""
        return await self.answer(await self.ask(method, params))

    async def call(self, tool: str, **arguments: Any) -> Message:  # noqa: ANN401 - JSON
        """Call a tool and wait for its result."""
        return await self.request("tools/call", {"name": tool, "arguments": arguments})

    async def start(self, tool: str, **arguments: Any) -> int:  # noqa: ANN401 - JSON
        """Call a tool and do not wait."""
        return await self.ask("tools/call", {"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}})

    async def answer(self, number: int) -> Message:
        """Wait for the result of a request."""
        while True:
            message = await self.receive()
            if message.get("id") == number:
                return message["result"]

    async def cancel(self, number: int) -> None:
        """Tell the server that nobody waits for a request any more."""
        await self._send({"method": "notifications/cancelled", "params": {"requestId": number}})

    async def close_stdin(self) -> None:
        """Leave, as a client does."""
        await self._stdin.aclose()

    def signal(self, number: signal.Signals) -> None:
        """Send the server a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the end; the exit code. All that was still written is received."""
        while True:
            try:
                await self.receive()
            except anyio.EndOfStream:
                break
        return await self.process.wait()

    async def _send(self, message: Message) -> None:
        await self._stdin.send(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def receive(self) -> Message:
        """The next message, whatever it is."""
        try:
            line = await self._stdout.receive_until(b"\n", LINE_BYTES)
        except anyio.IncompleteRead:
            assert self._stdout.buffer == b""
            raise anyio.EndOfStream from None
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        self.received.append(message)
        return message


@asynccontextmanager
async def served(
    folder: Path, variables: Mapping[str, str], mode: str, argv: tuple[str, ...] = SERVE
) -> AsyncGenerator[Wire]:
    """A server that runs in `folder` with nothing but these variables; killed if it is still there at the end."""
    with (folder / "stderr").open("wb") as stderr:
        process = await anyio.open_process(argv, cwd=folder, env=variables, stderr=stderr, stdin=subprocess.PIPE)
        try:
            yield Wire(process, mode)
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.aclose()
