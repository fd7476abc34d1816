"""Playing rows: the real CLI through the engine, and what it did and what was made of that, written down."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.to_thread

from dragoman.config import Configuration
from dragoman.engine import Call, Engine
from dragoman.processes import Child, Command, Spawner
from dragoman.schemas import ErrorInfo, LLMRequest, LLMResponse, Text, TimeoutOverrides
from dragoman.server.progress import narrate_call
from tests.fakes.model_api import ModelAPI, model_api, refused_url
from tests.real.environments import DUMMY_KEY
from tests.real.failures.clis import CLIS, Cli
from tests.real.failures.rows import WAITING, Row
from tests.real.failures.said import last_words
from tests.real.providers import all_gone

KNOWN_WITHIN_S = 20
"""Every cause is known in this time, says the page."""
SLOW_S = 100
"""The same on a machine that is slow. Left alone, claude takes three minutes, and codex for ever."""
BOUND_S = 240
MID_TURN_S = 1.5
"""How long after it asked its model a CLI is in mid-turn that does not tell its answer as it comes."""
AT_ONCE = 3
"""Set-ups that are played at once: often enough a row only waits, such as for a clock or for the CLI's own pauses."""
TOGETHER = 12
"""Rows that are played in one set-up at most."""
GRACE_S = 1.0
"""How long a CLI may take to end when its failure is known: some would go on trying for five seconds."""
KEPT_BYTES = 256 * 1024
TOLD_BYTES = 1000


@dataclass(frozen=True)
class Seen:
    """What happened in one row."""

    code: str
    """The error's, or how the call went without one."""
    clock: str | None
    message: str
    next_step: str
    retryable: bool
    effects: str
    told: str
    """What the error tells of the time to try again."""
    seconds: float
    """Until the cause was known."""
    attempts: int
    asked: int
    """How often the CLI asked the model, in all attempts."""
    did: str
    """What the CLI did: its exit and what it said last."""

    @property
    def verdict(self) -> str:
        """The code, and the clock that fired."""
        return f"{self.code} ({self.clock})" if self.clock else self.code


async def play_all(rows: Sequence[Row], folder: Path) -> Mapping[str, Seen]:
    """Play rows, some of those that can share a set-up one after another in one engine, a few set-ups at a time."""
    seen: dict[str, Seen] = {}
    places = anyio.CapacityLimiter(AT_ONCE)

    async def group(number: int, each: Sequence[Row]) -> None:
        async with places:
            home = folder / f"{number}-{each[0].cli}"
            home.mkdir()
            seen.update(await _play_group(each, home))

    alike = [list(each) for _, each in groupby(sorted(rows, key=_group_key), key=_group_key)]
    groups = [each[start : start + TOGETHER] for each in alike for start in range(0, len(each), TOGETHER)]
    with _own_state(folder / "state"):
        async with anyio.create_task_group() as tasks:
            for number, each in enumerate(sorted(groups, key=len, reverse=True)):
                tasks.start_soon(group, number, each)
    return seen


def _group_key(row: Row) -> tuple[str, str]:
    return row.cli, "" if row.shares else row.id


@contextmanager
def _own_state(folder: Path) -> Generator[None]:
    """No row may read or write the state of the person who plays it."""
    before = os.environ.get("DRAGOMAN_HOME")
    os.environ["DRAGOMAN_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["DRAGOMAN_HOME"]
        else:
            os.environ["DRAGOMAN_HOME"] = before


async def _play_group(rows: Sequence[Row], home: Path) -> Mapping[str, Seen]:
    cli, first = CLIS[rows[0].cli], rows[0]
    spawner = RecordingSpawner()
    async with model_api() as api:
        url = refused_url() if first.refused else api.url
        key = DUMMY_KEY if first.logged_in else None
        environment = await anyio.to_thread.run_sync(cli.environment, home, url, key)
        if first.prepare is not None:
            first.prepare(home)
        settings = {**cli.settings(url, key), **first.settings}
        configuration = Configuration.model_validate(
            {"providers": {cli.provider: settings}, "retry": {"max_attempts": first.max_attempts}}
        )
        project = home / "project"
        project.mkdir(exist_ok=True)
        variables = {**environment, **first.environment}
        async with Engine(
            configuration, environ=variables, folder=project, store_file=home / "calls.db", spawner=spawner
        ) as engine:
            seen: dict[str, Seen] = {}
            for row in rows:
                try:
                    seen[row.id] = await _play(row, cli, engine, api, spawner, project)
                except Exception as error:
                    error.add_note(f"{row.id}: {len(api.questions)} questions; {spawner.told()}")
                    raise
    await all_gone(home)
    return seen


async def _play(row: Row, cli: Cli, engine: Engine, api: ModelAPI, spawner: RecordingSpawner, project: Path) -> Seen:
    api.play(*row.scenarios)
    asked, started = len(api.questions), len(spawner.children)
    request = LLMRequest(
        prompt=row.prompt * row.repeated,
        provider=cli.provider,
        model=row.model or cli.model,
        cwd=project if row.looks else None,
        timeouts=TimeoutOverrides.model_validate({"spawn": 60, "grace": GRACE_S, **row.clocks}),
    )
    began = time.monotonic()
    with anyio.fail_after(BOUND_S):
        # The rows before this one may have opened the circuit.
        call = engine.submit(request, insists=True)
        if row.signal is not None and await _asks(call, api, asked + 1):
            # Of a turn that a CLI has not quite begun yet it says nothing; some say nothing before the end.
            with anyio.move_on_after(None if cli.streams else MID_TURN_S):
                async for event in call.log.follow():
                    if isinstance(event, Text):
                        break
            os.kill(spawner.children[-1].pid, row.signal)
        line = await _silence_told(call) if row.code == WAITING else None
        seconds = time.monotonic() - began
        if line is not None:
            call.cancel()
        reply = await call.outcome()
        seconds = time.monotonic() - began if line is None else seconds
        child = next((each for each in reversed(spawner.children[started:]) if not each.is_question), None)
        did = await _did(cli, child)
    seen = _seen(reply, seconds, len(api.questions) - asked, did, project.parent, api.url)
    if line is None:
        return seen
    # Its reply tells of the cancel. The one attempt that it is in goes on.
    return replace(seen, code=WAITING, message=line, next_step="", effects="", attempts=1, did="waits")


async def _asks(call: Call, api: ModelAPI, questions: int) -> bool:
    """Wait until the API was asked so often; False: the call ended without it, and its reply says why."""
    asks = False

    async def ended() -> None:
        await call.outcome()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ended)
        await api.wait_questions(questions)
        asks = True
        tasks.cancel_scope.cancel()
    return asks


async def _silence_told(call: Call) -> str | None:
    """The first line of progress that tells of a silence; None: the call ended without one."""
    told: str | None = None

    async def tell(_: float, __: None, line: str) -> None:
        nonlocal told
        if "silent for" in line or line.startswith("waiting for"):
            told = line
            scope.cancel()

    with anyio.CancelScope() as scope:
        await narrate_call(call, tell)
    return told


def _seen(reply: LLMResponse, seconds: float, asked: int, did: str, home: Path, url: str) -> Seen:
    error = reply.error

    def plain(words: str) -> str:
        """Without what is another one in each run."""
        for changing, constant in ((str(home), "HOME"), (url, "URL"), (sys.executable, "python")):
            words = words.replace(changing, constant)
        return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", words)

    return Seen(
        code=error.code.value if error else reply.status,
        clock=error.clock if error else None,
        message=plain(error.message) if error else reply.text,
        next_step=plain(error.next_step or "") if error else "",
        retryable=error is not None and error.retryable,
        effects=error.effects if error else "",
        told=_told(error) if error else "",
        seconds=seconds,
        attempts=len(reply.attempts),
        asked=asked,
        did=plain(did),
    )


def _told(error: ErrorInfo) -> str:
    if error.retry_after_s is None:
        return ""
    hours = error.retry_after_s / 3600
    return f"in {hours:.0f} h" if hours > 1 else f"in {error.retry_after_s:g} s"


async def _did(cli: Cli, child: RecordedChild | None) -> str:
    if child is None:
        return "was not started"
    early = child.exit_code
    await child.exited.wait()
    code = early if cli.serves else child.exit_code
    parts = [] if code is None or child.was_told_to_end else [f"exit {code}"]
    return "; ".join([*parts, *last_words(cli.name, bytes(child.stdout), bytes(child.stderr))]) or "said nothing"


class RecordedChild:
    """A child, with the end of what it wrote and whether somebody told it to end."""

    def __init__(self, child: Child, command: Command) -> None:
        self._child = child
        self.is_question = command.cwd == Path("/")
        """It was asked for its version or login."""
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.was_told_to_end = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the child's own
        return getattr(self._child, name)

    async def read_stdout(self) -> bytes:
        return self._keep(self.stdout, await self._child.read_stdout())

    async def read_stderr(self) -> bytes:
        return self._keep(self.stderr, await self._child.read_stderr())

    def signal(self, number: signal.Signals) -> None:
        self.was_told_to_end = self.was_told_to_end or self._child.exit_code is None
        self._child.signal(number)

    @staticmethod
    def _keep(kept: bytearray, data: bytes) -> bytes:
        kept += data
        del kept[:-KEPT_BYTES]
        return data


class RecordingSpawner(Spawner):
    """Keeps what its children said."""

    def __init__(self) -> None:
        super().__init__()
        self.children: list[RecordedChild] = []

    def told(self) -> str:
        """What the last children said, for whoever wonders why nothing goes on."""
        return "; ".join(
            f"pid {child.pid}, exit {child.exit_code}, stdout {bytes(child.stdout[-TOLD_BYTES:])!r},"
            f" stderr {bytes(child.stderr[-TOLD_BYTES:])!r}"
            for child in self.children[-3:]
        )

    async def spawn(self, command: Command) -> Child:
        child = RecordedChild(await super().spawn(command), command)
        self.children.append(child)
        return cast("Child", child)


def faults(row: Row, seen: Seen) -> Iterable[str]:
    """What went otherwise than it should."""
    expected = f"{row.code} ({row.clock})" if row.clock else row.code
    if seen.verdict != expected:
        yield f"it was called {seen.verdict}, not {expected}"
    if seen.code not in ("completed", WAITING) and not seen.next_step:
        yield "it says no next step"
    if seen.code != "completed" and seen.seconds > SLOW_S:
        yield f"it took {seen.seconds:.1f} s"
    if "[object Object]" in seen.message or not seen.message.strip():
        yield f"its words say nothing: {seen.message!r}"
    if seen.attempts != row.attempts:
        yield f"there were {seen.attempts} attempts, not {row.attempts}"
