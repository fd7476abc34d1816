"""Playing one row through the real server and writing down what happened."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from dragoman.processes.tree import children
from dragoman.testing import FakeCli, Liveness
from dragoman.testing.fakes import Step
from tests.faults.rows import Row
from tests.server.wire import Wire, served

BOUND_S = 180
"""Bounds a row on a slow machine. The gigabyte takes the longest."""
GONE_S = 60
"""How long what is to be gone may take; the shepherds' grace is 1.5 s, on a machine that may be busy."""
LONGER = (1, 10, 100)
"""How many times longer a clock may have to be on a machine where the CLI would not have begun when it fired."""
COMES_S = 5
"""How long after its clock has fired a CLI may come that had not begun."""


@dataclass(frozen=True)
class Seen:
    """What happened. ``left``: processes and private folders that were there when they should not."""

    code: str
    clock: str | None
    text: str
    notices: tuple[str, ...]
    seconds: float
    """Until the caller had the reply, or, where none is to come, until nothing was left."""
    gone_s: float
    """Until nothing was left."""
    grown_mib: float | None
    """None: the server was dead before it could be asked."""
    left: int
    told: tuple[str, ...] = ()
    """The fields of the error that have a value."""


def as_expected(row: Row, seen: Seen) -> bool:
    """Whether it went as the row says, and nothing is left."""
    return (
        (seen.code, seen.clock, seen.text) == (row.code, row.clock, row.text)
        and row.notice in " ".join(seen.notices)
        and (not row.told or row.told in seen.told)
        and seen.left == 0
    )


async def play(row: Row, folder: Path) -> Seen:
    """Play a row in an empty folder.

    Raises:
        TimeoutError: the CLI had never done its part when the clock fired that was to find it at that.
    """
    for times in LONGER:
        part = folder / str(times)
        part.mkdir()
        if (seen := await _play(row, part, times)) is not None:
            return seen
    raise TimeoutError(f"{row.id}: whatever the clock was set to, it fired before the CLI had done its part")


async def _play(row: Row, folder: Path, longer: int) -> Seen | None:
    """None: the clock that is to fire was too quick for this machine."""
    is_raced = row.clock in ("startup", "attempt")
    for name in ("bin", "home", "state", "tmp"):
        (folder / name).mkdir()
    if row.configure:
        (folder / "config" / "dragoman").mkdir(parents=True)
        text = row.configure.replace("FOLDER", str(folder))
        (folder / "config" / "dragoman" / "config.toml").write_text(text, encoding="utf-8")
    with anyio.fail_after(BOUND_S):
        async with Liveness() as live:
            if row.prepare is not None:
                row.prepare(folder / "bin")
            elif row.steps is not None:
                FakeCli(folder / "bin", "claude", version="2.1.329").script(
                    live.connect(), *_connected(row.steps, live)
                )
            async with served(folder, _environment(row, folder, longer), "legacy") as wire:
                await wire.open()
                before = _peak_mib(wire.process.pid)
                started = time.monotonic()
                code, reply = await _happen(row, wire, live)
                replied = time.monotonic()
                after = _peak_mib(wire.process.pid)
                if row.steps is not None:
                    # The reply may be here before the news of who connected, and of nobody all are gone.
                    with suppress(TimeoutError):
                        await live.connected(row.processes, COMES_S if is_raced else GONE_S)
                with suppress(TimeoutError):
                    await live.all_gone(GONE_S)
                gone = time.monotonic()
                folders = await _left_in(folder / "tmp")
            if is_raced and (len(live.peers) < row.processes or (row.text and not reply.get("text"))):
                return None
            if row.steps is not None:
                assert len(live.peers) == row.processes, "not everyone was there who could have been left"
            error = reply.get("error", {})
            return Seen(
                code,
                error.get("clock"),
                reply.get("text", ""),
                tuple(reply.get("notices", ())),
                replied - started,
                gone - started,
                None if before is None or after is None else after - before,
                len(live.alive) + folders,
                tuple(error),
            )


async def _left_in(folder: Path) -> int:
    """How many private folders stay; a shepherd, or the server for one that was killed, may still be removing one."""
    with anyio.move_on_after(GONE_S):
        while any(folder.iterdir()):  # noqa: ASYNC110, ASYNC240 - a file system has no other sign
            await anyio.sleep(0.01)
    return len(list(folder.iterdir()))  # noqa: ASYNC240 - a test may wait for its disk


async def _happen(row: Row, wire: Wire, live: Liveness) -> tuple[str, dict[str, Any]]:
    number = await wire.start("ask_claude", prompt=row.prompt, max_wait_s=BOUND_S)
    if row.event is not None:
        await live.connected(row.processes)
        await _heard_part(wire)
        if row.event == "cancel":
            await wire.cancel(number)
            await live.all_gone()
            await wire.request("tools/list", {})  # what it was to say before, it has said then
            assert not any(message.get("id") == number for message in wire.received)
            return "no answer", {}
        if row.event == "vanish":
            await wire.close_stdin()
            return f"exit {await wire.ended()}", {}
        if "server" in row.event:
            for pid in _victims(row.event, wire.process.pid):
                os.kill(pid, _signal(row.event))
            await wire.process.wait()
            return f"exit {wire.process.returncode}", {}
        for pid in _victims(row.event, wire.process.pid):
            os.kill(pid, _signal(row.event))
        if row.event == "KILL guardian":
            await live.release("cli")
    elif row.processes > 1:
        await live.connected(row.processes)
        await live.release("cli")
    reply: dict[str, Any] = (await wire.answer(number))["structuredContent"]
    page = reply
    while "next_page" in page:
        result = await wire.call("job", action="result", job_id=page["job_id"], page=page["next_page"])
        page = result["structuredContent"]
        reply["text"] += page["text"]
    return reply["error"]["code"] if "error" in reply else reply["status"], reply


async def _heard_part(wire: Wire) -> None:
    """Wait until the server has told of what the CLI said: from then on the call is under way for certain."""
    while not any(message.get("method") == "notifications/progress" for message in wire.received):
        await wire.receive()


def _victims(event: str, server: int) -> Sequence[int]:
    guardians = [pid for pid in children(server) if b"guardian.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    match event.split(" ", 1)[1]:
        case "server":
            return [server]
        case "guardian":
            return guardians
        case "guardian and server":
            return [*guardians, server]
        case _:
            return [pid for guardian in guardians for pid in children(guardian) if children(pid)]


def _signal(event: str) -> signal.Signals:
    return signal.Signals[f"SIG{event.split()[0]}"]


def _connected(steps: Sequence[Step], live: Liveness) -> list[Step]:
    """The steps with every grandchild connected, too."""
    return [
        {"grandchild": {**step["grandchild"], "connect": live.port}} if "grandchild" in step else step for step in steps
    ]


def _environment(row: Row, folder: Path, longer: int) -> dict[str, str]:
    clocks = {name: str(float(value) * longer) for name, value in row.environment.items() if "__TIMEOUTS__" in name}
    return {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "DRAGOMAN_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "DRAGOMAN_RETRY__MAX_ATTEMPTS": "1",
        "DRAGOMAN_PROVIDERS__CLAUDE__TIMEOUTS__SPAWN": "60",
        "LANG": "C.UTF-8",
        **row.environment,
        **clocks,
    }


def _peak_mib(pid: int) -> float | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), None)
