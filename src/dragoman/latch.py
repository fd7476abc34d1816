"""An event that costs nothing until somebody waits for it."""

from __future__ import annotations

import anyio


class Latch:
    """Set once. Most of those that a call is made of are set before anybody waits, and an `anyio.Event` is dear."""

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._event: anyio.Event | None = None

    def set(self) -> None:
        """Set it. More than once is once."""
        self._is_set = True
        if self._event is not None:
            self._event.set()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    async def wait(self) -> None:
        """Wait until it is set. Does not yield to other tasks when it is."""
        if not self._is_set:
            if self._event is None:
                self._event = anyio.Event()
            await self._event.wait()
