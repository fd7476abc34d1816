"""What a client may offer while a person types an argument of a prompt or a resource."""

from __future__ import annotations

from mcp.server import MCPServer
from mcp_types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)

from dragoman.engine import Engine
from dragoman.server.prompts import PROVIDER_ARGUMENTS

MOST = 100
"""The protocol's limit."""
LOOKED_AT = 1000


def add_completions(server: MCPServer, engine: Engine) -> None:
    """Complete the names of providers, and the ids of conversations and jobs."""

    async def values(ref: PromptReference | ResourceTemplateReference, argument: str) -> list[str]:
        if isinstance(ref, PromptReference):
            return list(engine.providers.present()) if argument in PROVIDER_ARGUMENTS else []
        match argument:
            case "name":
                return list(engine.providers.adapters)
            case "conversation_id":
                return [each.conversation_id for each in await engine.conversations.list(limit=LOOKED_AT)]
            case "job_id":
                return [each.job_id for each in await engine.jobs.listed(LOOKED_AT)]
            case _:
                return []

    @server.completion()
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        _: CompletionContext | None,
    ) -> Completion:
        fitting = [value for value in await values(ref, argument.name) if value.startswith(argument.value)]
        return Completion(values=fitting[:MOST], total=len(fitting), has_more=len(fitting) > MOST)
