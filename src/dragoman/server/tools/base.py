"""What every tool is made of. Its words are in the context of every agent, so there are few.

A tool publishes only arguments that work, and its hints tell the truth.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from mcp_types import CallToolResult, Tool, ToolAnnotations
from pydantic import ValidationError

from dragoman.adapters.base import Profile
from dragoman.engine import Engine
from dragoman.schemas import LLMRequest
from dragoman.server.arguments import wrong
from dragoman.server.callers import ToolCall
from dragoman.server.desk import Desk

# Without it Claude Code puts an answer of over 50,000 characters into a file and shows the model its first 2,000.
WHOLE_ANSWERS: Mapping[str, Any] = {"anthropic/maxResultSizeChars": 200000}

PROVIDER_ARGUMENTS: Mapping[str, Any] = {
    "conversation_id": {"type": "string", "description": "Go on with that conversation. Default: a new one."},
    "model": {"type": "string", "description": "As this CLI names it. Default: its choice."},
    "system_prompt": {"type": "string", "description": "Instructions above the prompt."},
    "cwd": {"type": "string", "description": "Absolute path of a folder it may read; without it, none."},
    "effort": {"type": "string", "description": "How much it thinks."},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "max_tokens": {"type": "integer", "minimum": 1},
    "timeout_s": {"type": "number", "exclusiveMinimum": 0, "description": "Give up after so long."},
    "background": {"type": "boolean", "description": "Return a job_id at once, and work on without this client."},
    "idempotency_key": {"type": "string", "description": "A call with the same key runs once."},
}
"""The arguments of a question, in the order in which tools publish them. Their names are those of `LLMRequest`."""


class ServedTool(ABC):
    """A tool, or one tool for each provider."""

    takes_long: bool = False
    """Whether a call may become a task, for clients that know tasks."""

    @abstractmethod
    def listed(self) -> Sequence[Tool]:
        """What clients are told. Starts nothing."""

    def find(self, name: str) -> Tool | None:
        """The tool of this name, also one that is not listed because it cannot answer now."""
        return next((tool for tool in self.listed() if tool.name == name), None)

    @abstractmethod
    async def call(self, call: ToolCall) -> CallToolResult:
        """Do it.

        Raises:
            LLMError: it came to nothing; the caller is told.
        """


class ToolForAny(ServedTool):
    """One tool that may ask any of the providers. It is listed as long as the program of one is there."""

    takes_long = True
    name: str

    def __init__(self, engine: Engine, desk: Desk) -> None:
        self._engine = engine
        self._desk = desk

    def listed(self) -> Sequence[Tool]:
        return [self._tool()] if self._engine.providers.present() else []

    def find(self, name: str) -> Tool | None:
        return self._tool() if name == self.name else None

    @abstractmethod
    def described(self, hints: ToolAnnotations) -> Tool:
        """The tool, as clients are told of it."""

    def _tool(self) -> Tool:
        providers = self._engine.providers
        return self.described(hints(*(providers.adapters[name].profile for name in providers.present())))


def hints(*profiles: Profile) -> ToolAnnotations:
    """What a tool does that may ask these. Nobody can vouch for what a CLI leaves alone that is not held to reading."""
    reads_only = all(profile.strength.get("read-only") == "enforced" for profile in profiles)
    return ToolAnnotations(
        read_only_hint=reads_only,
        destructive_hint=not reads_only,
        open_world_hint=any(profile.billing != "local" for profile in profiles),
    )


def max_wait(default: float | str | None) -> dict[str, Any]:
    """The argument `max_wait_s`."""
    match default:
        case None:
            usual = "to the end"
        case str():
            usual = "what your client allows"
        case _:
            usual = f"{default:g}"
    return {"type": "number", "minimum": 0, "description": f"Seconds until a job_id comes instead. Default: {usual}."}


def tool(
    name: str,
    title: str,
    description: str,
    properties: Mapping[str, Any],
    annotations: ToolAnnotations,
    *,
    required: tuple[str, ...] = (),
    meta: Mapping[str, Any] | None = None,
) -> Tool:
    """A tool with a flat schema that takes no other arguments."""
    schema: dict[str, Any] = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    return Tool(
        name=name,
        title=title,
        description=description,
        input_schema=schema,
        annotations=annotations,
        _meta=None if meta is None else dict(meta),
    )


def request_of(provider: str | None, given: Mapping[str, Any], **fields: Any) -> LLMRequest:  # noqa: ANN401 - any field
    """The question that the arguments ask.

    Raises:
        LLMError: a value cannot be (code ``bad_request``).
    """
    asked = {name: given[name] for name in ("prompt", *PROVIDER_ARGUMENTS) if name in given and name != "timeout_s"}
    timeouts = {"call": given["timeout_s"]} if "timeout_s" in given else {}
    try:
        return LLMRequest.model_validate({"provider": provider, "timeouts": timeouts, **asked, **fields})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise wrong(
            f"{name}: {first['msg'].removeprefix('Value error, ')}", f"correct {name!r} and call again"
        ) from error
