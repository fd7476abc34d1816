"""Drive an adapter's dialogue without the engine: from a transcript, or with a real child run to its end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dragoman.adapters.base import (
    Act,
    Adapter,
    Argument,
    Close,
    Dialogue,
    Done,
    Emit,
    Exit,
    Installed,
    KeptFile,
    Outcome,
    PrivateFile,
    Stream,
    Turn,
    Value,
    Write,
)
from dragoman.schemas import Event, Notice, Text, Thought

NOWHERE = Installed(path=Path("llm"))


@dataclass
class Heard:
    """What a dialogue said about one turn."""

    events: list[Event] = field(default_factory=list[Event])
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    stdin: bytes = b""
    closed: bool = False

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Text))

    @property
    def thoughts(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Thought))

    @property
    def notices(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Notice)]

    @property
    def outcome(self) -> Outcome:
        assert len(self.outcomes) == 1, self.outcomes
        return self.outcomes[0]

    def take(self, acts: Iterable[Act]) -> None:
        for act in acts:
            match act:
                case Write(data):
                    self.stdin += data
                case Close():
                    self.closed = True
                case Emit(_, event):
                    self.events.append(event)
                case Done(_, outcome):
                    self.outcomes.append(outcome)
                case _:
                    pass


def replay(
    dialogue: Dialogue,
    turn: Turn,
    *,
    stdout: Sequence[bytes] = (),
    stderr: Sequence[str] = (),
    code: int = 0,
) -> Heard:
    """One turn from a transcript: raw pieces of stdout, lines of stderr, an exit code."""
    heard = Heard()
    heard.take(dialogue.start())
    heard.take(dialogue.begin(turn))
    for piece in stdout:
        heard.take(dialogue.receive(Stream.STDOUT, [piece]))
    if stderr:
        heard.take(dialogue.receive(Stream.STDERR, [line.encode() for line in stderr]))
    heard.take(dialogue.closed(Exit(code)))
    return heard


def run(
    adapter: Adapter, turn: Turn, program: Sequence[str | Path], environment: Mapping[str, str], folder: Path
) -> Heard:
    """One turn with a real child, its environment built from nothing."""
    plan = adapter.plan(turn, NOWHERE)
    argv = [str(part) for part in program] + [_argument(part, folder) for part in plan.channel.argv]
    own = {name: value for name, value in plan.channel.env.items() if isinstance(value, str)}
    dialogue, heard = adapter.dialogue(plan), Heard()
    heard.take(dialogue.start())
    heard.take(dialogue.begin(turn))
    assert heard.closed
    child = subprocess.run(
        argv,
        input=heard.stdin,
        env={"PATH": os.defpath, "HOME": str(folder), **environment, **own},
        cwd=folder,
        capture_output=True,
        timeout=300,
        check=False,
    )
    if child.stdout:
        heard.take(dialogue.receive(Stream.STDOUT, [child.stdout]))
    if lines := child.stderr.splitlines():
        heard.take(dialogue.receive(Stream.STDERR, lines))
    heard.take(dialogue.closed(Exit(child.returncode)))
    return heard


def _argument(argument: Argument, folder: Path) -> str:
    match argument:
        case str():
            return argument
        case Value(prefix, value):
            return prefix + value
        case PrivateFile(prefix, name, content):
            path = folder / name
            path.write_bytes(content)
            return f"{prefix}{path}"
        case KeptFile():
            raise NotImplementedError("such a turn has no session")
