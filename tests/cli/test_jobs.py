"""``dragoman jobs``, ``ask --background`` and idempotency keys."""

import json
import signal
import sqlite3
import subprocess
from contextlib import closing
from typing import Any

import anyio
import pytest

from dragoman.engine.record import store_file
from dragoman.schemas import Bound, Started, Text
from dragoman.store import CallLog, JobStarted, open_store
from dragoman.testing import Liveness
from tests.cli.harness import DRAGOMAN, Shell

pytestmark = pytest.mark.anyio
LONG_S = 300
"""Bounds a test on a busy machine."""


def told(shell: Shell, *words: str) -> Any:  # noqa: ANN401 - JSON
    ended = shell("jobs", *words, "--json")
    return json.loads(ended.out)


def without_session(log: bytes) -> bytes:
    """A log without its line that names the provider's own session."""
    lines = log.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"session: "))


def owner(shell: Shell) -> int:
    """Which Dragoman the only job is one of: another one when it was taken over."""
    with closing(sqlite3.connect(shell.folder / "state" / store_file().name)) as db:
        return db.execute("SELECT server_id FROM jobs").fetchone()[0]


async def test_a_job_in_the_background_outlives_the_command_and_is_collected_by_another(shell: Shell) -> None:
    async with Liveness() as live:
        shell.llm(live.connect(), {"read": "all"}, {"wait": "gate"}, {"out": "at last"})
        with anyio.fail_after(LONG_S):
            started = await anyio.to_thread.run_sync(shell, "ask", "llm", "long work", "--background")
            job_id = started.out.decode().strip()
            assert (started.code, started.err) == (0, f"it works on; for its answer: dragoman jobs wait {job_id}\n")
            await live.connected()
            assert [(job["job_id"], job["status"]) for job in told(shell, "list")] == [(job_id, "running")]
            early = await anyio.to_thread.run_sync(shell, "jobs", "wait", job_id, "--timeout", "0")
            assert (early.code, early.out) == (6, b"")
            assert f"next step: wait again: dragoman jobs wait {job_id}" in early.err
            await live.release()
            done = await anyio.to_thread.run_sync(shell, "jobs", "wait", job_id)
        assert (done.code, done.out) == (0, b"at last\n")
        assert told(shell, "show", job_id)["status"] == "completed"
        assert without_session(shell("jobs", "log", job_id).out) == b"started: llm\ntext: 7 characters\n"
        beyond = shell("jobs", "log", job_id, "--page", "2")
        assert (beyond.code, "there is no page 2\nnext step: give a smaller one" in beyond.err) == (9, True)


async def test_looking_at_a_job_that_goes_on_alone_leaves_it_alone(shell: Shell) -> None:
    async with Liveness() as live:
        shell.llm({"read": "all"}, {"out": "all "}, live.connect(), {"wait": "gate"}, {"out": "of it"})
        with anyio.fail_after(LONG_S):
            started = await anyio.to_thread.run_sync(shell, "ask", "llm", "long work", "--background", "--json")
            job_id = json.loads(started.out)["job_id"]
            await live.connected()
            for look in (("show", job_id), ("list",), ("log", job_id), ("show", job_id)):
                looked = await anyio.to_thread.run_sync(shell, "jobs", *look)
                assert (looked.code, "interrupted" in looked.out.decode() + looked.err) == (0, False)
                assert len(live.alive) == 1
                said = {"show": b"all \n", "log": b"started: llm\ntext: 4 characters\n"}
                assert without_session(looked.out) == said.get(look[0], looked.out)
            await live.release()
            ended = await anyio.to_thread.run_sync(shell, "jobs", "wait", job_id, "-q")
    assert (ended.code, ended.out) == (0, b"all of it\n")


async def test_a_list_knows_what_ended_when_no_dragoman_was_there_has_pages_and_an_id_may_be_cut(shell: Shell) -> None:
    async with Liveness() as live:
        shell.llm({"read": "all"}, live.connect(), {"out": "done"})
        with anyio.fail_after(LONG_S):
            ids = [shell("ask", "llm", word, "--background").out.decode().strip() for word in ("one", "two")]
            await live.connected(2)
            await live.all_gone()
            while "running" in [job["status"] for job in told(shell, "list")]:
                pass  # its shepherd has not told yet how it ended
    jobs = told(shell, "list")
    assert [(job["job_id"], job["status"]) for job in jobs] == [(ids[1], "completed"), (ids[0], "completed")]
    first = shell("jobs", "list", "-n", "1")
    assert (first.out.decode().split()[-1], first.err) == ("two", "more: --page 2\n")
    assert [job["job_id"] for job in told(shell, "list", "-n", "1", "--page", "2")] == [ids[0]]
    assert shell("jobs", "wait", ids[0][:12], "-q").out == b"done\n"


async def test_giving_up_the_wait_leaves_the_job_alone_and_cancel_ends_it(shell: Shell) -> None:
    async with Liveness() as live:
        shell.llm(live.connect(), {"pause": True})
        with anyio.fail_after(LONG_S):
            started = await anyio.to_thread.run_sync(shell, "ask", "llm", "long work", "--background", "--json")
            reply = json.loads(started.out)
            assert reply["status"] == "running"
            await live.connected()
            before = owner(shell)
            waiting = subprocess.Popen(  # noqa: ASYNC220 - it takes a moment
                (*DRAGOMAN, "jobs", "wait", reply["job_id"]),
                cwd=shell.work,
                env=shell.variables,
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
            while owner(shell) == before:  # noqa: ASYNC110 - another process tells nobody
                await anyio.sleep(0.02)
            assert waiting.poll() is None
            waiting.send_signal(signal.SIGTERM)
            assert await anyio.to_thread.run_sync(lambda: waiting.wait(60)) == 130
            assert waiting.stderr is not None
            assert waiting.stderr.read().decode() == f"job {reply['job_id']} works on\n"
            waiting.stderr.close()
            assert told(shell, "show", reply["job_id"])["status"] == "running"
            ended = await anyio.to_thread.run_sync(shell, "jobs", "cancel", reply["job_id"])
            assert (ended.code, ended.err) == (0, f"job {reply['job_id']}: cancelled\n")
            await live.all_gone()
        assert shell("jobs", "wait", reply["job_id"]).code == 130


def test_a_failed_job_ends_the_wait_as_ask_would_have_ended(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"out": "half"}, {"err": "Error: Error code: 400 - what?\n"}, {"exit": 1})
    job_id = json.loads(shell("ask", "llm", "hi", "--background", "--json").out)["job_id"]
    ended = shell("jobs", "wait", job_id, "-q")
    assert (ended.code, ended.out) == (9, b"half\n")
    assert "dragoman: bad_request: Error code: 400 - what?" in ended.err


def test_the_same_key_asks_once(shell: Shell) -> None:
    cli = shell.llm({"read": "all"}, {"echo_stdin": True, "as": "raw"})
    for _ in range(2):
        assert shell("ask", "llm", "once", "--idempotency-key", "k").out == b"once\n"
    other = shell("ask", "llm", "twice", "--idempotency-key", "k")
    assert (other.code, "another question" in other.err) == (9, True)
    assert cli.starts == 1


async def test_no_id_is_no_job_and_a_beginning_that_several_have_is_none(shell: Shell) -> None:
    async with open_store(shell.folder / "state" / store_file().name) as store:
        for name in ("j1", "j2"):
            await store.write(JobStarted(name, "mcp", "a question"))
    several = shell("jobs", "show", "j")
    assert (several.code, "2 jobs begin with 'j'" in several.err, "j1" in several.err) == (9, True, True)
    for word in ("show", "wait", "cancel", "log"):
        ended = shell("jobs", word, "")
        assert (ended.code, "there is no job ''" in ended.err, "next step: list" in ended.err) == (3, True, True)


def test_without_jobs_nothing_is_listed_and_unknown_ids_are_explained(shell: Shell) -> None:
    assert shell("jobs", "list").err == "no jobs yet\n"
    assert told(shell, "list") == []
    for word in ("show", "wait", "cancel", "log"):
        ended = shell("jobs", word, "nothing")
        assert (ended.code, "there is no job 'nothing'" in ended.err) == (3, True)
        no_text = shell("jobs", word, "\udcff")
        assert (no_text.code, "there is no job" in no_text.err) == (3, True)


async def test_of_a_job_that_was_broken_off_there_is_its_text_and_how_its_provider_calls_its_session(
    shell: Shell,
) -> None:
    async with open_store(shell.folder / "state" / store_file().name) as store:
        await store.write(JobStarted("j1", "mcp", "a question", provider="claude", conversation_id="talk"))
        heard = (Started(provider="claude"), Bound(native_session="s-1"), Text(text="so far"))
        await store.write(CallLog("j1", heard))
    for words in (("show", "j1"), ("wait", "j1")):
        ended = await anyio.to_thread.run_sync(shell, "jobs", *words)
        assert ended.out == b"so far\n"
        assert "notice: claude's own session of it is s-1\n" in ended.err
        assert "next step: ask again, in the same conversation" in ended.err
    quiet = await anyio.to_thread.run_sync(shell, "jobs", "wait", "j1", "--quiet")
    assert "notice" not in quiet.err
