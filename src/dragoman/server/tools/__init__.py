"""The tools. A new one is a module here and a line below."""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.engine import Engine
from dragoman.server.desk import Desk
from dragoman.server.tools.ask import Ask
from dragoman.server.tools.ask_many import AskMany
from dragoman.server.tools.base import ServedTool
from dragoman.server.tools.conversation import Conversations
from dragoman.server.tools.job import Jobs
from dragoman.server.tools.providers import Providers
from dragoman.server.tools.structured_query import StructuredQuery

__all__ = ["ServedTool", "served_tools"]

INSTRUCTIONS = (
    "Dragoman asks the LLM command-line tools of this machine. Each ask_… tool puts a question to one of them and "
    "returns its answer with a conversation_id: give that to go on, also with another provider; without it a call "
    "knows of nothing but its prompt. structured_query returns JSON that is valid, ask_many asks several at once. A "
    'slow answer comes back as status "running" with a job_id: collect it with `job`. A long one comes in pages: where '
    "next_page is, `job` has the rest. When a call fails, do what its "
    "next_step says. `providers` tells which ones are ready."
)


def served_tools(engine: Engine, desk: Desk) -> Sequence[ServedTool]:
    """All of them, in the order in which clients see them."""
    return (
        Ask(engine, desk),
        StructuredQuery(engine, desk),
        AskMany(engine, desk),
        Jobs(engine, desk),
        Conversations(engine),
        Providers(engine),
    )
