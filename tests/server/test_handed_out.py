"""A call that was handed out by its id, and its server, which ends in every way there is."""

import random
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from dragoman.testing import FakeCli, Liveness
from dragoman.testing.fakes import Step
from tests.server.serving import variables
from tests.server.wire import Wire, served

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the full promise is Linux's"),
]
LONG_S = 180
"""Bounds a test on a busy machine."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where servers run, one after another; `work` is where they were started."""
    for name in ("bin", "home", "work", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path


def script(folder: Path, *steps: Step) -> FakeCli:
    """What `llm` does."""
    cli = FakeCli(folder / "bin", "llm")
    cli.script({"read": "all"}, *steps)
    return cli


def slowly(live: Liveness) -> list[Step]:
    return [{"out": "first "}, {"err": "a thought\n"}, live.connect(), {"wait": "gate"}, {"out": "second"}]


def serving(folder: Path, mode: str = "legacy") -> AbstractAsyncContextManager[Wire]:
    return served(folder, {**variables(folder), "TMPDIR": str(folder / "tmp")}, mode)


async def handed_out(wire: Wire, **arguments: object) -> str:
    """Ask and do not wait. Once its id is told the job is one that goes on without its server."""
    running = (await wire.call("ask_llm", prompt="hi", max_wait_s=0, **arguments))["structuredContent"]
    assert running["status"] == "running", running
    return running["job_id"]


async def listed(wire: Wire) -> dict[str, dict[str, Any]]:
    jobs = (await wire.call("job", action="list"))["structuredContent"]["jobs"]
    return {job["job_id"]: job for job in jobs}


async def outcome(wire: Wire, job_id: str, action: str = "wait") -> dict[str, Any]:
    return (await wire.call("job", action=action, job_id=job_id))["structuredContent"]


async def kill(wire: Wire) -> None:
    wire.process.kill()
    await wire.process.wait()


async def close(wire: Wire) -> None:
    await wire.close_stdin()
    await wire.ended()


async def terminate(wire: Wire) -> None:
    wire.signal(signal.SIGTERM)
    await wire.ended()


async def said(wire: Wire, job_id: str) -> str:
    """What has come of the answer, once something has."""
    while not (text := (await outcome(wire, job_id, "result"))["text"]):
        await anyio.lowlevel.checkpoint()
    return text


def nothing_is_left(folder: Path) -> bool:
    return not list((folder / "state" / "jobs").iterdir()) and not list((folder / "tmp").iterdir())


async def tidied(folder: Path) -> None:
    """Wait until its server, which still runs, has removed all that was for the job: it does so after its reply."""
    while not nothing_is_left(folder):  # noqa: ASYNC110 - a file system sends no events
        await anyio.sleep(0.02)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("ends", [kill, close, terminate])
async def test_it_goes_on_and_the_next_server_has_all_of_its_answer(
    folder: Path, mode: str, ends: Callable[[Wire], Awaitable[None]]
) -> None:
    async with Liveness() as live:
        cli = script(folder, *slowly(live))
        with anyio.fail_after(LONG_S):
            async with serving(folder, mode) as wire:
                await wire.open()
                job_id = await handed_out(wire, conversation_id="talk")
                await live.connected()
                await ends(wire)
            async with serving(folder, mode) as wire:
                await wire.open()
                assert (await outcome(wire, job_id, "result"))["status"] == "running"
                assert len(live.alive) == 1
                await live.release()
                reply = await outcome(wire, job_id)
                shown = await wire.call("conversation", action="show", conversation_id="talk")
                await live.all_gone()
                await tidied(folder)
                await close(wire)
    assert (reply["status"], reply["text"], reply["conversation_id"]) == ("completed", "first second", "talk")
    assert [turn["text"] for turn in shown["structuredContent"]["turns"]] == ["first second"]
    assert cli.starts == 1
    assert nothing_is_left(folder)


async def test_once_its_id_is_told_no_moment_is_too_early_for_its_server_to_be_killed(folder: Path) -> None:
    cli = script(folder, {"out": "all of it"})
    replies: list[dict[str, Any]] = []
    with anyio.fail_after(LONG_S):
        for _ in range(3):
            async with serving(folder) as wire:
                await wire.open()
                job_id = await handed_out(wire)
                await kill(wire)
            async with serving(folder) as wire:
                await wire.open()
                replies.append(await outcome(wire, job_id))
    assert [(reply["status"], reply["text"]) for reply in replies] == 3 * [("completed", "all of it")]
    assert cli.starts == 3


async def test_one_that_still_waits_for_a_place_is_told_and_found_by_its_id(folder: Path) -> None:
    async with Liveness() as live:
        script(folder, {"err": "a thought\n"}, live.connect(), {"wait": "gate"}, {"out": "done"})
        with anyio.fail_after(LONG_S):
            async with served(
                folder, {**variables(folder), "DRAGOMAN_PROVIDERS__LLM__MAX_CONCURRENCY": "1"}, "legacy"
            ) as wire:
                await wire.open()
                first = await handed_out(wire)
                await live.connected()
                second = await handed_out(wire)
                await kill(wire)
            await live.release()
            async with serving(folder) as wire:
                await wire.open()
                assert (await outcome(wire, first))["status"] == "completed"
                reply = await outcome(wire, second)
    assert (reply["status"], reply["job_id"]) == ("interrupted", second)


async def test_it_ends_while_no_server_is_there_and_is_collected_later(folder: Path) -> None:
    async with Liveness() as live:
        script(folder, *slowly(live))
        with anyio.fail_after(LONG_S):
            async with serving(folder) as wire:
                await wire.open()
                job_id = await handed_out(wire)
                await live.connected()
                await kill(wire)
            await live.release()
            await live.all_gone()
            async with serving(folder) as wire:
                await wire.open()
                reply = await outcome(wire, job_id)
    assert (reply["status"], reply["text"]) == ("completed", "first second")


async def test_its_own_server_hears_all_of_it(folder: Path) -> None:
    async with Liveness() as live:
        script(folder, *slowly(live))
        with anyio.fail_after(LONG_S):
            async with serving(folder) as wire:
                await wire.open()
                job_id = await handed_out(wire)
                await live.connected()
                await live.release()
                reply = await outcome(wire, job_id)
                await live.all_gone()
                await tidied(folder)
                await close(wire)
    assert (reply["status"], reply["text"]) == ("completed", "first second")
    assert nothing_is_left(folder)


@pytest.mark.parametrize("by", ["its own server", "the next server"])
async def test_cancelling_it_ends_its_tree(folder: Path, by: str) -> None:
    async with Liveness() as live:
        hidden: Step = {"grandchild": {"setsid": True, "double_fork": True, "connect": live.port}}
        script(folder, {"out": "half"}, hidden, live.connect(), {"pause": True})
        with anyio.fail_after(LONG_S):
            async with serving(folder) as wire:
                await wire.open()
                job_id = await handed_out(wire)
                await live.connected(2)
                if by == "its own server":
                    assert await said(wire, job_id) == "half"
                    await outcome(wire, job_id, "cancel")
                    await live.all_gone()
                    await tidied(folder)
                    await close(wire)
                else:
                    await kill(wire)
            async with serving(folder) as wire:
                await wire.open()
                assert await said(wire, job_id) == "half"
                reply = await outcome(wire, job_id, "cancel")
                await live.all_gone()
                await tidied(folder)
                await close(wire)
            assert nothing_is_left(folder)
    assert (reply["status"], reply["text"]) == ("cancelled", "half")


async def test_its_time_is_over_though_no_server_is_there(folder: Path) -> None:
    async with Liveness() as live:
        hidden: Step = {"grandchild": {"setsid": True, "connect": live.port}}
        script(folder, {"out": "half"}, hidden, live.connect(), {"pause": True})
        with anyio.fail_after(LONG_S):
            async with serving(folder) as wire:
                await wire.open()
                job_id = await handed_out(wire, timeout_s=6)
                await live.connected(2)
                await kill(wire)
            await live.all_gone()
            async with serving(folder) as wire:
                await wire.open()
                reply = await outcome(wire, job_id)
    assert reply["status"] == "failed"
    assert reply["error"]["code"] in ("timeout", "crashed")


async def test_one_that_nobody_was_told_of_ends_with_its_server(folder: Path) -> None:
    async with Liveness() as live:
        script(folder, *slowly(live))
        with anyio.fail_after(LONG_S):
            async with serving(folder) as wire:
                await wire.open()
                await wire.start("ask_llm", prompt="hi", max_wait_s=1000)
                await live.connected()
                [job] = (await listed(wire)).values()
                await kill(wire)
            await live.all_gone()
            async with serving(folder) as wire:
                await wire.open()
                reply = await outcome(wire, job["job_id"])
    assert job["background"] is False
    assert reply["status"] == "interrupted"


async def test_whenever_its_server_is_killed_it_is_whole_or_interrupted_and_nothing_is_left(folder: Path) -> None:
    """Where exactly the hand-over itself can be broken off is tried line by line in the tests of processes."""
    chance = random.Random(5)  # noqa: S311 - to be repeatable
    seen: list[str] = []
    # After how long it is handed out, and when it is killed: long before, about then, when that was told.
    for wait_s, moment in ((1000, 0), (1, chance.uniform(0.9, 1.0)), (1, chance.uniform(1.0, 1.1)), (1, None)):
        async with Liveness() as live:
            script(folder, *slowly(live))
            with anyio.fail_after(LONG_S):
                async with serving(folder) as wire:
                    await wire.open()
                    number = await wire.start("ask_llm", prompt="hi", max_wait_s=wait_s)
                    await live.connected()
                    [job_id] = [job["job_id"] for job in (await listed(wire)).values() if job["status"] == "running"]
                    if moment is None:
                        await wire.answer(number)
                    else:
                        await anyio.sleep(moment)  # any moment will do
                    was_told = any(message.get("id") == number for message in wire.received)
                    await kill(wire)
                async with serving(folder) as wire:
                    await wire.open()
                    if (await outcome(wire, job_id, "result"))["status"] == "running":
                        await live.release()
                    reply = await outcome(wire, job_id)
                    await live.all_gone()
                    await close(wire)
        seen.append(reply["status"])
        assert reply["status"] == "interrupted" or reply["text"] == "first second"
        assert reply["status"] == "completed" or not was_told
    assert set(seen) == {"completed", "interrupted"}
