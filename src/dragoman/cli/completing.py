"""The ids that a shell completes. Whatever goes wrong completes nothing: a shell has no place to say it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from dragoman.engine.record import store_file
from dragoman.log import logger
from dragoman.store import Store, open_store

OFFERED = 100


def conversations() -> list[tuple[str, str]]:
    """The newest ones, each with how it begins."""

    async def read(store: Store) -> list[tuple[str, str]]:
        return [(row.id, " ".join(row.title.split())) for row in await store.conversations(OFFERED)]

    return _read(read)


def jobs() -> list[tuple[str, str]]:
    """The newest ones, each with how its question begins."""

    async def read(store: Store) -> list[tuple[str, str]]:
        return [(row.id, row.prompt) for row in await store.jobs(OFFERED)]

    return _read(read)


def _read(read: Callable[[Store], Awaitable[list[tuple[str, str]]]]) -> list[tuple[str, str]]:
    async def opened() -> list[tuple[str, str]]:
        async with open_store(file) as store:
            return await read(store)

    try:
        file = store_file()
        return anyio.run(opened) if file.exists() else []
    except Exception as error:  # noqa: BLE001 - see the module
        logger.debug("nothing is completed: {!r}", error)
        return []
