"""Stopping, in virtual time: every step then and only once, in the adapter's order; nobody waits for it."""

import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio.testing

from dragoman.adapters.base import FLUSH_S, Adapter, Completed, Failed, Installed, Launch, Plan, StopStep, Turn
from dragoman.adapters.claude import ClaudeAdapter
from dragoman.adapters.codex import CodexAdapter
from dragoman.adapters.llm import adapter as llm
from dragoman.engine.attempt.host import REPLY_FIRST_S, DialogueHost
from dragoman.schemas import ErrorCode, Event
from dragoman.testing import FakeAdapter, FakeProcess
from tests.engine.virtual import HOUR, FakeSpawner, engine, line, request, timed

pytestmark = pytest.mark.anyio

TERM, KILL = signal.SIGTERM, signal.SIGKILL
DEAF = (TERM,)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class Nobody:
    """Waits for a turn and hears nothing of it."""

    def event(self, event: Event) -> None: ...

    def alive(self) -> None: ...


@asynccontextmanager
async def serving(adapter: Adapter, process: FakeProcess, prompt: str = "hi") -> AsyncGenerator[DialogueHost]:
    """A host that works on a turn."""
    turn = Turn("1", prompt)
    plan = adapter.plan(turn, Installed(Path("/x"), version=(2, 2, 0)))
    dialogue, bytes_ = adapter.dialogue(plan), 10_000
    host = DialogueHost(process, dialogue, plan.channel, line_bytes=bytes_, stderr_bytes=bytes_, grace_s=5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.serve)
        tasks.start_soon(host.turn, turn, Nobody())
        await anyio.wait_all_tasks_blocked()
        yield host
        tasks.cancel_scope.cancel()


async def stopped(process: FakeProcess) -> list[tuple[float, str]]:
    """What was done to it, also long after it should be over."""
    await anyio.sleep(HOUR)
    return process.log


@pytest.mark.parametrize(
    ("adapter", "log"),
    [
        # Its protocol's interrupt, which ends its input too; then signals.
        (ClaudeAdapter(), [(0, "eof"), (0.5, "SIGTERM"), (5, "SIGKILL")]),
        (CodexAdapter(), [(0, "eof"), (1, "SIGTERM"), (5, "SIGKILL")]),
        # Its input ended with the prompt, before it was stopped.
        (llm, [(0, "eof"), (0, "SIGTERM"), (5, "SIGKILL")]),
    ],
    ids=["claude", "codex", "llm"],
)
async def test_a_deaf_child_is_stopped_in_the_order_of_its_adapter(
    adapter: Adapter, log: list[tuple[float, str]]
) -> None:
    process = FakeProcess(ignores=DEAF)
    async with serving(adapter, process) as host:
        host.stop(finished=False)
        host.stop(finished=False)
        assert await stopped(process) == [*log, (5, "exit"), (5, "close")]
        assert (b'"interrupt"' in process.written) == (adapter.profile.name == "claude")


async def test_a_child_that_obeys_is_asked_only_once() -> None:
    process = FakeProcess(eof_code=0)
    async with serving(CodexAdapter(), process) as host:
        host.stop(finished=False)
        assert await stopped(process) == [(0, "eof"), (0, "exit"), (0, "close")]
        assert host.gone.is_set()


async def test_a_child_that_ends_between_two_steps_is_spared_the_next() -> None:
    process = FakeProcess()
    async with serving(CodexAdapter(), process) as host:
        host.stop(finished=False)
        await anyio.sleep(0.99)
        process.exit(0)
        assert await stopped(process) == [(0, "eof"), (0.99, "exit"), (0.99, "close")]


async def test_an_interrupt_that_has_nothing_to_interrupt_is_not_waited_for() -> None:
    process = FakeProcess()
    async with serving(ClaudeAdapter(), process) as host:
        process.feed(line(type="result", subtype="success", is_error=False, result="Paris"))
        await anyio.wait_all_tasks_blocked()
        host.stop(finished=False)
        assert await stopped(process) == [(0, "eof"), (0, "SIGTERM"), (0, "exit"), (0, "close")]


async def test_a_child_that_never_reads_still_gets_the_end_of_its_input() -> None:
    process = FakeProcess(never_reads=True, eof_code=0)
    async with serving(CodexAdapter(), process, "x" * 1_000_000) as host:
        host.stop(finished=False)
        assert (await stopped(process))[0] == (0, "eof")


async def test_what_survives_even_the_kill_is_given_up_and_closed() -> None:
    process = FakeProcess(ignores=(TERM, KILL))
    async with serving(FakeAdapter(), process) as host:
        host.stop(finished=False)
        log = await stopped(process)
        assert log == [(0, "eof"), (0, "SIGTERM"), (5, "SIGKILL"), (6, "close")]
        assert host.gone.is_set()


async def test_a_grandchild_that_holds_the_streams_delays_the_end_by_half_a_second() -> None:
    process = FakeProcess()
    async with serving(FakeAdapter(), process) as host:
        await anyio.sleep(10)
        process.exit(0, holds_output=True)
        await host.gone.wait()
        assert process.log[1:] == [(10, "exit"), (10.5 + REPLY_FIRST_S, "close")]


async def test_a_reply_that_comes_with_the_end_is_told_before_the_rest_is_done(tmp_path: Path) -> None:
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner, FakeAdapter(raw=True)) as running:
        call = running.submit(request())
        process = await spawner.process()
        await anyio.sleep(10)
        process.feed(b"Paris")
        process.exit(0)
        reply, elapsed = await timed(call)
        assert (reply.text, elapsed) == ("Paris", 0)
        assert process.log[-1] == (10, "exit")
        assert (await stopped(process))[-1] == (10 + REPLY_FIRST_S, "close")


@pytest.mark.parametrize("grace", [0.25, 60])
async def test_the_kill_comes_when_the_grace_is_over(tmp_path: Path, grace: float) -> None:
    steps = (StopStep("interrupt", 0.5), StopStep("term"))
    spawner = FakeSpawner(lambda: FakeProcess(ignores=DEAF))
    async with engine(tmp_path, spawner, FakeAdapter(stop=steps)) as running:
        reply, elapsed = await timed(running.submit(request(startup=7, grace=grace)))
        assert (reply.status, elapsed) == ("failed", 7)
        log = await stopped(spawner.processes[0])
    assert log == [(0, "eof"), (7, "SIGTERM"), *((7 + grace, what) for what in ("SIGKILL", "exit", "close"))]


async def test_no_step_lasts_longer_than_the_grace(tmp_path: Path) -> None:
    steps = (StopStep("eof", 3), StopStep("term", 3))
    spawner = FakeSpawner(lambda: FakeProcess(ignores=DEAF))
    async with engine(tmp_path, spawner, FakeAdapter(stop=steps)) as running:
        await timed(running.submit(request(startup=7, grace=4)))
        log = await stopped(spawner.processes[0])
    assert log[1:] == [(10, "SIGTERM"), (11, "SIGKILL"), (11, "exit"), (11, "close")]


class Flushing(FakeAdapter):
    """Keeps a session."""

    def plan(self, turn: Turn, found: Installed) -> Plan:
        return Plan(Launch((), finish_s=FLUSH_S), host_key=turn.id)


@pytest.mark.parametrize(("adapter", "patience"), [(FakeAdapter(), 0.5), (Flushing(), 5)])
async def test_a_child_that_stays_after_its_answer_costs_nothing_and_is_stopped(
    tmp_path: Path, adapter: FakeAdapter, patience: float
) -> None:
    spawner = FakeSpawner(lambda: FakeProcess(ignores=DEAF))
    async with engine(tmp_path, spawner, adapter) as running:
        call = running.submit(request())
        process = await spawner.process()
        process.feed(line(text="Paris") + line(done={}))
        reply, elapsed = await timed(call)
        assert (reply.text, elapsed) == ("Paris", 0)
        log = await stopped(process)
    killed = patience + 5
    assert log == [(0, "eof"), (patience, "SIGTERM"), *((killed, what) for what in ("SIGKILL", "exit", "close"))]


@pytest.mark.parametrize(("after_s", "signals"), [(0.4, 0), (0.6, 1)])
async def test_a_child_that_ends_soon_after_its_answer_gets_no_signal(
    tmp_path: Path, after_s: float, signals: int
) -> None:
    spawner = FakeSpawner(lambda: FakeProcess(ignores=DEAF))
    async with engine(tmp_path, spawner) as running:
        call = running.submit(request())
        process = await spawner.process()
        process.feed(line(text="Paris") + line(done={}))
        await call.outcome()
        await anyio.sleep(after_s)
        process.exit(0)
        log = await stopped(process)
    assert [what for _, what in log].count("SIGTERM") == signals


class Repenting(FakeProcess):
    """At SIGTERM it writes a whole answer and exits with 0, as if all had gone well."""

    def signal(self, number: signal.Signals) -> None:
        self.feed(line(text=" late") + line(done={}))
        self._term_code = 0
        super().signal(number)


async def test_once_it_is_being_stopped_a_late_answer_and_an_exit_code_of_0_change_nothing(tmp_path: Path) -> None:
    spawner = FakeSpawner(Repenting)
    async with engine(tmp_path, spawner) as running:
        call = running.submit(request(idle=7))
        process = await spawner.process()
        process.feed(line(text="part"))
        reply = await call.outcome()
        events = list(call.log.events)
        await stopped(process)
        assert list(call.log.events) == events
    assert (reply.status, reply.text, process.exit_code) == ("failed", "part", 0)
    assert reply.error is not None
    assert reply.error.clock == "idle"


@pytest.mark.parametrize("raw", [False, True])
async def test_an_output_that_was_closed_without_an_end_is_a_crash_and_known_at_once(tmp_path: Path, raw: bool) -> None:
    spawner = FakeSpawner(lambda: FakeProcess(ignores=DEAF))
    async with engine(tmp_path, spawner, FakeAdapter(raw=raw)) as running:
        call = running.submit(request())
        process = await spawner.process()
        process.feed(b"part" if raw else line(text="part"))
        process.close_output()
        reply, elapsed = await timed(call)
        assert (elapsed, reply.text) == (0.5, "part")
        assert reply.error is not None
        assert reply.error.code is ErrorCode.CRASHED
        assert "closed its output" in reply.error.message
        log = await stopped(process)
    assert log[1:] == [(0.5, "SIGTERM"), (5.5, "SIGKILL"), (5.5, "exit"), (5.5, "close")]


@pytest.mark.parametrize("raw", [False, True])
async def test_a_turn_of_a_host_that_is_stopped_is_settled_whatever_the_child_makes_of_it(raw: bool) -> None:
    process = Repenting()
    adapter = FakeAdapter(raw=raw)
    turn = Turn("1", "hi")
    plan = adapter.plan(turn, Installed(Path("/x")))
    host = DialogueHost(process, adapter.dialogue(plan), plan.channel, line_bytes=1000, stderr_bytes=1000, grace_s=5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.serve)
        tasks.start_soon(_stop_later, host)
        outcome = await host.turn(turn, Nobody())
        assert isinstance(outcome, Failed)
        assert outcome.error.code is ErrorCode.CRASHED
        await host.gone.wait()
    assert process.exit_code == 0


async def _stop_later(host: DialogueHost) -> None:
    await anyio.sleep(1)
    host.stop(finished=False)


async def test_a_caller_who_is_cancelled_cannot_skip_the_stop(tmp_path: Path) -> None:
    spawner = FakeSpawner(lambda: FakeProcess(ignores=DEAF))
    async with engine(tmp_path, spawner) as running:
        with anyio.move_on_after(10):
            async with running.asking(request()) as call:
                await call.outcome()
        assert (await stopped(spawner.processes[0]))[1:] == [
            (10, "SIGTERM"),
            *((15, what) for what in ("SIGKILL", "exit", "close")),
        ]


async def test_an_answer_that_came_before_the_stop_counts() -> None:
    process = FakeProcess()
    turn = Turn("1", "hi")
    plan = FakeAdapter().plan(turn, Installed(Path("/x")))
    host = DialogueHost(
        process, FakeAdapter().dialogue(plan), plan.channel, line_bytes=1000, stderr_bytes=1000, grace_s=5
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.serve)
        process.feed(line(text="Paris") + line(done={}))
        process.exit(1)
        assert isinstance(await host.turn(turn, Nobody()), Completed)
