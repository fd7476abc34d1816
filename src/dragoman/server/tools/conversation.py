"""``conversation``: what was said, and what is to become of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anyio import to_thread
from mcp_types import CallToolResult, Tool, ToolAnnotations

from dragoman.engine import Engine
from dragoman.engine.attempt.workspaces import new_file
from dragoman.engine.conversations import write_whole
from dragoman.schemas import ConversationInfo, TurnInfo
from dragoman.server.arguments import needed, wrong
from dragoman.server.callers import Caller, ToolCall
from dragoman.server.pages import FRAME_BYTES, LEAST_BYTES, cuts, page_of
from dragoman.server.results import lines_result
from dragoman.server.tools.base import WHOLE_ANSWERS, ServedTool, tool

LISTED = 50
CLIPPED = "Turns that end with […] are shortened here; action export has all of them."


class Conversations(ServedTool):
    """All that are kept on this machine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tool = tool(
            "conversation",
            "Conversations",
            "list: the latest; show: its turns, by page; export: all of it as Markdown, or to the file `path`; "
            "fork: a copy to go on with; reset: forget its turns; delete.",
            {
                "action": {"type": "string", "enum": ["list", "show", "reset", "export", "delete", "fork"]},
                "conversation_id": {"type": "string", "description": "For every action but list."},
                "page": {"type": "integer", "minimum": 1},
                "path": {"type": "string", "description": "For export: a new .md or .json file in a workspace."},
            },
            ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False),
            required=("action",),
            meta=WHOLE_ANSWERS,
        )

    def listed(self) -> Sequence[Tool]:
        return [self._tool]

    async def call(self, call: ToolCall) -> CallToolResult:
        kept, given, caller = self._engine.conversations, call.given, call.caller
        action, page = given["action"], given.get("page")
        if "path" in given and action != "export":
            raise wrong(f"action {action!r} takes no 'path'", "leave 'path' out, or use action 'export'")
        if action == "list":
            return _list(await kept.list(LISTED, page=page or 1), page or 1)
        conversation_id: str = needed(given, "conversation_id", "use action 'list' to see them")
        match action:
            case "show":
                return await self._show(conversation_id, page or 1, caller)
            case "export":
                return await self._export(conversation_id, given.get("path"), page or 1, caller)
            case "fork":
                fork = await kept.fork(conversation_id)
                return _done(f"The copy is conversation {fork}.", fork, forked_from=conversation_id)
            case "reset":
                await kept.reset(conversation_id)
                return _done(f"Conversation {conversation_id} has no turns any more.", conversation_id)
            case _:
                await kept.delete(conversation_id)
                return _done(f"Conversation {conversation_id} is deleted.", conversation_id)

    async def _show(self, conversation_id: str, page: int, caller: Caller) -> CallToolResult:
        info, turns, next_page = await self._engine.conversations.show(conversation_id, page)
        shown = _clipped(turns, caller.answer_bytes)
        facts = info.model_dump(mode="json", exclude_none=True)
        facts["turns"] = [turn.model_dump(mode="json", exclude_none=True) for turn in shown]
        lines = [_line(info), *map(_said, shown)]
        if shown != turns:
            lines.append(CLIPPED)
            facts["notices"] = [CLIPPED]
        if next_page is not None:
            facts["next_page"] = next_page
            lines.append(f"More: page {next_page}.")
        return lines_result(lines, facts)

    async def _export(self, conversation_id: str, path: str | None, page: int, caller: Caller) -> CallToolResult:
        kept = self._engine.conversations
        if path is None:
            text, next_page = page_of(await kept.export(conversation_id, "markdown"), page, caller.answer_bytes)
            facts: dict[str, Any] = {"conversation_id": conversation_id, "text": text}
            if next_page is None:
                return lines_result([text], facts)
            return lines_result([text, f"More: page {next_page}."], {**facts, "next_page": next_page})
        file = new_file(path, self._engine.workspaces)
        text = await kept.export(conversation_id, "json" if file.suffix.lower() == ".json" else "markdown")
        await to_thread.run_sync(_write_new, file, text)
        return _done(f"Conversation {conversation_id} is written to {file}.", conversation_id, path=str(file))


def _list(conversations: Sequence[ConversationInfo], page: int) -> CallToolResult:
    facts: dict[str, Any] = {
        "conversations": [each.model_dump(mode="json", exclude_none=True) for each in conversations]
    }
    lines = list(map(_line, conversations)) or [f"There are no {'more ' if page > 1 else ''}conversations."]
    if len(conversations) == LISTED:
        facts["next_page"] = page + 1
        lines.append(f"More: page {page + 1}.")
    return lines_result(lines, facts)


def _line(info: ConversationInfo) -> str:
    age = time.time() - info.updated_at
    turns = f"{info.turn_count} turn{'' if info.turn_count == 1 else 's'}"
    return f"{info.conversation_id}  {turns}  {info.provider or '-'}  {age:.0f} s ago  {' '.join(info.title.split())}"


def _clipped(turns: Sequence[TurnInfo], answer_bytes: int) -> list[TurnInfo]:
    """The turns, those shortened that are too long for all to be shown."""
    room = max(answer_bytes - FRAME_BYTES, LEAST_BYTES)
    if not turns or sum(_size(turn.prompt) + _size(turn.text) for turn in turns) <= room:
        return list(turns)
    share = max(room // len(turns) // 2, LEAST_BYTES // 5)
    return [
        turn.model_copy(update={"prompt": _beginning(turn.prompt, share), "text": _beginning(turn.text, share)})
        for turn in turns
    ]


def _beginning(text: str, size: int) -> str:
    if _size(text) <= size:
        return text
    _, end = next(cuts(text, size))
    return f"{text[:end].rstrip()} […]"


def _size(text: str) -> int:
    return len(text.encode())


def _said(turn: TurnInfo) -> str:
    came_of_it = turn.text if turn.status == "completed" else f"({turn.status}: {turn.code or '-'}) {turn.text}"
    return f"\n[{turn.number}] user: {turn.prompt}\n[{turn.number}] {turn.provider or 'assistant'}: {came_of_it}"


def _done(text: str, conversation_id: str, **facts: str) -> CallToolResult:
    return lines_result([text], {"conversation_id": conversation_id, **facts})


def _write_new(file: Path, text: str) -> None:
    try:
        write_whole(file, text)
    except FileExistsError as error:
        raise wrong(f"there is a file {str(file)!r} already", "give the path of a new one") from error
    except OSError as error:
        raise wrong(f"{str(file)!r} cannot be written: {error.strerror}", "give another path, or none") from error
