"""Replies as tool results. Some clients show the model only the structured part, others only the text: each has it all.

There is no output schema: clients hide it from the model, and it would double the tool list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp_types import CallToolResult, ResourceLink, TextContent

from dragoman.schemas import ErrorInfo, LLMResponse, ProviderStatus
from dragoman.server.pages import page_uri, paged


def reply_result(reply: LLMResponse) -> CallToolResult:
    """A call's reply. The first text block of an answer is the answer and nothing else."""
    match reply.status:
        case "completed":
            texts = [reply.text, *_remarks(reply)]
        case "running":
            texts = [*reply.notices, *([f"So far:\n{reply.text}"] if reply.text else [])]
        case _:
            texts = [_failure(reply)]
            if reply.text:
                texts.append(f"Received before that:\n{reply.text}")
            texts += _remarks(reply)
    result = _result(texts, reply.public(), is_error=reply.status not in ("completed", "running", "cancelled"))
    if reply.next_page is not None and reply.job_id is not None:
        result.content.extend(_link(reply.job_id, reply.next_page))
    return result


def error_result(error: ErrorInfo, answer_bytes: int) -> CallToolResult:
    """A call that came to nothing before it began."""
    return reply_result(paged(LLMResponse(status="failed", finish_reason="error", error=error), 1, answer_bytes))


def providers_result(statuses: Sequence[ProviderStatus]) -> CallToolResult:
    """Who can be asked, a line for each."""
    found = [status.model_dump(mode="json", exclude_none=True) for status in statuses]
    return _result(["\n".join(map(_provider_line, statuses)) or "There are no providers."], {"providers": found})


def lines_result(lines: Sequence[str], structured: dict[str, Any]) -> CallToolResult:
    """What is no reply of a provider: the same in lines and as data."""
    return _result(["\n".join(lines)], structured)


def _result(texts: Sequence[str], structured: dict[str, Any], *, is_error: bool = False) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=text) for text in texts],
        structured_content=structured,
        is_error=is_error,
    )


def _remarks(reply: LLMResponse) -> list[str]:
    """What a reader of the text alone must be told beside the answer."""
    remarks = list(reply.notices)
    if reply.finish_reason == "max_tokens":
        remarks.append("the answer was cut at the provider's limit of tokens")
    if reply.conversation_id is not None:
        remarks.append(f"conversation_id {reply.conversation_id}")
    return ["\n".join(f"Note: {remark}" for remark in remarks)] if remarks else []


def _link(job_id: str, page: int) -> list[TextContent | ResourceLink]:
    """How to read on."""
    note = (
        f'Note: this is not all. Page {page}: the tool `job` with action "result", job_id "{job_id}" and page {page}.'
    )
    link = ResourceLink(
        type="resource_link", uri=page_uri(job_id, page), name=f"page {page} of the answer", mime_type="text/plain"
    )
    return [TextContent(type="text", text=note), link]


def _failure(reply: LLMResponse) -> str:
    error = reply.error
    if error is None:
        return reply.status
    whose = f"{reply.provider} " if reply.provider else ""
    lines = [f"{whose}{reply.status}: {error.code.value}: {error.message}"]
    if error.next_step:
        lines.append(f"Next step: {error.next_step}")
    if error.retry_after_s is not None:
        lines.append(f"Try again in {error.retry_after_s:g} s.")
    return "\n".join(lines)


def _provider_line(status: ProviderStatus) -> str:
    facts = (
        status.version,
        f"over {status.transport}" if status.transport else None,
        {True: "logged in", False: "not logged in", None: None}[status.logged_in],
        None if status.needs_login else "needs no login",
        status.reason,
        f"next step: {status.next_step}" if status.next_step else None,
        f"access: {status.access}" if status.access else None,
        f"capabilities: {', '.join(status.capabilities)}" if status.capabilities else None,
    )
    return "; ".join((f"{status.name}: {status.state}", *filter(None, facts)))
