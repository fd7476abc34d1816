"""As much HTTP/1.1 as the fake model API needs: one request a connection, answers of known or unknown length.

Every answer closes its connection, so "open connections" is the same as "requests not yet answered", and a client
that gives up is seen at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlsplit

_LARGEST_BODY = 64 * 1024 * 1024


class BadRequestError(Exception):
    """What came is not a request this server reads."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came; header names in lower case, ``body`` parsed where it is a JSON object, else None."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    raw: bytes
    body: dict[str, Any] | None

    @property
    def wants_websocket(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "websocket"


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request, or None when the client left without one.

    Raises:
        BadRequestError: not HTTP/1.1 with a body of stated length.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    start, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    try:
        method, target, _version = start.split(" ")
        headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        length = int(headers.get("content-length", "0"))
    except ValueError:
        raise BadRequestError(f"not a request: {start!r}") from None
    if "transfer-encoding" in headers or not 0 <= length <= _LARGEST_BODY:
        raise BadRequestError(f"a body needs a content-length of at most {_LARGEST_BODY} bytes")
    try:
        raw = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    url = urlsplit(target)
    return Request(method, url.path, url.query, headers, raw, _parsed(raw))


class Reply:
    """One answer going out: either :meth:`whole`, or :meth:`begin`, any number of :meth:`send`, and :meth:`end`."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def whole(
        self, status: int, body: bytes = b"", *, headers: Mapping[str, str] | None = None, with_body: bool = True
    ) -> None:
        """Send a complete answer; without its body for ``HEAD``."""
        fields = {"content-type": "application/json", **(headers or {}), "content-length": str(len(body))}
        self._writer.write(_head(status, fields) + (body if with_body else b""))
        await self._writer.drain()

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of an answer whose length is not known yet."""
        self._writer.write(_head(status, {**headers, "transfer-encoding": "chunked"}))
        await self._writer.drain()

    async def send(self, data: bytes) -> None:
        if data:  # an empty chunk would be the end
            self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writer.drain()

    async def end(self) -> None:
        """Say that this was all; without it the client sees a body that breaks off."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    reason = next((s.phrase for s in HTTPStatus if s == status), "Unknown")
    fields = {**headers, "connection": "close"}
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
