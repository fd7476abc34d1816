"""The store as the rest of Dragoman sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import anyio
import anyio.to_thread
from loguru import logger

from dragoman.store.circuits import CircuitKey, CircuitReader, CircuitRow
from dragoman.store.errors import StoreError
from dragoman.store.records import Orphan, Record
from dragoman.store.stats import ProviderStats, read_stats
from dragoman.store.writer import Job, Writer

CLOSE_S = 2.0
"""How long closing waits for what is queued. Only another process that holds the file can make it that long."""


def _warn(error: StoreError) -> None:
    logger.warning("not everything is kept: {}", error)


class Store:
    """An open store. It may be used, and closed, by any task of the event loop that opened it.

    ::

        async with open_store(path) as store:
            store.post(CallStarted(id="c1", face="library", provider="claude"))
            await store.write(CallEnded(id="c1", status="completed", duration_s=1.5))
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._closed = False
        self._watched = False
        self._news = anyio.Event()
        self._circuits: CircuitReader | None = None

    @classmethod
    async def open(cls, path: Path, *, on_error: Callable[[StoreError], None] = _warn) -> Self:
        """Open the store in `path`; it is made when missing, for this user alone.

        Calls that a server left running when it died become ``interrupted``. `on_error` is called, in another thread,
        with the first error of a posted record; by default it is logged.

        Raises:
            StoreError: it cannot be opened.
        """
        store = cls(Writer(path, on_error))
        store._writer.start()
        try:
            await store._done(store._writer.opened)
        except BaseException:
            await store.close()
            raise
        return store

    @property
    def path(self) -> Path:
        """The file."""
        return self._writer.path

    @property
    def orphans(self) -> list[Orphan]:
        """What servers that are gone left running, as far as they wrote it down. Say `OrphansEnded` when it is gone."""
        return self._writer.orphans

    async def write(self, record: Record) -> None:
        """Write a record and wait until it is safe from the death of this process. A cancelled wait undoes nothing.

        Raises:
            StoreError: it is not kept.
        """
        self._check_open()
        await self._done(self._writer.put(record, waited=True))

    def post(self, record: Record) -> None:
        """Write a record soon, in the order of all records, without waiting. The first failure is told to `on_error`.

        Raises:
            StoreError: the store is closed.
        """
        self._check_open()
        self._writer.put(record, waited=False)

    async def stats(self, since: float | None = None) -> list[ProviderStats]:
        """Every provider's figures, by name, over the calls that started since then (seconds since 1970).

        Posted records may be missing. Reads by a connection of its own; writing goes on meanwhile.

        Raises:
            StoreError: the file cannot be read.
        """
        return await anyio.to_thread.run_sync(read_stats, self.path, since)

    def circuit(self, key: CircuitKey) -> CircuitRow | None:
        """A circuit breaker as the processes of this machine left it. Does not wait, and costs some microseconds.

        Posted changes of this process may be missing. For the thread of the event loop.

        Raises:
            StoreError: it cannot be read.
        """
        return self._reader().get(key)

    def circuits(self) -> list[CircuitRow]:
        """Every circuit breaker; as for `circuit`."""
        return self._reader().all()

    async def close(self) -> None:
        """Write what is queued and close the file; calls of this store that still run become ``interrupted``."""
        if self._closed:
            return
        self._closed = True
        if self._circuits is not None:
            self._circuits.close()
        self._writer.stop()
        with anyio.move_on_after(CLOSE_S, shield=True) as limit:
            await anyio.to_thread.run_sync(self._writer.join, abandon_on_cancel=True)
        anyio.notify_closing(self._writer.news)
        self._writer.news.close()
        if limit.cancelled_caught:
            _warn(StoreError(self.path, f"it was not written within {CLOSE_S:g} s", "end the program that holds it"))

    def _reader(self) -> CircuitReader:
        self._check_open()
        self._circuits = self._circuits or CircuitReader(self.path)
        return self._circuits

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(self.path, "the store is closed", "open it again")

    async def _done(self, job: Job) -> None:
        while not job.done:
            if self._writer.news.fileno() == -1:
                raise StoreError(self.path, "the store was closed before it was written", "end what holds the file")
            if self._watched:
                await self._news.wait()
            else:
                await self._watch()
        if job.error is not None:
            raise job.error

    async def _watch(self) -> None:
        """Wait for news of the writer on behalf of everyone who waits: one task may listen to a socket.

        It is whoever came first; if it is cancelled, one of the others takes over.
        """
        self._watched = True
        try:
            with suppress(anyio.ClosedResourceError):
                await anyio.wait_readable(self._writer.news)
                self._writer.news.recv(4096)
        finally:
            self._watched = False
            news, self._news = self._news, anyio.Event()
            news.set()


@asynccontextmanager
async def open_store(path: Path, *, on_error: Callable[[StoreError], None] = _warn) -> AsyncGenerator[Store]:
    """`Store.open` and `Store.close` around a block."""
    store = await Store.open(path, on_error=on_error)
    try:
        yield store
    finally:
        await store.close()
