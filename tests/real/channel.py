"""One turn of a real CLI by its adapter's plan alone: what the engine does, without its clocks, bounds and choices."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream, Process

from dragoman.adapters.base import (
    Act,
    Adapter,
    Argument,
    Close,
    Dialogue,
    Done,
    Emit,
    Exit,
    Framing,
    Installed,
    Plan,
    PrivateFile,
    Ready,
    Stream,
    Turn,
    Value,
    Write,
)
from dragoman.processes import LineFramer
from tests.adapters.oneshot import Heard

PATIENCE_S = 20
LINE_BYTES = 8 << 20


class Channel:
    """How to start a CLI: the program, its environment, where it runs and where its private files are put."""

    def __init__(
        self,
        adapter: Adapter,
        program: Path,
        environment: Mapping[str, str],
        folder: Path,
        version: tuple[int, ...] | None = None,
    ) -> None:
        self.adapter = adapter
        self._version = version
        self.environment = dict(environment)
        self.folder = folder
        self._program = program
        self._files = folder / "private"
        self._files.mkdir(exist_ok=True)

    async def ask(self, turn: Turn, *extra: str) -> Heard:
        """One turn, to the end of its process. `extra` stands before the plan's arguments."""
        plan = self._plan(turn)
        heard, dialogue = Heard(), self.adapter.dialogue(plan)
        with anyio.fail_after(PATIENCE_S):
            async with await anyio.open_process(
                self._argv(plan, extra), env=self._variables(plan), cwd=self.folder
            ) as process:
                await _Talk(process, dialogue, turn, heard).run(plan)
        return heard

    def detached(self, turn: Turn, *extra: str) -> Heard:
        """One turn whose input and output are files, read when all is over."""
        plan = self._plan(turn)
        dialogue, heard = self.adapter.dialogue(plan), Heard()
        opening = list(dialogue.start())
        assert Ready() in opening
        heard.take([*opening, *dialogue.begin(turn)])
        assert heard.closed
        written, answer = self._files / "stdin", self._files / "stdout"
        written.write_bytes(heard.stdin)
        with written.open("rb") as stdin, answer.open("wb") as stdout:
            child = subprocess.run(
                self._argv(plan, extra),
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=self._variables(plan),
                cwd=self.folder,
                timeout=PATIENCE_S,
                check=False,
            )
        for stream, said in ((Stream.STDOUT, answer.read_bytes()), (Stream.STDERR, child.stderr)):
            raw = stream is Stream.STDOUT and plan.channel.framing is Framing.RAW
            if frames := [said] if raw and said else said.splitlines():
                heard.take(dialogue.receive(stream, frames))
        heard.take(dialogue.closed(Exit(child.returncode)))
        return heard

    def _plan(self, turn: Turn) -> Plan:
        found = Installed(self._program, self._version, environment=frozenset(self.environment))
        return self.adapter.plan(turn, found)

    def _variables(self, plan: Plan) -> Mapping[str, str]:
        own = {name: value for name, value in plan.channel.env.items() if isinstance(value, str)}
        return {**self.environment, **own}

    def _argv(self, plan: Plan, extra: Iterable[str]) -> list[str]:
        return [str(self._program), *extra, *map(self._spelled, plan.channel.argv)]

    def _spelled(self, argument: Argument) -> str:
        match argument:
            case str():
                return argument
            case Value(prefix, value):
                return prefix + value
            case PrivateFile(prefix, name, content):
                (self._files / name).write_bytes(content)
                return f"{prefix}{self._files / name}"


class _Talk:
    """Carries bytes between a process and a dialogue."""

    def __init__(self, process: Process, dialogue: Dialogue, turn: Turn, heard: Heard) -> None:
        self._process = process
        self._dialogue = dialogue
        self._turn = turn
        self._heard = heard

    async def run(self, plan: Plan) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        await self._perform(self._dialogue.start())
        async with anyio.create_task_group() as tasks:
            raw = plan.channel.framing is Framing.RAW
            tasks.start_soon(self._read, Stream.STDOUT, self._process.stdout, raw)
            tasks.start_soon(self._read, Stream.STDERR, self._process.stderr, False)
        await self._perform(self._dialogue.closed(Exit(await self._process.wait())))

    async def _read(self, stream: Stream, source: ByteReceiveStream, raw: bool) -> None:
        framer = LineFramer(LINE_BYTES)
        async for chunk in source:
            if frames := [chunk] if raw else framer.feed(chunk):
                await self._perform(self._dialogue.receive(stream, frames))
        if rest := framer.finish():
            await self._perform(self._dialogue.receive(stream, rest))

    async def _perform(self, acts: Iterable[Act]) -> None:
        for act in acts:
            self._heard.take([act])
            match act:
                case Ready():
                    await self._perform(self._dialogue.begin(self._turn))
                case Write(data):
                    assert self._process.stdin is not None
                    await self._process.stdin.send(data)
                case Close() | Done():
                    assert self._process.stdin is not None
                    await self._process.stdin.aclose()
                case Emit() | _:
                    pass
