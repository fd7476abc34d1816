"""``dragoman conversations …``: what is kept, also while servers work on it."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path

import anyio

from dragoman.cli import output
from dragoman.cli.common import Common
from dragoman.cli.exits import FAILURE, OK, USAGE
from dragoman.cli.guard import report, stoppable, tell
from dragoman.cli.screen import say_answer
from dragoman.engine import Engine
from dragoman.engine.conversations import Conversations, Format, write_whole
from dragoman.schemas import ConversationInfo, LLMError, TurnInfo

STREAM = "-"
"""Stands for stdin or stdout in place of a file."""
TITLE = 60
"""How many characters of a title a line of a table has."""
FORMATS: dict[str, Format] = {"markdown": "markdown", "json": "json"}


def list_them(common: Common, limit: int, page: int, provider: str | None, *, as_json: bool) -> int:
    """A table of conversations."""

    async def tell(kept: Conversations) -> int:
        found = await kept.list(limit, page=page, provider=provider)
        if as_json:
            output.say_json([info.model_dump(mode="json", exclude_none=True) for info in found])
        elif not found:
            output.remark(_none(page, provider))
        else:
            say_list(found)
            if len(found) == limit and await kept.list(1, page=limit * page + 1, provider=provider):
                output.remark(f"more: --page {page + 1}")
        return OK

    return with_kept(common, tell)


def _none(page: int, provider: str | None) -> str:
    if page > 1:
        return "no such page"
    return "no conversations yet" if provider is None else "no such conversations"


def show(common: Common, name: str, page: int, *, as_json: bool) -> int:
    """What was said."""

    async def tell(kept: Conversations) -> int:
        info, turns, next_page = await kept.show(await kept.full_id(name), page)
        if as_json:
            facts = info.model_dump(mode="json", exclude_none=True)
            facts["turns"] = [turn.model_dump(mode="json", exclude_none=True) for turn in turns]
            output.say_json(facts if next_page is None else {**facts, "next_page": next_page})
            return OK
        if page == 1 and info.system_prompt:
            output.say_heading("system")
            output.say(info.system_prompt)
        for turn in turns:
            say_turn(turn)
        if not turns:
            output.remark("no turns")
        if next_page is not None:
            output.remark(f"more: --page {next_page}")
        return OK

    return with_kept(common, tell)


def search(common: Common, words: str, limit: int, *, as_json: bool) -> int:
    """Where these words stand."""

    async def tell(kept: Conversations) -> int:
        found, note = await kept.search(words, limit)
        if note:
            output.remark(f"notice: {note}")
        if as_json:
            output.say_json([each.model_dump(mode="json", exclude_none=True) for each in found])
        elif found:
            rows = [
                (each.conversation_id, str(each.number), each.provider or "", age(each.updated_at), _line(each.excerpt))
                for each in found
            ]
            output.say_list(("conversation", "turn", "provider", "age", "found"), rows)
        else:
            output.remark("no turn has all these words")
        return OK

    return with_kept(common, tell)


def export(common: Common, name: str, form: str | None, file: Path | None) -> int:
    """The document, on stdout or in a new file."""
    if form is None:
        form = "json" if file is not None and file.suffix.lower() == ".json" else "markdown"
    if form not in FORMATS:
        output.complain(f"--format: {form!r} is none; write markdown or json")
        return USAGE

    async def write(kept: Conversations) -> int:
        document = await kept.export(await kept.full_id(name), FORMATS[form])
        if file is None or str(file) == STREAM:
            output.say(document.rstrip("\n"))
            return OK
        return write_new(file, document)

    return with_kept(common, write)


def import_it(common: Common, file: Path, name: str | None, *, as_json: bool) -> int:
    """Take a document in."""
    try:
        document = (sys.stdin.buffer.read() if str(file) == STREAM else file.read_bytes()).decode("utf-8-sig")
    except UnicodeDecodeError:
        output.complain(f"{str(file)!r} is not UTF-8 text; give a document that was exported as JSON")
        return USAGE
    except OSError as error:
        tell(error)
        return USAGE

    async def take(kept: Conversations) -> int:
        return _new(await kept.take_in(document, name), as_json=as_json)

    return with_kept(common, take)


def fork(common: Common, name: str, upto: int | None, new_name: str | None, *, as_json: bool) -> int:
    """A second conversation."""

    async def copy(kept: Conversations) -> int:
        return _new(await kept.fork(await kept.full_id(name), upto=upto, new_id=new_name), as_json=as_json)

    return with_kept(common, copy)


def reset(common: Common, name: str, *, as_json: bool) -> int:
    """No turns any more."""

    async def forget(kept: Conversations) -> int:
        await kept.reset(name)
        return _new(name, as_json=as_json)

    return with_kept(common, forget)


def remove(common: Common, names: Sequence[str], *, as_json: bool) -> int:
    """No conversation any more. Those that can be removed are; the exit code is that of the first that cannot."""

    async def forget(kept: Conversations) -> int:
        code, removed = OK, list[str]()
        for name in dict.fromkeys(names):
            try:
                await kept.delete(name)
            except LLMError as error:
                told = report(error.info)
                code = code or told
            else:
                removed.append(name)
        if as_json:
            output.say_json({"removed": removed})
        return code

    return with_kept(common, forget)


def with_kept(common: Common, act: Callable[[Conversations], Awaitable[int]]) -> int:
    """Do something with the conversations of this machine."""
    loaded = common.load()
    common.warn(loaded)

    async def opened() -> int:
        async with Engine(loaded.configuration) as engine:
            # Stopped inside the engine and not around it: it may have taken a job over, which is to go on without us.
            return await stoppable(lambda: act(engine.conversations))

    return anyio.run(opened)


def write_new(file: Path, text: str) -> int:
    """Write a file that does not exist yet; what a person has already is never overwritten."""
    try:
        write_whole(file, text)
    except FileExistsError:
        output.complain(f"there is a file {str(file)!r} already")
        output.suggest("name another one, or remove it first")
        return FAILURE
    output.remark(f"written to {file}")
    return OK


def age(since: float) -> str:
    """How long ago, in one unit."""
    seconds = max(0.0, time.time() - since)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def say_list(found: Sequence[ConversationInfo]) -> None:
    """A row for each conversation."""
    output.say_list(("conversation", "turns", "provider", "age", "begins"), [_row(info) for info in found])


def say_turn(turn: TurnInfo) -> None:
    """A question and its answer, each under a line that says whose it is."""
    when = datetime.fromtimestamp(turn.started_at).astimezone().strftime("%Y-%m-%d %H:%M")
    output.say_heading(f"[{turn.number}] you, {when}")
    output.say(f"{turn.prompt.rstrip()}\n")
    whose = " ".join(filter(None, (turn.provider or "nobody", turn.model)))
    came_of_it = "" if turn.status == "completed" else f": {turn.status}{f' ({turn.code})' if turn.code else ''}"
    output.say_heading(f"[{turn.number}] {whose}{came_of_it}")
    if turn.text:
        say_answer(turn.text)
    output.say()


def _new(name: str, *, as_json: bool) -> int:
    if as_json:
        output.say_json({"conversation_id": name})
    else:
        output.say(name)
    return OK


def _row(info: ConversationInfo) -> Sequence[str]:
    return (
        info.conversation_id,
        str(info.turn_count),
        info.provider or "",
        age(info.updated_at),
        _line(info.title),
    )


def _line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= TITLE else f"{words[:TITLE]}…"
