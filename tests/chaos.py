"""A busy server that is killed at a random moment, again and again. Nothing may be left of it."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import anyio

from dragoman.processes.tree import children
from dragoman.store import open_store
from dragoman.testing import FakeCli, Liveness
from dragoman.testing.fakes import Step
from tests.server.wire import served

CALLS = 5
GONE_S = 60
"""Bounds the test, not the product: the shepherds' grace is 1.5 s, on a machine that may be busy with other things."""

LIFE_S = 180


async def kill_again_and_again(kills: int, folder: Path, seed: int) -> None:
    """Kill a server `kills` times; half of the times the guardian or a shepherd, too, just before or just after."""
    chance = random.Random(seed)  # noqa: S311 - to be repeatable
    environment = _prepare(folder)
    for _ in range(kills):
        async with Liveness() as live:
            _script(folder, live)
            await _one_life(chance, folder, environment, live)
            await live.all_gone(GONE_S)
    await _check(folder)
    async with served(folder, environment, "legacy") as wire:
        # Private folders of which a killed server had not told anybody yet go with the next one's first look around.
        await wire.open()
        with anyio.move_on_after(GONE_S):
            while _left_in(folder / "tmp"):  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.02)
    assert _left_in(folder / "tmp") == []


def _left_in(folder: Path) -> list[Path]:
    """What is there, but for the file by which Python's `tempfile` finds out that it can write: killed just then, a
    process leaves it, with nothing of ours in it."""
    return [path for path in folder.rglob("*") if not (path.is_file() and path.read_bytes() in (b"", b"blat"))]


def _prepare(folder: Path) -> dict[str, str]:
    for name in ("bin", "tmp", "state"):
        (folder / name).mkdir()
    return {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "DRAGOMAN_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "DRAGOMAN_LIMITS__MAX_CONCURRENCY": str(CALLS),
        "DRAGOMAN_PROVIDERS__LLM__MAX_CONCURRENCY": str(CALLS),
        "LANG": "C.UTF-8",
    }


def _script(folder: Path, live: Liveness) -> None:
    """Every start plays another part: an answer, an answer and no end, silence, deaf to signals, hidden below."""
    # By its name it is found, too, when it never connected.
    hides = {"setsid": True, "double_fork": True, "clear_env": True, "connect": live.port, "as": str(folder)}
    hidden: Step = {"grandchild": hides}
    parts: list[list[Step]] = [
        [{"read": "all"}, {"out": "Paris"}],
        [{"read": "all"}, {"out": "Paris"}, {"close": "stdout"}, {"pause": True}],
        [{"pause": True}],
        [{"ignore": ["TERM", "INT", "HUP"]}, hidden, {"pause": True}],
        [hidden, {"err": "bye"}, {"exit": 3}],
    ]
    count: Step = {"count_start": str(folder / "starts")}
    FakeCli(folder / "bin", "llm").script(live.connect(), count, {"by_start": parts * 400})


async def _one_life(chance: random.Random, folder: Path, environment: Mapping[str, str], live: Liveness) -> None:
    with anyio.fail_after(LIFE_S):
        async with served(folder, environment, "legacy") as wire:
            await wire.open()
            for number in range(CALLS):
                await wire.start("ask_llm", prompt=f"question {number}", system_prompt="Be brief.")
            # From before the first child to long after the last one.
            if chance.random() < 0.7:
                await live.connected()
            await anyio.sleep(chance.uniform(0, 0.3))  # any moment will do
            guardians = children(wire.process.pid)
            shepherds = [pid for guardian in guardians for pid in children(guardian)]
            victims = [wire.process.pid]
            if chance.random() < 0.3:
                victims += guardians
            elif chance.random() < 0.3 and shepherds:
                victims.append(chance.choice(shepherds))
            chance.shuffle(victims)
            for pid in victims:
                _kill(pid)
            await wire.process.wait()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # a shepherd whose child just ended
        os.kill(pid, signal.SIGKILL)


def _command_lines() -> Iterator[str]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            yield file.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")


def _lines_of(folder: Path) -> list[str]:
    return [line for line in _command_lines() if str(folder) in line]


async def _check(folder: Path) -> None:
    """No process, also none that never connected; the store whole and nobody thought to be at work."""
    with anyio.move_on_after(GONE_S):
        # One that never connected may be a moment later than those that did.
        while _lines_of(folder):  # noqa: ASYNC110 - nothing tells
            await anyio.sleep(0.02)
    assert _lines_of(folder) == []
    file = folder / "state" / "dragoman.sqlite3"
    async with open_store(file):
        pass
    with sqlite3.connect(file) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("SELECT count(*) FROM calls WHERE status = 'running'").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM calls").fetchone() > (0,)
    db.close()
