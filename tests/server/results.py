"""Reading tool results."""

from typing import Any, cast

from mcp_types import CallToolResult, TextContent

DONE = {"line": {"done": {"finish_reason": "stop", "model": "m"}}}


def structured(result: CallToolResult) -> dict[str, Any]:
    content: object = result.structured_content
    assert isinstance(content, dict)
    return cast("dict[str, Any]", content)


def texts(result: CallToolResult) -> list[str]:
    return [block.text for block in result.content if isinstance(block, TextContent)]


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
