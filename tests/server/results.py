"""Reading tool results."""

from typing import Any, cast

import anyio.lowlevel
from mcp.client import Client
from mcp_types import CallToolResult, TextContent

DONE = {"line": {"done": {"finish_reason": "stop", "model": "m"}}}


def structured(result: CallToolResult) -> dict[str, Any]:
    content: object = result.structured_content
    assert isinstance(content, dict)
    return cast("dict[str, Any]", content)


def texts(result: CallToolResult) -> list[str]:
    return [block.text for block in result.content if isinstance(block, TextContent)]


async def heard(client: Client, job_id: str) -> dict[str, Any]:
    """The reply of a job so far, once its server has heard something of the answer: that its CLI has said it is not
    enough, since pipes lie between."""
    while not (so_far := structured(await client.call_tool("job", {"action": "result", "job_id": job_id})))["text"]:
        await anyio.lowlevel.checkpoint()
    return so_far


def answer(result: CallToolResult) -> list[str]:
    """The text blocks without the last note, which names the conversation as the structured part does."""
    *blocks, last = texts(result)
    *notes, named = last.splitlines()
    assert named == f"Note: conversation_id {structured(result)['conversation_id']}"
    return [*blocks, "\n".join(notes)] if notes else blocks


def failure(result: CallToolResult) -> dict[str, Any]:
    """The error of a failed call, which both halves of the result must tell."""
    assert result.is_error
    reply = structured(result)
    assert reply["status"] == "failed"
    error = reply["error"]
    for fact in (error["code"], error["message"], error["next_step"]):
        assert fact in texts(result)[0]
    return error
