"""A conversation, and long jobs beside it, while the server is killed at random moments, again and again."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import anyio

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.store import open_store
from dragoman.testing import FakeCli
from tests.server.wire import Wire, served

JOB_EVERY = 6
"""Every so many turns there is a job in the background, too."""
PATIENCE_S = 240
"""Bounds what is waited for on a machine that is busy with other things."""


async def talk_and_kill(turns: int, folder: Path, seed: int, *, kill: float = 0.25) -> int:
    """Take so many turns in one conversation; a share of them is interrupted by a SIGKILL. How many kills it were."""
    chance = random.Random(seed)  # noqa: S311 - to be repeatable
    environment = _prepare(folder)
    heard: dict[int, str] = {}
    jobs: dict[str, int] = {}
    asked = kills = 0
    while asked < turns:
        with anyio.fail_after(PATIENCE_S):
            async with served(folder, environment, "legacy") as wire:
                await wire.open()
                while asked < turns:
                    asked += 1
                    if asked % JOB_EVERY == 0:
                        job = await _started(wire, asked)
                        jobs[job] = asked
                    request = await wire.start("ask_llm", prompt=f"question {asked}", conversation_id="talk")
                    if chance.random() < kill:
                        kills += 1
                        await anyio.sleep(chance.uniform(0, 0.15))  # any moment will do
                        wire.process.kill()
                        await wire.process.wait()
                        break
                    heard[asked] = _text(await wire.answer(request))
    await _check(folder, environment, heard, jobs)
    return kills


async def _started(wire: Wire, number: int) -> str:
    result = await wire.call("ask_llm", prompt=f"question {number} in the background", background=True, max_wait_s=0)
    return str(result["structuredContent"]["job_id"])


def _text(result: dict[str, Any]) -> str:
    assert result["structuredContent"]["status"] == "completed", result
    return str(result["structuredContent"]["text"])


def _prepare(folder: Path) -> dict[str, str]:
    for name in ("bin", "tmp", "state"):
        (folder / name).mkdir()
    # The last line of what it is asked, a while later when that is a long question.
    FakeCli(folder / "bin", "llm").script({"read": "all"}, {"sleep": 0.05}, {"echo_stdin": True, "as": "raw"})
    return {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "DRAGOMAN_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "LANG": "C.UTF-8",
    }


async def _check(folder: Path, environment: dict[str, str], heard: dict[int, str], jobs: dict[str, int]) -> None:
    file = folder / "state" / "dragoman.sqlite3"
    async with Engine(Configuration(), environ=environment, folder=folder, store_file=file) as engine:
        with anyio.fail_after(PATIENCE_S):
            for job_id, number in jobs.items():
                reply = await (await engine.jobs.find(job_id)).wait()
                assert (reply.status, reply.text) == ("completed", f"question {number} in the background"), reply
    async with open_store(file) as store:
        turns = await store.turns("talk")
        good = {turn.prompt: turn.text for turn in turns if turn.status == "completed"}
        assert {f"question {number}": text for number, text in heard.items()}.items() <= good.items()
        assert {turn.status for turn in turns} <= {"completed", "interrupted"}
        assert [turn.number for turn in turns] == list(range(1, len(turns) + 1))
