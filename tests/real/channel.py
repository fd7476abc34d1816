"""One turn of a real CLI by its adapter's plan alone: what the engine does, without its clocks, bounds and choices."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream, Process

from dragoman.adapters.base import (
    Act,
    Adapter,
    Close,
    Dialogue,
    Done,
    Emit,
    Exit,
    Framing,
    Installed,
    Plan,
    Ready,
    Stream,
    Turn,
    Write,
)
from dragoman.engine.attempt.arguments import spelled
from dragoman.engine.attempt.layout import kept_folders, lay_out, private_folder
from dragoman.processes import KeptFolder, LineFramer, PrivateFolder
from tests.adapters.oneshot import Heard

PATIENCE_S = 120
"""Ends a turn that hangs; node alone may take half a minute to start on a bad day."""
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

    async def ask(self, turn: Turn, *extra: str) -> Heard:
        """One turn, to the end of its process. `extra` stands before the plan's arguments."""
        laid = self._lay_out(turn)
        heard, dialogue = Heard(), self.adapter.dialogue(laid.plan)
        with anyio.fail_after(PATIENCE_S):
            async with await anyio.open_process(
                self._argv(laid, extra), env=laid.variables, cwd=laid.turn.runs_in
            ) as process:
                await _Talk(process, dialogue, laid.turn, heard).run(laid.plan)
        return heard

    def detached(self, turn: Turn, *extra: str) -> Heard:
        """One turn whose input and output are files, read when all is over."""
        laid = self._lay_out(turn)
        dialogue, heard = self.adapter.dialogue(laid.plan), Heard()
        opening = list(dialogue.start())
        assert Ready() in opening
        heard.take([*opening, *dialogue.begin(laid.turn)])
        assert heard.closed
        written, answer = laid.folder.path / "stdin", laid.folder.path / "stdout"
        written.write_bytes(heard.stdin)
        with written.open("rb") as stdin, answer.open("wb") as stdout:
            child = subprocess.run(
                self._argv(laid, extra),
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=laid.variables,
                cwd=laid.turn.runs_in,
                timeout=PATIENCE_S,
                check=False,
            )
        for stream, said in ((Stream.STDOUT, answer.read_bytes()), (Stream.STDERR, child.stderr)):
            raw = stream is Stream.STDOUT and laid.plan.channel.framing is Framing.RAW
            if frames := [said] if raw and said else said.splitlines():
                heard.take(dialogue.receive(stream, frames))
        heard.take(dialogue.closed(Exit(child.returncode)))
        return heard

    def _lay_out(self, turn: Turn) -> _Laid:
        found = Installed(self._program, self._version, environment=frozenset(self.environment))
        plan = self.adapter.plan(turn, found)
        launch = plan.channel
        kept = private_folder(launch, self.adapter.profile.name)
        folder = KeptFolder(lambda: self._files) if launch.keeps is None else kept
        variables = {**self.environment, **lay_out(launch, folder, self.environment)}
        runs_in = self.folder if launch.runs_in is None else folder.folder(launch.runs_in.name)
        return _Laid(plan, folder, variables, replace(turn, runs_in=runs_in))

    def _argv(self, laid: _Laid, extra: Iterable[str]) -> list[str]:
        kept = KeptFolder(lambda: kept_folders() / self.adapter.profile.name)
        return [str(self._program), *extra, *spelled(laid.plan.channel.argv, laid.folder, kept)]


@dataclass(frozen=True)
class _Laid:
    """What one turn is run with."""

    plan: Plan
    folder: PrivateFolder
    variables: Mapping[str, str]
    turn: Turn


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
