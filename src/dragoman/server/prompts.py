"""Prompts that a person may choose in their client: what their agent is told to do with the tools."""

from __future__ import annotations

from typing import Annotated

from mcp.server import MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS
from pydantic import Field

from dragoman.engine import Engine

PROVIDER_ARGUMENTS = ("provider", "first", "second")
"""The arguments of prompts that are a provider's name."""

Provider = Annotated[str, Field(description="Who is asked. Default: the first that is there.")]


def add_prompts(server: MCPServer, engine: Engine) -> None:
    """Add the prompts. Getting one asks nobody anything."""

    def chosen(*names: str) -> list[str]:
        """A provider for each, those that are left open being different ones where there are enough."""
        present = engine.providers.present()
        for name in filter(None, names):
            if name not in present:
                raise invalid(f"there is no provider {name!r} here; choose one of: {', '.join(present) or 'none'}")
        left = [name for name in present if name not in names] or list(present)
        if not left:
            raise invalid("no LLM CLI is installed; the tool `providers` says how to install one")
        return [name or (left.pop(0) if len(left) > 1 else left[0]) for name in names]

    @server.prompt(
        name="second_opinion",
        title="Second opinion",
        description="Ask another model the same and compare.",
    )
    async def second_opinion(
        question: Annotated[str, Field(description="What is to be judged.")], provider: Provider = ""
    ) -> str:
        (name,) = chosen(provider)
        return (
            f"I want a second opinion on this:\n\n{question}\n\n"
            f"First answer it yourself, in short. Then ask `ask_{name}` the same: it knows nothing of our talk, so "
            "give it all it needs, and not your own answer. If it is still running, collect it with `job`. Then tell "
            "me where you two agree, where you differ, who is right there and why."
        )

    @server.prompt(name="code_review", title="Code review", description="Have another model review code in a folder.")
    async def code_review(
        folder: Annotated[str, Field(description="Absolute path of the folder.")],
        focus: Annotated[str, Field(description="What to look at, such as a diff or a question.")] = "",
        provider: Provider = "",
    ) -> str:
        (name,) = chosen(provider)
        reads = engine.providers.adapters[name].profile.reads_folder
        how = (
            f"call `ask_{name}` with cwd {folder!r}"
            if reads
            else f"call `ask_{name}`; it sees no files, so put the code of {folder!r} that matters into the prompt"
        )
        return (
            f"Have the code in {folder} reviewed by another model: {how}. "
            f"{f'It is about this: {focus}. ' if focus else ''}"
            "Ask for faults first (wrong results, races, security, lost data), each with file, line and how it shows, "
            "then for what could be simpler. If it is still running, collect it with `job`. Check every finding "
            "yourself in the code before you report it to me, and say which ones you could not confirm."
        )

    @server.prompt(name="debate", title="Debate", description="Have two models argue, and judge.")
    async def debate(
        topic: Annotated[str, Field(description="What they argue about.")],
        first: Annotated[str, Field(description="Who argues for it.")] = "",
        second: Annotated[str, Field(description="Who argues against it.")] = "",
    ) -> str:
        one, other = chosen(first, second)
        return (
            f"Hold a debate about this:\n\n{topic}\n\n"
            f"`ask_{one}` argues for it, `ask_{other}` against it, each in a conversation of its own: let each state "
            "its case without the other's, then give each the other's words and its own conversation_id and let it "
            "answer, twice. If one is still running, collect it with `job`. Then judge: which arguments stood, which "
            "fell, and what you would do."
        )


def invalid(message: str) -> MCPError:
    """The error of a prompt that cannot be had so."""
    return MCPError(code=INVALID_PARAMS, message=message)
