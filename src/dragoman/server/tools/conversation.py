"""``conversation``: what was said, and what is to become of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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
from dragoman.server.lists import dumped, list_result, page_size, shortened
from dragoman.server.pages import MARK, beginning, json_bytes, page_of
from dragoman.server.results import lines_result
from dragoman.server.tools.base import WHOLE_ANSWERS, ServedTool, tool

ENTRY_BYTES = 600
"""What a conversation takes in a list at most; most take less."""
TURN_BYTES = 600
"""What must be there for a turn on a page, so that something of its texts is seen."""
CLIPPED = f"Texts that end with{MARK} are shortened here; action export has all of them."


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
            return await self._list(page or 1, page_size(caller.answer_bytes, ENTRY_BYTES))
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

    async def _list(self, page: int, size: int) -> CallToolResult:
        kept = self._engine.conversations
        found = await kept.list(size, page=page)
        is_last = len(found) < size or not await kept.list(1, page=size * page + 1)
        conversations = [shortened(each, ("system_prompt", "title"), ENTRY_BYTES) for each in found]
        return list_result("conversations", conversations, list(map(_line, conversations)), page, is_last=is_last)

    async def _show(self, conversation_id: str, page: int, caller: Caller) -> CallToolResult:
        size = page_size(caller.answer_bytes, TURN_BYTES)
        info, turns, next_page = await self._engine.conversations.show(conversation_id, page, size)
        more: dict[str, Any] = {} if next_page is None else {"next_page": next_page}
        if json_bytes(_facts(info, turns, more)) > caller.answer_bytes:
            more["notices"] = [CLIPPED]
            least = json_bytes(_facts(*_clipped(info, turns, 0), more))
            info, turns = _clipped(info, turns, caller.answer_bytes - least)
        lines = [_line(info), *map(_said, turns), *more.get("notices", ())]
        if next_page is not None:
            lines.append(f"More: page {next_page}.")
        return lines_result(lines, _facts(info, turns, more))

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


def _line(info: ConversationInfo) -> str:
    age = time.time() - info.updated_at
    turns = f"{info.turn_count} turn{'' if info.turn_count == 1 else 's'}"
    return f"{info.conversation_id}  {turns}  {info.provider or '-'}  {age:.0f} s ago  {' '.join(info.title.split())}"


def _facts(info: ConversationInfo, turns: Sequence[TurnInfo], more: Mapping[str, Any]) -> dict[str, Any]:
    return {**dumped(info), "turns": list(map(dumped, turns)), **more}


def _clipped(
    info: ConversationInfo, turns: Sequence[TurnInfo], room: int
) -> tuple[ConversationInfo, Sequence[TurnInfo]]:
    """The same with its texts in so many bytes: those are shortened that have more than their share."""
    share = room // (2 * len(turns) + 2)

    def clip(text: str | None) -> str | None:
        return text and beginning(text, share)

    return (
        info.model_copy(update={"title": clip(info.title), "system_prompt": clip(info.system_prompt)}),
        [turn.model_copy(update={"prompt": clip(turn.prompt), "text": clip(turn.text)}) for turn in turns],
    )


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
