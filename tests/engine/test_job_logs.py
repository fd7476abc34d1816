"""What is left of a job whose server was killed in the middle of it, and what others see of it before."""

import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.schemas import Bound, LLMRequest, Retrying, Started, Text
from dragoman.store import CallLog, JobStarted, TurnEnded, TurnStarted, open_store
from dragoman.testing import FakeAdapter, FakeCli, Liveness
from dragoman.testing.fakes import Step

pytestmark = pytest.mark.anyio

EVENTS = ["started", "bound", "text", "tool"]
LONG_S = 120
"""Bounds a test on a busy machine."""

SERVER = """
import sys, anyio
from pathlib import Path
from dragoman.schemas import LLMRequest
from tests.engine.test_job_logs import engine

async def main(folder):
    async with engine(Path(folder)) as running:
        request = LLMRequest(prompt="one", provider="fake", conversation_id="talk")
        if "after a good turn" in sys.argv:
            await running.submit(request.model_copy(update={"prompt": "well"})).outcome()
        job = await running.jobs.start(request, face="test")
        await job.hand_out()
        print(job.id, flush=True)
        await job.wait()

anyio.run(main, sys.argv[1])
"""


@asynccontextmanager
async def engine(folder: Path) -> AsyncGenerator[Engine]:
    async with Engine(
        Configuration.model_validate({"retry": {"max_attempts": 1}}),
        adapters={"fake": FakeAdapter(keeps_sessions=True)},
        environ={"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder)},
        folder=folder,
        store_file=folder / "store.sqlite3",
    ) as running:
        yield running


async def test_what_a_job_said_outlives_the_sigkill_of_its_server_and_is_seen_by_others_before(tmp_path: Path) -> None:
    async with Liveness() as live:
        said: list[Step] = [
            {"read": "all"},
            {"line": {"bound": "s-1"}},
            {"line": {"text": "Par"}},
            {"line": {"tool": "Read"}},
        ]
        FakeCli(tmp_path, "dragoman-fake").script({"read": "all"}, *said, live.connect(), {"pause": True})
        argv = [sys.executable, "-c", SERVER, str(tmp_path)]
        with anyio.fail_after(LONG_S):
            async with await anyio.open_process(argv, stderr=subprocess.DEVNULL) as server, engine(tmp_path) as other:
                assert server.stdout is not None
                job_id = (await server.stdout.receive()).decode().strip()
                await live.connected()
                job = await other.jobs.find(job_id)
                while len((await job.events())[0]) < len(EVENTS):  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.05)
                seen = await (await other.jobs.find(job_id)).so_far()
                server.kill()
                await server.wait()
                await live.all_gone()
                reply = await (await other.jobs.find(job_id)).wait()
                events, _ = await (await other.jobs.find(job_id)).events()
                _, turns, _ = await other.conversations.show("talk")
                document = await other.conversations.export("talk", "markdown")
    assert (seen.status, seen.text) == ("running", "Par")
    assert (reply.status, reply.text, reply.provider) == ("interrupted", "Par", "fake")
    assert reply.notices == ("fake's own session of it is s-1",)
    assert [event.type for event in events] == EVENTS
    assert [(turn.status, turn.text) for turn in turns] == [("interrupted", "Par")]
    assert document.endswith("*fake: interrupted*\n\n## fake\n\nPar\n")


async def test_a_session_whose_turn_was_broken_off_by_a_sigkill_is_not_gone_on_with(tmp_path: Path) -> None:
    async with Liveness() as live:
        good: list[Step] = [
            {"read": "all"},
            {"line": {"bound": "s-1"}},
            {"line": {"text": "fine"}},
            {"line": {"done": {}}},
        ]
        half: list[Step] = [{"read": "all"}, {"line": {"bound": "s-1"}}, live.connect(), {"pause": True}]
        told: list[Step] = [{"read": "all"}, {"echo_stdin": True, "as": "text"}, {"line": {"done": {}}}]
        FakeCli(tmp_path, "dragoman-fake").scripts([*good, {"line": {"done": {}}}], half, told)
        argv = [sys.executable, "-c", SERVER, str(tmp_path), "after a good turn"]
        with anyio.fail_after(LONG_S):
            async with await anyio.open_process(argv, stderr=subprocess.DEVNULL) as server:
                await live.connected()
                async with open_store(tmp_path / "store.sqlite3") as store:
                    # A moment after its child was started at the latest.
                    while [turn.status for turn in await store.turns("talk")] != ["completed", "running"]:  # noqa: ASYNC110 - another process writes it
                        await anyio.sleep(0.01)
                server.kill()
                await server.wait()
            async with engine(tmp_path) as other:
                request = LLMRequest(prompt="two", provider="fake", conversation_id="talk")
                reply = await other.submit(request).outcome()
    asked = json.loads(reply.text)
    assert asked["session"]["is_new"]
    assert asked["session"]["id"] != "s-1"
    assert ("User: well" in asked["prompt"], "User: one" in asked["prompt"]) == (True, False)
    assert any("told the conversation again" in notice for notice in reply.notices)


async def test_a_server_that_is_told_to_stop_says_the_same_of_a_job(tmp_path: Path) -> None:
    async with Liveness() as live:
        said: list[Step] = [{"read": "all"}, {"line": {"bound": "s-1"}}, {"line": {"text": "Par"}}]
        FakeCli(tmp_path, "dragoman-fake").script(*said, live.connect(), {"pause": True})
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path) as running:
                job = await running.jobs.start(LLMRequest(prompt="one", provider="fake"), face="test")
                await live.connected()
                while not (await job.so_far()).text:  # noqa: ASYNC110 - the child said it before it connected
                    await anyio.sleep(0.001)
            async with engine(tmp_path) as other:
                reply = (await other.jobs.find(job.id)).reply()
    assert (reply.status, reply.text, reply.provider) == ("interrupted", "Par", "fake")
    assert reply.notices == ("fake's own session of it is s-1",)


async def test_of_an_attempt_that_was_given_up_nothing_is_told(tmp_path: Path) -> None:
    first = [Started(provider="one"), Bound(native_session="s-1"), Text(text="wrong")]
    again = [Retrying(attempt=2, cause="it crashed", starts_over=True), Started(provider="two"), Text(text="ri")]
    async with engine(tmp_path) as running, open_store(tmp_path / "store.sqlite3") as store:
        await store.write(CallLog("job", first))
        await store.write(CallLog("job", again))
        await store.write(CallLog("job", [Text(text="ght")]))
        heard = await running.jobs.logs.heard("job")
        assert (heard.text, heard.provider, heard.session) == ("right", "two", None)
        await store.write(CallLog("job", [Text(text="from its beginning")], anew=True))
        assert (await running.jobs.logs.heard("job")).text == "from its beginning"


async def test_an_answer_that_was_told_is_there_though_its_server_was_killed_before_the_job_had_its_end(
    tmp_path: Path,
) -> None:
    async with open_store(tmp_path / "store.sqlite3") as store:
        for name, ends in (("told", True), ("asked", False)):
            await store.write(JobStarted(name, "mcp", "one", provider="fake", conversation_id=name))
            await store.write(TurnStarted(name, name, "one"))
            if ends:
                turn = TurnEnded(name, name, "completed", "Paris", provider="fake", model="m", finish_reason="stop")
                await store.write(turn)
    async with engine(tmp_path) as running:
        told = (await running.jobs.find("told")).reply()
        asked = (await running.jobs.find("asked")).reply()
    assert (told.status, told.text, told.provider, told.model, told.error) == ("completed", "Paris", "fake", "m", None)
    assert asked.status == "interrupted"
