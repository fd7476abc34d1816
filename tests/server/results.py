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


def failure(result: CallToolResult) -> dict[str, Any]:
    """The error of a failed call, which both halves of the result must tell."""
    assert result.is_error
    reply = structured(result)
    assert reply["status"] == "failed"
    error = reply["error"]
    for fact in (error["code"], error["message"], error["next_step"]):
        assert fact in texts(result)[0]
    return error
