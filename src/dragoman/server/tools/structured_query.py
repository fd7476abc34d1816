"""``structured_query``: one question whose answer is JSON of a given shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_types import CallToolResult, Tool, ToolAnnotations

from dragoman.schemas import LLMRequest
from dragoman.server.callers import ToolCall
from dragoman.server.tools.base import PROVIDER_ARGUMENTS, WHOLE_ANSWERS, ToolForAny, request_of, tool

NAME = "structured_query"
_NAMES = ("conversation_id", "model", "system_prompt", "temperature", "max_tokens", "timeout_s")
_FROM_ASK = {
    name: {key: value for key, value in PROVIDER_ARGUMENTS[name].items() if key != "description"} for name in _NAMES
}
"""Their words stand in the tools for the providers, which every client that sees this tool sees too."""


class StructuredQuery(ToolForAny):
    """Any provider can be asked so."""

    name = NAME

    async def call(self, call: ToolCall) -> CallToolResult:
        return await self._desk.answer(_request(call.given), call)

    def described(self, hints: ToolAnnotations) -> Tool:
        return tool(
            NAME,
            "Structured query",
            "Ask for JSON. An answer that does not match the schema goes back to the model with its faults; `data` is "
            "valid, or the call fails. Other arguments as for ask_….",
            {
                "prompt": {"type": "string"},
                "schema": {
                    "type": "object",
                    "description": "JSON Schema, or a string like 'name, age int, tags list[str]'.",
                },
                "provider": {"type": "string", "description": "Default: the first ready."},
                **_FROM_ASK,
                "max_attempts": {"type": "integer", "minimum": 1, "maximum": 20},
                "validators": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Such as no-placeholder or regex:^ok.",
                },
                "max_wait_s": {"type": "number", "minimum": 0},
            },
            hints,
            required=("prompt", "schema"),
            meta=WHOLE_ANSWERS,
        )


def _request(given: Mapping[str, Any]) -> LLMRequest:
    """The question. What cannot be used is found before a job is made of it."""
    # Imported by the first call: whoever starts a server waits for the imports.
    from dragoman.structured import OutputSchema, validators_from

    more = {name: given[name] for name in ("max_attempts", "validators") if name in given}
    schema = OutputSchema.of(given["schema"]).as_object()
    request = request_of(given.get("provider"), given, output_schema=schema, **more)
    validators_from(request.validators or ())
    return request
