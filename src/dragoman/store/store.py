"""The store as the rest of Dragoman sees it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
from loguru import logger

from dragoman.latch import Latch
from dragoman.store.abandoned import TakeStock
from dragoman.store.cache import CachedAnswer, read_answer
from dragoman.store.call_logs import LogPage, read_log
from dragoman.store.circuits import CircuitKey, CircuitRow, read_circuit, read_circuits
from dragoman.store.errors import StoreError
from dragoman.store.history import (
    MOST_TURNS,
    ConversationRow,
    Cursor,
    TurnRow,
    read_conversation,
    read_conversations,
    read_last_turns,
    read_open_call,
    read_turns,
)
from dragoman.store.jobs import JobRow, read_job, read_job_by_key, read_job_reply, read_job_request, read_jobs
from dragoman.store.reader import Reader
from dragoman.store.records import Orphan, Posted, Record, Together
from dragoman.store.retention import Expire
from dragoman.store.search import IndexDamaged, Search, search_turns
from dragoman.store.stats import ProviderStats, read_stats
from dragoman.store.writer import BUSY_TIMEOUT_S, Job, Later, Writer

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

WRITE_S = 30.0
"""How long a write is waited for: a large one takes seconds, on a disk that answers."""
CLOSE_S = 2.0
"""How long closing waits for what is queued. Only another process that holds the file, or a disk that does not answer,
can make it that long."""
LOADED_BYTES = 8 << 20
"""How much `Store.good_turns` reads in the thread of the event loop: more than any model takes."""


def _warn(error: StoreError) -> None:
    logger.warning("not everything is kept: {}", error)


class Store:
    """An open store. It may be used, and closed, by any task of the event loop that opened it.

    ::

        async with open_store(path) as store:
            store.post(CallStarted(id="c1", face="library", provider="claude"))
            await store.write(CallEnded(id="c1", status="completed", duration_s=1.5))
    """

    def __init__(self, path: Path, on_error: Callable[[StoreError], None]) -> None:
        loop: Any = anyio.lowlevel.current_token().native_token
        self._soon: Callable[[Callable[[], None]], object] = (
            loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon
        )
        # Where a loop has no such thing, nothing is gathered.
        later: Later = getattr(loop, "call_later", lambda _, write: write())
        writer = self._writer = Writer(path, lambda: self._soon(self._wake), on_error, later)
        self._closed = False
        self._given_up = False
        self._news = Latch()
        # One for the thread of the event loop, which must not wait; one for reads that may take long.
        self._near = Reader(writer.path, 0.0)
        self._far = Reader(writer.path, BUSY_TIMEOUT_S)

    @classmethod
    async def open(cls, path: Path, *, on_error: Callable[[StoreError], None] = _warn) -> Self:
        """Open the store in `path`; it is made when missing, for this user alone.

        Calls that a server left running when it died become ``interrupted``. `on_error` is called, in another thread,
        with the first error of a posted record; by default it is logged.

        Raises:
            StoreError: it cannot be opened.
        """
        store = cls(path, on_error)
        store._writer.start()
        try:
            await store._done(store._writer.opened)
        except BaseException:
            # Nothing is queued, so there is nothing to wait for where the file does not let itself be opened.
            store._closed = True
            store._writer.stop()
            raise
        return store

    @property
    def path(self) -> Path:
        """The file."""
        return self._writer.path

    @property
    def orphans(self) -> list[Orphan]:
        """What servers that are gone left running, as far as they wrote it down. Say `OrphansEnded` when it is gone."""
        return [*self._writer.abandoned.orphans]

    @property
    def detached_jobs(self) -> list[JobRow]:
        """Detached jobs of servers that are gone; their shepherds may live. Say `JobAdopted` to take one over."""
        return [*self._writer.abandoned.jobs]

    async def take_stock(self) -> None:
        """Look once more for what servers left running that have died since this store was opened.

        Their calls, turns and jobs become ``interrupted``; `orphans` and `detached_jobs` are as of now.

        Raises:
            StoreError: the file cannot be written.
        """
        self._writer.abandoned = await self.write(TakeStock())

    async def expire(self, keep_days: float | None = None, keep_mb: float | None = None) -> None:
        """Remove what is too old or too much (see `Expire`), a little at a time; writing goes on meanwhile.

        Raises:
            StoreError: the file cannot be written.
        """
        record = Expire(keep_days, keep_mb)
        while await self.write(record):
            pass

    async def write(self, record: Record[T]) -> T:
        """Write a record and wait until it is safe from the death of this process; what the record gives.

        A cancelled wait undoes nothing.

        Raises:
            Conflict: another caller was there first: see the record.
            StoreError: it is not kept; or it was not within `WRITE_S`, and may be later.
        """
        self._check_open()
        job = self._writer.put(record, waited=True)
        with anyio.move_on_after(WRITE_S):
            await self._done(job)
        if not job.done:
            raise self.hangs(WRITE_S)
        return cast("T", job.result)

    def post(self, record: Record, *, waited: bool = False) -> Posted:
        """Write a record soon, in the order of all records, without waiting. The first failure is told to `on_error`.

        `waited`: it is about to be waited for, see `written`: then at once, and that hears of the failure.

        Raises:
            StoreError: the store is closed.
        """
        self._check_open()
        return self._writer.put(record, waited=waited)

    def hangs(self, waited_s: float) -> StoreError:
        """What to say of a record that was waited for so long. It may be written later."""
        step = "end the program that holds the file, or see that the disk answers"
        return StoreError(self.path, f"it was not written within {waited_s:.3g} s, and may be later", step)

    async def written(self, posted: Posted) -> None:
        """Wait until a posted record is safe from the death of this process, however long a disk hangs.

        Raises:
            StoreError: it is not kept.
        """
        job = cast("Job", posted)
        if not job.done:
            self._writer.want(job)
        await self._done(job)

    async def flush(self) -> None:
        """Wait until all that was posted is safe from the death of this process, or could not be kept.

        Raises:
            StoreError: the file cannot be written.
        """
        await self.write(Together(()))

    async def stats(self, since: float | None = None) -> list[ProviderStats]:
        """Every provider's figures, by name, over the calls that started since then (seconds since 1970).

        Posted records may be missing. Reads by a connection of its own; writing goes on meanwhile.

        Raises:
            StoreError: the file cannot be read.
        """
        return await anyio.to_thread.run_sync(read_stats, self.path, since)

    def circuit(self, key: CircuitKey) -> CircuitRow | None:
        """A circuit breaker as the processes of this machine left it.

        This and the following methods that are not ``async`` do not wait and take some microseconds. Posted records of
        this process may be missing. For the thread of the event loop.

        Raises:
            StoreError: it cannot be read.
        """
        return self._read(lambda db: read_circuit(db, key))

    def circuits(self) -> list[CircuitRow]:
        """Every circuit breaker; as for `circuit`."""
        return self._read(read_circuits)

    def conversation(self, conversation_id: str) -> ConversationRow | None:
        """A conversation with its sessions, without its turns; as for `circuit`."""
        return self._read(lambda db: read_conversation(db, conversation_id))

    def good_turns(self, conversation_id: str, last: int, max_bytes: int = LOADED_BYTES) -> list[TurnRow]:
        """The last completed turns in their order, no more than weigh `max_bytes`, but one at least; as for `circuit`.

        Some microseconds for each turn.
        """
        return self._read(lambda db: read_last_turns(db, conversation_id, last, completed=True, max_bytes=max_bytes))

    def open_call(self, conversation_id: str) -> str | None:
        """The call of a conversation's last turn, if that has not ended; as for `circuit`."""
        return self._read(lambda db: read_open_call(db, conversation_id))

    def cached_answer(self, key: str) -> CachedAnswer | None:
        """The answer that is kept for a question, however old; as for `circuit`."""
        return self._read(lambda db: read_answer(db, key))

    def job(self, job_id: str) -> JobRow | None:
        """A job; as for `circuit`."""
        return self._read(lambda db: read_job(db, job_id))

    def job_by_key(self, scope: str, key: str) -> JobRow | None:
        """The job that has an idempotency key; as for `circuit`."""
        return self._read(lambda db: read_job_by_key(db, scope, key))

    def data_changed(self, since: int = 0) -> int:
        """0 if nobody, this process included, wrote since this gave `since`, else a new number; as for `circuit`.

        ::

            seen = store.data_changed()
            while (job := store.job(job_id)) and job.status == "running":
                while not (changed := store.data_changed(seen)):
                    await anyio.sleep(0.05)
                seen = changed
        """
        self._check_open()
        version = self._near.version()
        return 0 if version == since else version

    async def turns(
        self, conversation_id: str, *, last: int | None = None, page: int | None = None, size: int = 50
    ) -> list[TurnRow]:
        """Turns in their order, whatever became of them: the last ones, a page of `size` (from 1), or all.

        This and the following methods read in another thread.

        Raises:
            StoreError: the file cannot be read.
        """
        if last is not None:
            return await self._fetch(lambda db: read_last_turns(db, conversation_id, last, completed=False))
        first, last = (1, MOST_TURNS) if page is None else (size * (page - 1) + 1, size * page)
        return await self._fetch(lambda db: read_turns(db, conversation_id, first, last))

    async def conversations(
        self, limit: int = 50, *, before: Cursor | None = None, provider: str | None = None, skip: int = 0
    ) -> list[ConversationRow]:
        """Conversations, the last used first; those after another one's ``cursor``, those whose last provider it is.

        Raises:
            StoreError: the file cannot be read.
        """
        return await self._fetch(lambda db: read_conversations(db, limit, before, provider, skip))

    async def search_conversations(self, text: str, limit: int = 20) -> Search:
        """Conversations in which all words of `text` stand in one turn, the last used first.

        Raises:
            StoreError: the file cannot be read.
        """
        try:
            return await self._fetch(lambda db: search_turns(db, text, limit))
        except StoreError as error:
            if not error.is_damage:
                raise
            await self.write(IndexDamaged())
            return await self._fetch(lambda db: search_turns(db, text, limit))

    async def jobs(self, limit: int = 50, *, skip: int = 0) -> list[JobRow]:
        """Jobs, the newest first.

        Raises:
            StoreError: the file cannot be read.
        """
        return await self._fetch(lambda db: read_jobs(db, limit, skip))

    async def job_request(self, job_id: str) -> str | None:
        """What a job was asked, as `JobStarted.request` gave it.

        Raises:
            StoreError: the file cannot be read.
        """
        return await self._fetch(lambda db: read_job_request(db, job_id))

    async def job_reply(self, job_id: str) -> tuple[str, str | None] | None:
        """What a job answered, as `JobEnded.reply` and ``text`` gave it. Without a text the reply has it.

        Raises:
            StoreError: the file cannot be read.
        """
        return await self._fetch(lambda db: read_job_reply(db, job_id))

    async def call_log(self, call_id: str, page: int = 1) -> LogPage | None:
        """A page of what happened in a call; None: there is no such page.

        Raises:
            StoreError: the file cannot be read.
        """
        return await self._fetch(lambda db: read_log(db, call_id, page))

    def insist(self) -> None:
        """The store is about to be closed: what another program holds the file against is tried until it is."""
        self._writer.insist()

    async def close(self) -> None:
        """Write what is queued and close the file; calls of this store that still run become ``interrupted``.

        What cannot be written within `CLOSE_S` is given up, and does not hold up the end of the process.
        """
        if self._closed:
            return
        self._closed = True
        self._near.close(0)
        self._writer.stop(CLOSE_S)
        is_written = False
        with anyio.CancelScope(shield=True):
            is_written = await anyio.to_thread.run_sync(self._end, time.monotonic() + CLOSE_S)
        self._given_up = True
        self._wake()
        if not is_written:
            _warn(StoreError(self.path, f"it was not written within {CLOSE_S:g} s", "end the program that holds it"))

    def _end(self, until: float) -> bool:
        # The process does not end before this thread does, so nothing here may wait without bound.
        self._far.close(CLOSE_S)
        self._writer.join(max(0.0, until - time.monotonic()))
        # Closing the file moves what is written to another place, for which a busy disk may take long: nothing is lost.
        return self._writer.is_through or not self._writer.is_alive()

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        return self._near.read(query)

    async def _fetch(self, query: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        return await anyio.to_thread.run_sync(self._far.read, query, abandon_on_cancel=True)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(self.path, "the store is closed", "open it again")

    async def _done(self, job: Job) -> None:
        while not job.done:
            if self._given_up:
                raise StoreError(self.path, "the store was closed before it was written", "end what holds the file")
            await self._news.wait()
        if job.error is not None:
            raise job.error

    def _wake(self) -> None:
        news, self._news = self._news, Latch()
        news.set()


@asynccontextmanager
async def open_store(path: Path, *, on_error: Callable[[StoreError], None] = _warn) -> AsyncGenerator[Store]:
    """`Store.open` and `Store.close` around a block."""
    store = await Store.open(path, on_error=on_error)
    try:
        yield store
    finally:
        await store.close()
