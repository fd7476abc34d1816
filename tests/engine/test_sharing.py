"""Two servers on one machine share breakers and places, and either may be killed at any moment."""

import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.schemas import ErrorCode, LLMRequest, LLMResponse
from dragoman.testing import FakeAdapter, FakeCli, Liveness
from dragoman.testing.fakes import Step

pytestmark = pytest.mark.anyio

SERVER = """
import anyio, json, os, sys
from pathlib import Path
from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.schemas import LLMRequest
from dragoman.testing import FakeAdapter

async def ask(running, model):
    reply = await running.submit(LLMRequest(prompt="hi", provider="fake", model=model)).outcome()
    print(json.dumps([reply.status, reply.error.code.value if reply.error else None]), flush=True)

async def main(configuration):
    configuration = Configuration.model_validate_json(configuration)
    async with Engine(configuration, adapters={"fake": FakeAdapter()}) as running, anyio.create_task_group() as asking:
        print("ready", flush=True)
        async for line in anyio.wrap_file(sys.stdin):
            asking.start_soon(ask, running, line.strip() or None)

anyio.run(main, sys.argv[1])
"""
FINE: tuple[Step, ...] = ({"read": "all"}, {"line": {"text": "fine"}}, {"line": {"done": {}}})
BUSY: tuple[Step, ...] = ({"read": "all"}, {"line": {"error": {"code": "overloaded", "message": "busy"}}})


class Server:
    """Another Dragoman: asked with a line, which it answers with a line."""

    def __init__(self, environ: dict[str, str], configuration: dict[str, Any]) -> None:
        argv = [sys.executable, "-c", SERVER, json.dumps(configuration)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)

    async def line(self) -> str:
        assert self.process.stdout is not None
        return await anyio.to_thread.run_sync(self.process.stdout.readline, abandon_on_cancel=True)

    def put(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    async def ask(self) -> str | None:
        self.put()
        return json.loads(await self.line())[1]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)


class Machine:
    """One machine: the home, the program and the state are the same for every server on it."""

    def __init__(self, cli: FakeCli, home: Path) -> None:
        self._environ = {"PATH": f"{cli.path.parent}:/usr/bin:/bin", "HOME": str(home)}
        self._state = os.environ["DRAGOMAN_HOME"]

    @contextmanager
    def server(self, configuration: dict[str, Any]) -> Generator[Server]:
        server = Server({**self._environ, "DRAGOMAN_HOME": self._state}, configuration)
        with server.process:
            try:
                yield server
            finally:
                server.process.kill()

    def engine(self, configuration: dict[str, Any]) -> Engine:
        adapters = {"fake": FakeAdapter()}
        return Engine(Configuration.model_validate(configuration), adapters=adapters, environ=self._environ)


@pytest.fixture
def machine(cli: FakeCli, tmp_path: Path) -> Machine:
    return Machine(cli, tmp_path)


def configured(**breaker: object) -> dict[str, Any]:
    return {"retry": {"max_attempts": 1}, "breaker": {"never_open_last": False, **breaker}}


async def ask(running: Engine) -> LLMResponse:
    return await running.submit(LLMRequest(prompt="hi", provider="fake")).outcome()


def code(reply: LLMResponse) -> ErrorCode | None:
    return reply.error.code if reply.error else None


async def until(running: Engine, wanted: Callable[[LLMResponse], bool]) -> LLMResponse:
    """Ask until an answer is as wanted: what another process wrote is read with the next call."""
    while not wanted(reply := await ask(running)):  # noqa: ASYNC110 - another process tells nobody
        await anyio.sleep(0.02)
    return reply


async def known(running: Engine, *, failures: int) -> None:
    """Wait until so many are known here: what another process saw is written down a moment after it was told."""
    while True:
        (status,) = await running.providers.statuses()
        if status.circuit is not None and status.circuit["failure_count"] == failures:
            return
        await anyio.sleep(0.02)  # another process tells nobody


async def test_what_one_server_found_out_the_other_knows(machine: Machine, cli: FakeCli) -> None:
    cli.script(*FINE)
    with machine.server(configured()) as other, anyio.fail_after(120):
        async with machine.engine(configured()) as running:
            assert await other.line() == "ready\n"
            assert await other.ask() is None
            cli.script(*BUSY)
            assert [code(await ask(running)) for _ in range(5)] == [ErrorCode.OVERLOADED] * 5
            while (said := await other.ask()) == "overloaded":
                pass
            assert said == "circuit_open"
            starts = cli.starts
            assert await other.ask() == "circuit_open"
            assert cli.starts == starts
        async with machine.engine(configured()) as later:
            (status,) = await later.providers.statuses()
            assert status.circuit is not None, "it is known before anything is asked"
            assert (status.circuit["state"], status.circuit["failure_count"]) == ("open", 5)
            assert code(await ask(later)) is ErrorCode.CIRCUIT_OPEN


async def test_their_failures_add_up(machine: Machine, cli: FakeCli) -> None:
    cli.script(*BUSY)
    with machine.server(configured(failure_threshold=6)) as other, anyio.fail_after(120):
        async with machine.engine(configured(failure_threshold=6)) as running:
            assert await other.line() == "ready\n"
            for number in (1, 3, 5):
                assert await other.ask() == "overloaded"
                await known(running, failures=number)
                assert code(await ask(running)) is ErrorCode.OVERLOADED
            assert code(await ask(running)) is ErrorCode.CIRCUIT_OPEN
            assert cli.starts == 6


async def test_one_call_of_all_servers_tries_and_whoever_is_killed_at_it_makes_room(
    machine: Machine, cli: FakeCli
) -> None:
    cli.script(*BUSY)
    short = configured(open_s=0.3, success_threshold=1)
    with machine.server(short) as other, anyio.fail_after(120):
        async with Liveness() as live, machine.engine(short) as running:
            assert await other.line() == "ready\n"
            # Not asked for again, since that may take longer than its time.
            assert [code(await ask(running)) for _ in range(5)] == [ErrorCode.OVERLOADED] * 5
            async with machine.engine(short) as third:
                await known(third, failures=5)
            cli.script(live.connect(), {"pause": True})
            while not live.peers:
                # Refused with a line until its time is over; then it tries, and says nothing.
                other.put()
                with suppress(TimeoutError):
                    await live.connected(timeout_s=0.2)
            cli.script(*FINE)
            refused = await ask(running)
            assert refused.error is not None
            assert refused.error.code is ErrorCode.CIRCUIT_OPEN
            assert "trying" in refused.error.message
            other.kill()
            assert (await ask(running)).text == "fine"
            assert (await ask(running)).text == "fine"


async def test_they_share_the_places_and_whoever_is_killed_gives_its_back(machine: Machine, cli: FakeCli) -> None:
    one = {"providers": {"fake": {"max_concurrency": 1}}}
    with machine.server(one) as other, anyio.fail_after(120):
        async with Liveness() as live, machine.engine(one) as running:
            cli.script(live.connect(), {"pause": True})
            assert await other.line() == "ready\n"
            other.put()
            await live.connected()
            cli.script(*FINE)
            short = LLMRequest.model_validate({"prompt": "hi", "provider": "fake", "timeouts": {"queue": 0.2}})
            reply = await running.submit(short).outcome()
            assert reply.error is not None
            assert (reply.error.code, reply.error.clock) == (ErrorCode.TIMEOUT, "queue")
            assert reply.error.next_step == "ask again later, or raise `max_concurrency` under [providers.fake]"
            waiting = running.submit(LLMRequest(prompt="hi", provider="fake"))
            await anyio.lowlevel.checkpoint()
            assert waiting.reply is None
            other.kill()
            assert (await waiting.outcome()).text == "fine"


async def test_starts_with_one_login_are_kept_apart_on_the_whole_machine(machine: Machine, cli: FakeCli) -> None:
    cli.script({"read": "all"}, {"line": {"text": "fine"}}, {"line": {"done": {}}})
    apart = {"providers": {"fake": {"start_gap_s": 0.4}}}
    with machine.server(apart) as other, anyio.fail_after(120):
        async with machine.engine(apart) as running:
            assert await other.line() == "ready\n"
            before = time.monotonic()
            await ask(running)
            for _ in range(2):
                other.put()
            await ask(running)
            assert [json.loads(await other.line())[0] for _ in range(2)] == ["completed"] * 2
            assert time.monotonic() - before >= 3 * 0.4, "four starts"


@pytest.mark.parametrize("seed", range(4))
async def test_a_server_killed_at_any_moment_leaves_nothing_stuck(machine: Machine, cli: FakeCli, seed: int) -> None:
    """It fails, opens, tries and holds every place, until it is killed somewhere in the middle of that."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    wild = {
        "retry": {"max_attempts": 2, "upstream_delay_s": 0.01},
        "breaker": {"never_open_last": False, "open_s": 0.05, "failure_threshold": 2},
        "providers": {"fake": {"max_concurrency": 2, "start_gap_s": 0.01}},
    }
    cli.script({"read": "all"}, {"by_start": [list(BUSY), list(BUSY), list(FINE)]} if seed % 2 else BUSY[1])
    for _ in itertools.repeat(None, 3):
        with machine.server(wild) as other, anyio.fail_after(120):
            assert await other.line() == "ready\n"
            for _ in range(12):
                other.put()
            await anyio.sleep(chance.uniform(0.0, 0.4))  # to be anywhere in that
            other.kill()
    cli.script(*FINE)
    async with machine.engine(wild) as running:
        with anyio.fail_after(120):
            await until(running, lambda reply: reply.text == "fine")
            for _ in range(3):
                await until(running, lambda reply: reply.text == "fine")
            (status,) = await running.providers.statuses()
            assert status.circuit is not None
            assert status.circuit["state"] in ("closed", "half_open")
