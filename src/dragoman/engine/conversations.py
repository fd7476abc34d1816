"""Conversations that are kept: finding, reading, taking along, forking and forgetting them. Turns are added by calls.

What changes a conversation waits a little for the call that has it, and fails when that takes longer. Reading and
forking one waits for nobody.
"""

from __future__ import annotations

import errno
import secrets
import stat
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from dragoman import store as records
from dragoman.engine.attempt.layout import forget_kept
from dragoman.engine.ids import MOST_PAGES, the_only
from dragoman.engine.layers.turns import new_conversation_id
from dragoman.engine.locks import Held, Locks
from dragoman.engine.record import Recorder, store_failure
from dragoman.schemas import (
    ConversationId,
    ConversationInfo,
    ErrorCode,
    FoundTurn,
    TurnInfo,
    error_of,
)

if TYPE_CHECKING:
    from dragoman.engine.jobs.jobs import Jobs
    from dragoman.store import ConversationRow, Record, Store, TurnRow

Format = Literal["json", "markdown"]
PAGE = 50
"""How many turns one page has."""
BUSY_S = 5.0
"""How long a change waits for a call that has the conversation."""
VERSION = 1
LATEST = 253_402_214_400
"""The last day of the year 9999, in seconds since 1970: no calendar knows more."""
_ID = TypeAdapter[str](ConversationId)
_STREAMS = (Path("/dev"), Path("/dev/fd"))
_FIXED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY}
"""What a system says of a folder that takes no new file, or of a file that nothing can be put in place of."""


class Export(BaseModel):
    """A conversation as a document that can be taken to another machine."""

    model_config = ConfigDict(extra="forbid")

    dragoman_conversation: Literal[1] = VERSION
    conversation_id: ConversationId
    title: str = ""
    system_prompt: str | None = None
    turns: list[TurnInfo] = Field(default_factory=list[TurnInfo])

    @field_validator("turns")
    @classmethod
    def _can_be_dated(cls, turns: list[TurnInfo]) -> list[TurnInfo]:
        for place, turn in enumerate(turns, 1):
            for at in (turn.started_at, turn.ended_at):
                if at is not None and not 0 <= at < LATEST:
                    raise ValueError(f"the {place}. turn has a time that cannot be: {at:g}")
        return turns


class Conversations:
    """See the module. Every method raises `LLMError`: ``not_found``, ``bad_request``, ``overloaded`` (it is in use) or,
    for the store, ``internal``.
    """

    def __init__(self, recorder: Recorder, locks: Locks, jobs: Jobs) -> None:
        self._recorder = recorder
        self._locks = locks
        self._jobs = jobs

    async def list(
        self, limit: int = PAGE, *, page: int = 1, provider: str | None = None
    ) -> Sequence[ConversationInfo]:
        """A page of conversations, the one that was gone on with last first. `provider`: who answered there last."""
        async with self._store() as store:
            rows = await store.conversations(limit, provider=provider, skip=limit * (min(page, MOST_PAGES) - 1))
            return [_info(row) for row in rows]

    async def search(self, words: str, limit: int = PAGE) -> tuple[Sequence[FoundTurn], str | None]:
        """The conversations that have a turn with all these words, the newest first; why there may be more, if so."""
        async with self._store() as store:
            search = await store.search_conversations(words, limit)
        found = [
            FoundTurn(
                conversation_id=each.conversation_id,
                title=each.title,
                updated_at=each.updated_at,
                number=each.number,
                provider=each.provider,
                excerpt=each.excerpt,
            )
            for each in search.found
        ]
        return found, search.note

    async def show(
        self, conversation_id: str, page: int | None = 1, size: int = PAGE
    ) -> tuple[ConversationInfo, Sequence[TurnInfo], int | None]:
        """A conversation, a page of its turns in order, and the number of the next page. `page` None: all turns."""
        async with self._store() as store:
            info = _info(self._found(store, conversation_id))
            if page is None:
                return info, [await self._turn(row) for row in await store.turns(conversation_id)], None
            rows = await store.turns(conversation_id, page=min(page, MOST_PAGES), size=size)
            if page < 1 or (page > 1 and not rows):
                last = max(1, -(-info.turn_count // size))
                raise _wrong(f"there is no page {page}", f"give a page from 1 to {last}")
            is_last = not rows or rows[-1].number >= info.turn_count
            return info, [await self._turn(row) for row in rows], None if is_last else page + 1

    async def export(self, conversation_id: str, form: Format = "json") -> str:
        """The whole of a conversation as one document. The JSON can be taken in again by `take_in`."""
        info, turns, _ = await self.show(conversation_id, None)
        if form == "markdown":
            return _markdown(info, turns)
        document = Export(
            conversation_id=info.conversation_id, title=info.title, system_prompt=info.system_prompt, turns=[*turns]
        )
        return document.model_dump_json(indent=2, exclude_none=True)

    async def take_in(self, document: str, conversation_id: str | None = None) -> str:
        """Make a conversation of an exported document, under its own id or this one; the id."""
        try:
            export = Export.model_validate_json(document)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the document"
            said = first["msg"].removeprefix("Value error, ")
            raise _wrong(f"{where}: {said}", "give a document that was exported as JSON") from error
        name = _usable(conversation_id) if conversation_id is not None else export.conversation_id
        async with self._changing(name) as store:
            if store.conversation(name) is not None:
                raise _wrong(f"there is a conversation {name!r} already", "name another id, or delete that one first")
            await store.write(
                records.ConversationImported(
                    name,
                    tuple(map(_row, export.turns)),
                    system_prompt=export.system_prompt,
                    title=export.title or None,
                )
            )
        return name

    async def reset(self, conversation_id: str) -> None:
        """Forget every turn, and the jobs they were; the id and the system prompt stay."""
        await self._change(conversation_id, records.ConversationReset(conversation_id))

    async def delete(self, conversation_id: str) -> None:
        """Forget the conversation, and the jobs its turns were."""
        await self._change(conversation_id, records.ConversationDeleted(conversation_id))

    async def fork(self, conversation_id: str, *, upto: int | None = None, new_id: str | None = None) -> str:
        """A new conversation that has the same turns that have ended, up to number `upto`; its id."""
        name = _usable(new_id) if new_id is not None else new_conversation_id()
        async with self._store() as store:
            row = self._found(store, conversation_id)
            if upto is not None and not 0 < upto <= row.turns:
                raise _wrong(f"there is no turn {upto}", f"name one from 1 to {row.turns}, or none for all of them")
            if store.conversation(name) is not None:
                raise _wrong(f"there is a conversation {name!r} already", "name another id, or none")
            await store.write(records.ConversationForked(conversation_id, name, upto))
        return name

    async def expire(self, keep_days: float | None, keep_mb: float | None) -> None:
        """Forget the oldest that are over an age or a size together."""
        async with self._store() as store:
            await store.expire(keep_days, keep_mb)

    async def _change(self, conversation_id: str, record: Record) -> None:
        async with self._changing(conversation_id) as store:
            row = self._found(store, conversation_id)
            await self._jobs.written(conversation_id)
            await store.write(record)
            self._jobs.forget(conversation_id)
            kept = [(session.provider, session.native_id) for session in row.sessions]
            await anyio.to_thread.run_sync(forget_kept, kept)

    async def ids(self, beginning: str, limit: int = 100) -> Sequence[str]:
        """The ids of the newest conversations that begin so, for completion."""
        return [info.conversation_id for info in await self.list(1000) if info.conversation_id.startswith(beginning)][
            :limit
        ]

    async def full_id(self, beginning: str) -> str:
        """The id that a person means who typed it, or as much of its beginning as no other of the newest has."""
        async with self._store() as store:
            if store.conversation(beginning) is not None:
                return beginning
        return the_only(await self.ids(beginning), beginning, "conversation")

    async def _turn(self, row: TurnRow) -> TurnInfo:
        if row.status in ("running", "interrupted") and not row.text and row.call_id:
            # It has no end, or had none that was written down; what was heard until then may be.
            row = replace(row, text=await self._jobs.said(row.call_id))
        return _turn(row)

    @asynccontextmanager
    async def _changing(self, conversation_id: str) -> AsyncGenerator[Store]:
        async with self._store() as store:
            lock = await self._take(store, conversation_id)
            if lock is None:
                raise error_of(
                    ErrorCode.OVERLOADED,
                    f"conversation {conversation_id!r} is in use by a call",
                    next_step="do it again when that call has ended, or cancel its job first",
                )
            with lock:
                yield store

    async def _take(self, store: Store, conversation_id: str) -> Held | None:
        """The conversation, once it has no open turn; None: that would take too long."""
        name = f"conversation:{conversation_id}"
        lock = await self._locks.take(name, BUSY_S)
        if lock is None or (unfinished := store.open_call(conversation_id)) is None:
            return lock
        # Its server is gone, and it goes on.
        lock.release()
        with anyio.move_on_after(BUSY_S):
            await self._jobs.finish(unfinished)
            return await self._locks.take(name, BUSY_S)
        return None

    @asynccontextmanager
    async def _store(self) -> AsyncGenerator[Store]:
        store = await self._recorder.opened()
        if store is None:
            raise self._recorder.missing("conversations cannot be read")
        try:
            yield store
        except records.StoreError as error:
            raise store_failure(error) from error

    def _found(self, store: Store, conversation_id: str) -> ConversationRow:
        row = store.conversation(conversation_id)
        if row is None:
            raise error_of(
                ErrorCode.NOT_FOUND,
                f"there is no conversation {conversation_id!r}",
                next_step="list the conversations to see those there are",
            )
        return row


def write_whole(file: Path, text: str) -> None:
    """Write a new file; nothing of it stays when there is no room for all.

    Raises:
        FileExistsError: there is a file of that name, which is left as it is.
        OSError: it cannot be written.
    """
    opened = file.open("x", encoding="utf-8")
    try:
        with opened:
            opened.write(text)
    except OSError as error:
        file.unlink()
        error.filename = str(file)
        raise


def replace_whole(file: Path, text: str) -> None:
    """Write a file. One that is there keeps its mode, and has the old text or the new one, whatever happens.

    What nothing can be put in place of is written as it stands: a pipe, a stream by its name (``/dev/stdout``), a
    mount, a file in a folder that cannot be written.

    Raises:
        OSError: it cannot be written.
    """
    try:
        if not _replaced(file, text):
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        # The file that the caller knows, and no other.
        raise OSError(error.errno, error.strerror, str(file)) from error


def _replaced(file: Path, text: str) -> bool:
    """Put a new file in place of one, or of none; False: that cannot be done, and nothing was."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        mode = None
    folder = file.parent.resolve()
    is_stream = folder in _STREAMS or folder.is_relative_to("/proc")
    if is_stream or not (mode is None or stat.S_ISREG(mode)):
        return False
    place = file.resolve()
    new = place.with_name(f".dragoman-{secrets.token_hex(8)}")
    try:
        # Made with its mode: what was said is at no moment for more eyes than before.
        new.touch(mode=0o666 if mode is None else stat.S_IMODE(mode), exist_ok=False)
        try:
            with new.open("w", encoding="utf-8") as opened:
                opened.write(text)
            if mode is not None:
                new.chmod(stat.S_IMODE(mode))
            new.replace(place)
        except BaseException:
            new.unlink()
            raise
    except OSError as error:
        if error.errno in _FIXED:
            return False
        raise
    return True


def _usable(name: str) -> str:
    """An id that can be given to a call, too.

    Raises:
        LLMError: it cannot (code ``bad_request``).
    """
    try:
        return _ID.validate_python(name)
    except ValidationError as error:
        raise _wrong(error.errors()[0]["msg"].removeprefix("Value error, "), "name another id") from error


def _wrong(message: str, next_step: str) -> Exception:
    return error_of(ErrorCode.BAD_REQUEST, message, next_step=next_step)


def _info(row: ConversationRow) -> ConversationInfo:
    return ConversationInfo(
        conversation_id=row.id,
        title=row.title,
        created_at=row.created_at,
        updated_at=row.updated_at,
        turn_count=row.turns,
        message_count=2 * row.completed,
        provider=row.provider,
        system_prompt=row.system_prompt,
        forked_from=row.forked_from,
    )


def _turn(row: TurnRow) -> TurnInfo:
    return TurnInfo(
        number=row.number,
        status=row.status,
        provider=row.provider,
        model=row.model,
        prompt=row.prompt,
        text=row.text,
        started_at=row.started_at,
        ended_at=row.ended_at,
        code=row.code,
        call_id=row.call_id,
    )


def _row(turn: TurnInfo) -> TurnRow:
    return records.TurnRow(
        number=turn.number,
        call_id=turn.call_id or "",
        status=turn.status,
        provider=turn.provider,
        model=turn.model,
        code=turn.code,
        finish_reason=None,
        started_at=turn.started_at,
        ended_at=turn.ended_at,
        usage=None,
        prompt=turn.prompt,
        text=turn.text,
    )


def _markdown(info: ConversationInfo, turns: Sequence[TurnInfo]) -> str:
    parts = [f"# {info.title or info.conversation_id}"]
    if info.system_prompt:
        parts.append("> " + info.system_prompt.replace("\n", "\n> "))
    for turn in turns:
        parts.append(f"## You\n\n{turn.prompt}")
        if turn.status != "completed":
            parts.append(f"*{turn.provider or 'The provider'}: {turn.status}{f' ({turn.code})' if turn.code else ''}*")
        if turn.text:
            whose = turn.provider or "Answer"
            parts.append(f"## {whose}{f' ({turn.model})' if turn.model else ''}\n\n{turn.text}")
    return "\n\n".join(parts) + "\n"
