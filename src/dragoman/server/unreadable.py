"""Lines of a client that are no messages. The SDK leaves them without an answer, and their client waiting."""

from __future__ import annotations

import contextvars
from contextlib import suppress
from typing import TYPE_CHECKING, Self, cast

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError
from pydantic import ValidationError

if TYPE_CHECKING:
    from types import TracebackType

    from mcp.shared._stream_protocols import ReadStream, WriteStream

Heard = SessionMessage | Exception


class Answered:
    """What a client sends, but for the lines that are no messages: those are answered here."""

    def __init__(self, read: ReadStream[Heard], write: WriteStream[SessionMessage]) -> None:
        self._read = read
        self._write = write

    @property
    def last_context(self) -> contextvars.Context | None:
        """Of whoever sent the last one, for the SDK."""
        return getattr(self._read, "last_context", None)

    async def receive(self) -> Heard:
        """The next message.

        Raises:
            anyio.EndOfStream: there is none.
        """
        while isinstance(heard := await self._read.receive(), ValidationError):
            if (answer := refusal(heard)) is not None:
                with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                    await self._write.send(SessionMessage(answer))
        return heard

    async def aclose(self) -> None:
        """Read no more."""
        await self._read.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Heard:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.aclose()


def refusal(error: ValidationError) -> JSONRPCError | None:
    """The answer to a line that is no message; none to an empty one."""
    problems = error.errors(include_url=False, include_context=False)
    if problems[0]["type"] != "json_invalid":
        found = (cast("dict[str, object]", each["input"]).get("id") for each in problems if _is_object(each["input"]))
        ident = next((each for each in found if isinstance(each, str) or type(each) is int), None)
        return _error(ident, INVALID_REQUEST, "the line is no message of JSON-RPC 2.0: send a request, or a response")
    if not str(problems[0]["input"]).strip():
        return None
    return _error(None, PARSE_ERROR, f"the line is no JSON: {problems[0]['msg'].removeprefix('Invalid JSON: ')}")


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _error(ident: str | int | None, code: int, message: str) -> JSONRPCError:
    return JSONRPCError(jsonrpc="2.0", id=ident, error=ErrorData(code=code, message=message))
