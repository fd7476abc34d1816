"""What is said to a child, in its order, whether it reads or not."""

from __future__ import annotations

from collections import deque

from anyio.abc import TaskGroup

from dragoman.latch import Latch
from dragoman.processes import Child

MAX_UNREAD = 10_000
"""How many messages may wait for a child to read them. One that asks and never reads its answers has no end."""


class Outbox:
    """See the module."""

    def __init__(self, child: Child) -> None:
        self.input_ended = Latch()
        """Set when the child is told nothing more."""
        self.is_writing = False
        """Whether a task is busy with what the child has not read yet."""
        self._child = child
        self._waiting = deque[bytes | None]()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be put."""
        return len(self._waiting) >= MAX_UNREAD

    def put(self, data: bytes | None, tasks: TaskGroup) -> None:
        """Say this next; None: nothing more. What has to wait does so in a task of `tasks`."""
        if not self.is_writing:
            # Most of what is said is short: no task need wait with it.
            if data is None:
                self._end()
                return
            if self._child.write_at_once(data):
                return
            self.is_writing = True
            tasks.start_soon(self._write)
        self._waiting.append(data)

    async def _write(self) -> None:
        while self._waiting:
            data = self._waiting.popleft()
            # If it does not read any more, why is in its output and its exit.
            if data is None or not await self._child.write(data):
                self._end()
        self.is_writing = False

    def _end(self) -> None:
        self._child.close_stdin()
        self.input_ended.set()
