"""Running a short command to its end, for questions such as ``--version``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import anyio

from dragoman.processes.child import Child, Command

CAPTURE_BYTES = 1024 * 1024
GRACE_S = 0.2


@dataclass(frozen=True)
class Captured:
    """What a short command said. ``code`` None: it did not end in time and was killed."""

    code: int | None
    stdout: str
    stderr: str


class Spawns(Protocol):
    """What starts children."""

    async def spawn(self, command: Command) -> Child:
        """Start one."""
        ...


async def capture(spawner: Spawns, command: Command, timeout_s: float) -> Captured:
    """Run a command with an empty stdin and collect what it says, at most 1 MiB of each stream.

    Raises:
        SpawnError: it could not be started.
    """
    child = await spawner.spawn(replace(command, grace_s=GRACE_S))
    out, err = bytearray(), bytearray()
    code: int | None = None
    try:
        child.close_stdin()
        with anyio.move_on_after(timeout_s):
            async with anyio.create_task_group() as readers:
                readers.start_soon(_collect, child, out, False)
                readers.start_soon(_collect, child, err, True)
                code = await child.wait()
                # A grandchild may keep the streams open: what the command itself said is there by now.
                readers.cancel_scope.deadline = anyio.current_time() + 0.2
    finally:
        child.close()
        with anyio.CancelScope(shield=True):
            await child.gone()
    return Captured(code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


async def _collect(child: Child, into: bytearray, from_stderr: bool) -> None:
    while chunk := await (child.read_stderr() if from_stderr else child.read_stdout()):
        into += chunk[: CAPTURE_BYTES - len(into)]
