"""Jobs that go on without the server that started them."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest

from dragoman.config import Configuration
from dragoman.engine import Engine, conversations
from dragoman.engine.jobs.detached import jobs_folder
from dragoman.engine.record import store_file
from dragoman.latch import Latch
from dragoman.processes import read_end
from dragoman.processes.streams import GrowingFile
from dragoman.schemas import ErrorCode, LLMError, LLMRequest, Text, TimeoutOverrides
from dragoman.store import open_store
from dragoman.testing import FakeAdapter, FakeCli, Liveness
from dragoman.testing.fakes import Step

pytestmark = pytest.mark.anyio

LONG_S = 120
"""Bounds a test on a busy machine."""

SERVER = """
import sys, anyio
from pathlib import Path
from dragoman.schemas import LLMRequest
from tests.engine.test_detached import engine

async def main(folder):
    async with engine(Path(folder)) as running:
        job = await running.jobs.start(LLMRequest(prompt="one", provider="fake", background=True), face="test")
        print(job.id, flush=True)
        await job.wait()
        print("answered", flush=True)

anyio.run(main, sys.argv[1])
"""

NEXT_SERVER = """
import os, signal, sys, anyio
from pathlib import Path
from dragoman.engine.jobs.detached import jobs_folder
from tests.engine.test_detached import engine

async def main(folder, job_id):
    async with engine(Path(folder)) as running:
        reply = await (await running.jobs.find(job_id)).wait()
        print(reply.text, flush=True)
        while list(jobs_folder().iterdir()):
            await anyio.sleep(0.001)  # nothing tells when a folder is gone
        os.kill(os.getpid(), signal.SIGKILL)

anyio.run(main, *sys.argv[1:])
"""


@asynccontextmanager
async def engine(folder: Path, *, attempts: int = 1, places: int = 10) -> AsyncGenerator[Engine]:
    async with Engine(
        Configuration.model_validate({"retry": {"max_attempts": attempts}, "limits": {"max_concurrency": places}}),
        adapters={"fake": FakeAdapter(detaches=True, keeps_sessions=True)},
        environ={"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder)},
        folder=folder,
    ) as running:
        yield running


def script(folder: Path, *steps: Step) -> None:
    FakeCli(folder, "dragoman-fake").script(*steps)


def slowly(live: Liveness) -> list[Step]:
    return [
        {"read": "all"},
        {"line": {"text": "first "}},
        {"connect": live.port},
        {"wait": "gate"},
        {"line": {"text": "second"}},
        {"line": {"done": {}}},
    ]


async def forgotten() -> None:
    """Wait until nothing of ended jobs is left, which comes after their replies."""
    while list(jobs_folder().iterdir()):  # noqa: ASYNC110 - nothing tells
        await anyio.sleep(0.001)


async def start(running: Engine) -> str:
    request = LLMRequest(prompt="one", provider="fake", background=True, conversation_id="talk")
    return (await running.jobs.start(request, face="test")).id


async def test_a_job_goes_on_when_its_engine_is_left_and_the_next_one_has_all_of_its_answer(tmp_path: Path) -> None:
    async with Liveness() as live:
        script(tmp_path, *slowly(live))
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path) as running:
                job_id = await start(running)
                await live.connected()
            async with engine(tmp_path) as other:
                job = await other.jobs.find(job_id)
                assert job.reply().status == "running"
                while (await job.so_far()).text != "first ":  # noqa: ASYNC110 - nothing tells
                    await anyio.sleep(0.01)
                _, [so_far], _ = await other.conversations.show("talk")
                await live.release()
                reply = await job.wait()
                _, turns, _ = await other.conversations.show("talk")
                await forgotten()
            async with engine(tmp_path) as third:
                again = (await third.jobs.find(job_id)).reply()
    assert (so_far.status, so_far.text) == ("running", "first ")
    assert (reply.status, reply.text, reply.conversation_id, len(reply.attempts)) == (
        "completed",
        "first second",
        "talk",
        1,
    )
    assert [(turn.prompt, turn.text, turn.status) for turn in turns] == [("one", "first second", "completed")]
    assert again.text == reply.text


async def test_who_looks_at_a_job_that_was_taken_over_sees_all_that_it_had_said_however_slowly_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = GrowingFile.read

    async def read_slowly(self: GrowingFile, exited: Latch) -> bytes:
        await anyio.sleep(0.2)  # what is slow
        return await read(self, exited)

    async with Liveness() as live:
        script(tmp_path, *slowly(live))
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path) as running:
                job_id = await start(running)
                await live.connected()
            monkeypatch.setattr(GrowingFile, "read", read_slowly)
            async with engine(tmp_path) as other:
                job = await other.jobs.find(job_id)
                so_far = await job.so_far()
                await live.release()
                reply = await job.wait()
    assert (so_far.status, so_far.text) == ("running", "first ")
    assert (reply.status, reply.text) == ("completed", "first second")


async def test_each_attempt_of_a_call_that_was_handed_out_goes_on_when_its_engine_is_left(tmp_path: Path) -> None:
    async with Liveness() as live:
        FakeCli(tmp_path, "dragoman-fake").scripts([{"read": "all"}, {"exit": 1}], slowly(live))
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path, attempts=2) as running:
                job = await running.jobs.start(LLMRequest(prompt="one", provider="fake"), face="test")
                await job.hand_out()
                await live.connected()
                while not (await running.jobs.find(job.id)).info.background:  # noqa: ASYNC110 - nothing tells
                    await anyio.sleep(0.001)
            async with engine(tmp_path, attempts=2) as other:
                await live.release()
                reply = await (await other.jobs.find(job.id)).wait()
                await live.all_gone(LONG_S)
                await forgotten()
    assert (reply.status, reply.text) == ("completed", "first second")


async def test_a_job_goes_on_when_whoever_opened_its_engine_is_cancelled(tmp_path: Path) -> None:
    async with Liveness() as live:
        script(tmp_path, *slowly(live))
        jobs: list[str] = []
        with anyio.fail_after(LONG_S):
            with anyio.CancelScope() as opened:
                async with engine(tmp_path) as running:
                    jobs.append(await start(running))
                    await live.connected()
                    opened.cancel()
                    await anyio.sleep_forever()
            await live.release()
            async with engine(tmp_path) as other:
                reply = await (await other.jobs.find(jobs[0])).wait()
    assert (reply.status, reply.text) == ("completed", "first second")


@pytest.mark.parametrize("moment_s", [0, 0.003, 0.01, 0.03])
async def test_a_job_whose_engine_is_left_while_its_child_is_started_begins_once(
    tmp_path: Path, moment_s: float
) -> None:
    cli = FakeCli(tmp_path, "dragoman-fake")
    cli.script({"read": "all"}, {"line": {"text": "begun"}}, {"line": {"done": {}}})
    with anyio.fail_after(LONG_S):
        async with engine(tmp_path) as running:
            job_id = await start(running)
            await anyio.sleep(moment_s)  # to be somewhere in its start
        async with engine(tmp_path) as other:
            reply = await (await other.jobs.find(job_id)).wait()
    assert (reply.status, reply.text, cli.starts) == ("completed", "begun", 1), reply


async def test_a_reply_that_the_next_server_told_just_before_its_death_is_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path / "state"))
    cli = FakeCli(tmp_path, "dragoman-fake")
    async with Liveness() as live:
        cli.script(*slowly(live))
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path) as running:
                job = await running.jobs.start(LLMRequest(prompt="one", provider="fake"), face="test")
                await live.connected()
                await job.hand_out()
            await live.release()
            argv = [sys.executable, "-c", NEXT_SERVER, str(tmp_path), job.id]
            second = await anyio.run_process(argv, check=False)
            async with engine(tmp_path) as third:
                reply = await (await third.jobs.find(job.id)).wait()
    assert (second.returncode, second.stdout) == (-signal.SIGKILL, b"first second\n"), second.stderr
    assert (reply.status, reply.text, cli.starts) == ("completed", "first second", 1)


async def test_its_conversation_goes_on_after_it_wherever_it_is_asked(tmp_path: Path) -> None:
    async with Liveness() as live:
        answering: list[Step] = [{"read": "all"}, {"echo_stdin": True, "as": "text", "pick": "prompt"}]
        FakeCli(tmp_path, "dragoman-fake").scripts(slowly(live), [*answering, {"line": {"done": {}}}])
        request = LLMRequest(prompt="two", provider="fake", conversation_id="talk")
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path) as running:
                await start(running)
                await live.connected()
            async with engine(tmp_path) as other, engine(tmp_path) as third:
                hurried = await third.submit(request.model_copy(update={"if_busy": "fail"})).outcome()
                call = other.submit(request)
                with anyio.move_on_after(1):
                    await call.outcome()
                waits = call.reply is None
                await live.release()
                reply = await call.outcome()
                _, turns, _ = await other.conversations.show("talk")
    assert waits
    assert hurried.error is not None
    assert hurried.error.code is ErrorCode.OVERLOADED
    assert reply.text.count("two") == 1
    assert "first second" in reply.text
    assert [(turn.prompt, turn.status) for turn in turns] == [("one", "completed"), ("two", "completed")]


async def test_a_conversation_whose_turn_goes_on_alone_is_not_reset_or_deleted_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Liveness() as live:
        script(tmp_path, *slowly(live))
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path) as running:
                job_id = await start(running)
                await live.connected()
            async with engine(tmp_path) as other:
                with monkeypatch.context() as impatient:
                    impatient.setattr(conversations, "BUSY_S", 0.2)
                    for change in (other.conversations.reset, other.conversations.delete):
                        with pytest.raises(LLMError, match="in use by a call"):
                            await change("talk")
                job = await other.jobs.find(job_id)
                await live.release()
                await other.conversations.reset("talk")
                reply = await job.wait()
                _, turns, _ = await other.conversations.show("talk")
    assert (reply.text, reply.notices, turns) == ("first second", (), [])


async def test_a_job_that_ended_while_nobody_was_there_has_its_answer(tmp_path: Path) -> None:
    async with Liveness() as live:
        script(tmp_path, *slowly(live))
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path) as running:
                job_id = await start(running)
                await live.connected()
            await live.release()
            await live.all_gone(LONG_S)
            async with engine(tmp_path) as other:
                reply = await (await other.jobs.find(job_id)).wait()
    assert (reply.status, reply.text) == ("completed", "first second")


async def test_a_job_that_is_fetched_late_took_as_long_as_its_child_did(tmp_path: Path) -> None:
    asked = time.time() // 1 - 1000
    async with Liveness() as live:
        script(tmp_path, *slowly(live))
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path) as running:
                job_id = await start(running)
                await live.connected()
            await live.release()
            folder = jobs_folder() / job_id
            while read_end(folder) is None:  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.01)
            # As if its child had lived from the second until the fifth second after it was asked.
            with closing(sqlite3.connect(store_file())) as db, db:
                db.execute("UPDATE jobs SET created_at = ?", (asked,))
            code, _, by = (folder / "exit").read_text().split()
            (folder / "exit").write_text(f"{code} {asked + 5} {by}")
            words = (folder / "shepherd").read_text().split(" ")
            (folder / "shepherd").write_text(" ".join((*words[:4], str(asked + 1), *words[5:])))
            async with engine(tmp_path) as other:
                job = await other.jobs.find(job_id)
                reply = await job.wait()
                here = (await other.jobs.find(job_id)).info
                _, [turn], _ = await other.conversations.show("talk")
                await forgotten()
            async with engine(tmp_path) as third:
                read = (await third.jobs.find(job_id)).info
            async with open_store(store_file()) as store:
                [stats] = await store.stats()
    assert (reply.text, reply.duration_s, reply.first_output_s) == ("first second", 5, None)
    assert [attempt.duration_s for attempt in reply.attempts] == [4]
    assert (here.ended_at, read.ended_at, turn.ended_at) == (asked + 5,) * 3
    assert (stats.latency_p50_s, stats.first_output_p50_s) == (5, None)


async def test_an_answer_that_was_given_in_time_is_read_however_late_and_waits_for_no_place(
    tmp_path: Path,
) -> None:
    async with Liveness() as live:
        script(tmp_path, *slowly(live))
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path) as running:
                job_id = await start(running)
                await live.connected()
            await live.release()
            await live.all_gone(LONG_S)
            turn = jobs_folder() / job_id / "turn.json"
            turn.write_text(json.dumps({**json.loads(turn.read_text()), "until": 1.0}))
            async with engine(tmp_path, places=1) as other:
                # Whoever is asked now has the only place.
                script(tmp_path, live.connect(), {"pause": True})
                other.submit(LLMRequest(prompt="two", provider="fake"))
                await live.connected(2)
                reply = await (await other.jobs.find(job_id)).wait()
    assert (reply.status, reply.text) == ("completed", "first second")


async def test_a_job_whose_time_was_over_while_nobody_was_there_says_so_and_has_what_was_said(tmp_path: Path) -> None:
    async with Liveness() as live:
        script(tmp_path, {"read": "all"}, {"line": {"text": "first "}}, {"connect": live.port}, {"pause": True})
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path) as running:
                request = LLMRequest(prompt="one", provider="fake", background=True, timeouts=TimeoutOverrides(call=10))
                job_id = (await running.jobs.start(request, face="test")).id
                await live.connected()
            await live.all_gone(LONG_S)
            async with engine(tmp_path) as other:
                reply = await (await other.jobs.find(job_id)).wait()
    assert reply.error is not None
    assert (reply.error.code, reply.error.clock, reply.text) == (ErrorCode.TIMEOUT, "call", "first ")


async def test_a_job_survives_the_sigkill_of_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Liveness() as live:
        script(tmp_path, *slowly(live))
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "DRAGOMAN_HOME": os.environ["DRAGOMAN_HOME"]}
        with subprocess.Popen(  # noqa: ASYNC220 - as short as a fork
            [sys.executable, "-c", SERVER, str(tmp_path)], stdout=subprocess.PIPE, env=environment, text=True
        ) as server:
            assert server.stdout is not None
            job_id = server.stdout.readline().strip()
            with anyio.fail_after(LONG_S):
                await live.connected()
                async with engine(tmp_path) as other:
                    job = await other.jobs.find(job_id)
                    assert job.call is None, "its server lives"
                    server.send_signal(signal.SIGKILL)
                    server.wait()
                    await live.release()
                    reply = await job.wait()
    assert (reply.status, reply.text) == ("completed", "first second")


async def test_cancelling_a_job_of_a_server_that_is_gone_ends_its_tree(tmp_path: Path) -> None:
    async with Liveness() as live:
        hidden: Step = {"grandchild": {"setsid": True, "connect": live.port}}
        script(tmp_path, {"read": "all"}, {"line": {"text": "half"}}, hidden, {"connect": live.port}, {"pause": True})
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path) as running:
                job_id = await start(running)
                await live.connected(2)
            async with engine(tmp_path) as other:
                job = await other.jobs.find(job_id)
                assert job.call is not None
                async for event in job.call.log.follow():
                    if isinstance(event, Text):
                        break
                reply = await job.cancel()
                await live.all_gone(LONG_S)
    assert (reply.status, reply.text) == ("cancelled", "half")


async def test_a_job_whose_shepherd_was_killed_is_tried_again_or_ends_as_a_failure(tmp_path: Path) -> None:
    async with Liveness() as live:
        script(tmp_path, *slowly(live))
        with anyio.fail_after(LONG_S):
            async with engine(tmp_path) as running:
                job_id = await start(running)
                await live.connected()
            (folder,) = jobs_folder().iterdir()
            os.kill(int((folder / "shepherd").read_text().split()[0]), signal.SIGKILL)
            await live.all_gone(LONG_S)
            async with engine(tmp_path) as other:
                reply = await (await other.jobs.find(job_id)).wait()
    assert reply.status == "failed"
    assert reply.text == "first "
    assert json.loads(reply.model_dump_json())["error"]["code"] == "crashed"
