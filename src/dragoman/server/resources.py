"""What clients may read without calling a tool."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError

from dragoman.schemas import ProviderStatus

if TYPE_CHECKING:
    from dragoman.engine import Engine

ALL = "dragoman://providers"
ONE = "dragoman://providers/{name}"
JSON = "application/json"


def add_resources(server: MCPServer, engine: Engine) -> None:
    """Add a page of all providers and a page of each."""

    @server.resource(
        ALL,
        name="providers",
        title="Providers",
        mime_type=JSON,
        description="Every LLM CLI Dragoman knows, and its state.",
    )
    async def providers() -> str:
        return _page([_plain(status) for status in await engine.providers.statuses()])

    @server.resource(
        ONE, name="provider", title="Provider", mime_type=JSON, description="One of them, with its version."
    )
    async def provider(name: str) -> str:
        if name not in engine.providers.adapters:
            known = ", ".join(engine.providers.adapters)
            raise ResourceNotFoundError(f"there is no provider {name!r}; choose one of: {known}")
        return _page(_plain(await engine.providers.status(name, deep=True)))


def _plain(status: ProviderStatus) -> dict[str, object]:
    return status.model_dump(mode="json", exclude_none=True)


def _page(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
