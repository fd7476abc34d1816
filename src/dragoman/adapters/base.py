"""The contract between the engine and what knows one CLI. Nothing here waits, reads a clock or opens a file.

An `Adapter` says what to run (`Adapter.plan`) and how to talk with it (`Adapter.dialogue`). A `Dialogue` belongs to one
channel, that is one child process: the engine tells it what it wants and what the child wrote, and it returns *acts*:
bytes to write, events, the end of a turn. So every adapter is tested from transcripts, without a process::

    engine                                  dialogue
    start()                            ->   Write(handshake) …
    receive(STDOUT, frames)            ->   Ready
    begin(turn)                        ->   Write(prompt), Close
    receive(STDOUT, frames)            ->   Emit(turn, Text) …, Done(turn, Completed)
    interrupt(turn) | closed(exit)     ->   Write(interrupt) | Done(turn, Failed)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from dragoman.adapters.profile import Clock as Clock
from dragoman.adapters.profile import Login as Login
from dragoman.adapters.profile import NpmPackage as NpmPackage
from dragoman.adapters.profile import Profile as Profile
from dragoman.adapters.profile import Strength as Strength
from dragoman.adapters.profile import Transport as Transport
from dragoman.adapters.profile import UserSetting as UserSetting
from dragoman.schemas import (
    Access,
    Billing,
    ErrorCode,
    ErrorInfo,
    Event,
    FinishReason,
    Message,
    Usage,
)

TurnId = str


class Stream(Enum):
    """The child's two outputs."""

    STDOUT = 1
    STDERR = 2


class Framing(Enum):
    """How stdout is cut before the dialogue sees it. stderr is always cut in lines."""

    LINES = "lines"
    RAW = "raw"


class Stdout(Enum):
    """Where the child writes its output. FILE: a private file that is followed, for CLIs that lose piped output."""

    PIPE = "pipe"
    FILE = "file"


@dataclass(frozen=True)
class Session:
    """The provider's own session that a turn is to be kept in."""

    id: str
    """The one to go on with, as a `Bound` event named it; for a new one an unused UUID, for CLIs that let us choose."""
    is_new: bool = True
    fork: bool = False
    """Go on in a copy: its last turn is not to be gone on with, or somebody else is writing to it."""
    last_turn: str | None = None
    """The provider's name for the last turn that the copy is to have; None: all of them."""


@dataclass(frozen=True)
class Turn:
    """One question as the provider is to get it. Everything goes with every turn; nothing sticks."""

    id: TurnId
    prompt: str
    system: str | None = None
    model: str | None = None
    access: Access = "read-only"
    cwd: Path | None = None
    """The folder the child may look at; None: an empty folder and no tools."""
    session: Session | None = None
    """None: the CLI keeps nothing. Only where `Profile.keeps_sessions`."""
    history: tuple[Message, ...] = ()
    """What was said before, where `Profile.takes_history`; elsewhere it stands in the prompt."""
    schema: Mapping[str, Any] | None = None
    """The JSON Schema that the answer is to match, already checked; only where `Profile.native_schema` takes it."""
    effort: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    detached: bool = False
    """It is to go on when we are gone: all its input is written at once, and `Profile.detaches` says it can."""
    runs_in: Path | None = None
    """The folder the child was started in. Known to the dialogue, not to the plan."""


@dataclass(frozen=True)
class Installed:
    """What was found on this machine."""

    path: Path
    version: tuple[int, ...] | None = None
    """None when the version is not known, or was not asked for."""
    version_text: str = ""
    environment: frozenset[str] = frozenset()
    """Names (never values) of the variables that will reach the child."""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Those of `Profile.settings` that the user has chosen."""

    def at_least(self, *version: int) -> bool:
        """Whether the version is known and not older than this one."""
        return self.version is not None and self.version >= version


@dataclass(frozen=True)
class Value:
    """An argument with a caller's value in it: ``prefix`` + ``value``. Logs show only the prefix."""

    prefix: str
    value: str


@dataclass(frozen=True)
class PrivateFile:
    """An argument that names a file only this user can read: ``prefix`` + the path of a file with ``content``."""

    prefix: str
    name: str
    content: bytes


@dataclass(frozen=True)
class KeptFile:
    """An argument that names a file in which a CLI keeps a session: ``prefix`` + its path.

    It outlives the call, is only this user's, and goes when the conversation is deleted.
    """

    prefix: str
    name: str
    """The session's id, a dot and more. What else the CLI puts beside it under a longer name goes with it."""
    content: bytes | None = None
    """What it begins with; None: it is as it was left."""


@dataclass(frozen=True)
class PrivatePath:
    """A place in the call's private folder; a folder is made there unless the launch puts a file there."""

    name: str


@dataclass(frozen=True)
class UserFile:
    """A file of the user's that the child needs as it is, such as a login: linked to, never read or copied by us."""

    paths: tuple[str, ...]
    """The first of these that exists, below the folder that the first variable of `below` names."""
    below: tuple[str, ...] = ("HOME",)
    otherwise: bytes | None = None
    """What stands in its place when there is none; None: nothing."""


Argument = str | Value | PrivateFile | KeptFile


@dataclass(frozen=True)
class StopStep:
    """One step of stopping a channel, and how long to wait after it before the next one.

    ``wait_s`` None: until the clock `grace` is over. It bounds all steps before the kill together; after a kill the
    wait is the engine's.
    """

    act: Literal["interrupt", "eof", "term", "kill"]
    wait_s: float | None = None


STOP_BY_SIGNAL = (StopStep("term"), StopStep("kill"))
FINISH_S = 0.5
"""How long a child that gave its answer may take to end by itself before it is stopped."""
FLUSH_S = 5.0
"""The same for one that is writing down a session which is to be continued."""


@dataclass(frozen=True)
class Launch:
    """A child process to start."""

    argv: tuple[Argument, ...]
    """Without the program itself."""
    env: Mapping[str, str | PrivatePath] = field(default_factory=dict[str, str | PrivatePath])
    """Set on top of the allowlisted environment."""
    files: Mapping[str, bytes | UserFile] = field(default_factory=dict[str, bytes | UserFile])
    """What the call's private folder holds, by relative path."""
    keeps: str | None = None
    """Where a CLI keeps a session in its home, and its home is in the private folder: a name. The folder then outlives
    the call, and a later launch of this provider's with the same name finds it as it was left. The session's id is this
    name, or begins with it and a slash: the folder goes when the conversation is deleted."""
    runs_in: PrivatePath | None = None
    """Where it runs; None: in the turn's folder, or an empty one."""
    framing: Framing = Framing.LINES
    stdout: Stdout = Stdout.PIPE
    stop: tuple[StopStep, ...] = STOP_BY_SIGNAL
    """In this order; a kill that is missing is added."""
    finish_s: float = FINISH_S
    """After the answer; `FLUSH_S` where the CLI keeps a session."""
    can_be_left: bool = False
    """Whether it goes on to its end once `Dialogue.begin` said all and its input is closed, whoever hears of it: nobody
    has to answer it. A detached turn is then launched with the same arguments, files and folder. Only with pipes."""

    @property
    def keeps_session(self) -> bool:
        """Whether something of it is in a place that outlives the call."""
        return self.keeps is not None or any(isinstance(argument, KeptFile) for argument in self.argv)


@dataclass(frozen=True)
class Plan:
    """What to open a channel to, and what may share it."""

    channel: Launch
    host_key: str
    """What binds when the process starts: two turns with the same key can use the same process."""
    capacity: int | None = 1
    """How many turns at once; None: no limit."""


@dataclass(frozen=True)
class Exit:
    """How the child ended: an exit code, or minus the signal's number."""

    code: int


@dataclass(frozen=True)
class Completed:
    """The turn ended with an answer. ``text`` None: the text events joined are the answer."""

    text: str | None = None
    finish_reason: FinishReason = "stop"
    model: str | None = None
    usage: Usage | None = None
    billing: Billing | None = None
    data: Any = None
    """The answer to `Turn.schema` where the CLI gives it apart from the text, as the CLI gave it."""
    session: Literal["lost"] | None = None
    """Why the turn's session cannot be gone on with, though there is an answer: it does not stand in it."""


@dataclass(frozen=True)
class Failed:
    """The turn ended without an answer; text events seen so far are kept as partial text."""

    error: ErrorInfo
    model: str | None = None
    usage: Usage | None = None
    finish_reason: FinishReason = "error"
    session: Literal["lost", "busy", "unkept"] | None = None
    """Why the turn's session could not be gone on with: it is not there, another program writes to it, or there is no
    place for it."""
    unsupported: Literal["schema", "temperature", "max_tokens"] | None = None
    """What the turn wanted that this model cannot do, though the CLI can. No model was asked."""


Outcome = Completed | Failed


@dataclass(frozen=True)
class Ready:
    """The channel takes turns now."""


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes for the child's stdin."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the child's stdin after what was written."""


@dataclass(frozen=True, slots=True)
class Emit:
    """Something happened in a turn."""

    turn: TurnId
    event: Event


@dataclass(frozen=True, slots=True)
class Done:
    """A turn ended. What comes later for it is ignored."""

    turn: TurnId
    outcome: Outcome


@dataclass(frozen=True)
class Poison:
    """The channel cannot be used for another turn."""

    reason: str


Act = Ready | Write | Close | Emit | Done | Poison


class Refused(Exception):  # noqa: N818 - the word of the contract: a refusal, not a fault
    """The adapter cannot do this turn; nothing was started."""

    def __init__(self, code: ErrorCode, message: str, next_step: str | None = None) -> None:
        super().__init__(message)
        self.error = ErrorInfo.of(code, message, next_step=next_step)


class Dialogue(Protocol):
    """The talk with one channel. Pure: the same inputs give the same acts."""

    def start(self) -> Iterable[Act]:
        """The channel is open."""
        ...

    def begin(self, turn: Turn) -> Iterable[Act]:
        """Put a turn to it. Called only after `Ready`, and never beyond the plan's capacity."""
        ...

    def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        """What the child wrote since the last time, at least one frame. Whatever it is, this does not raise."""
        ...

    def interrupt(self, turn: TurnId) -> Iterable[Act] | None:
        """Ask the child to give the turn up; None: it has no such way and the channel is stopped instead."""
        ...

    def closed(self, end: Exit) -> Iterable[Act]:
        """The child ended and everything it wrote was received. Must end every open turn with `Done`."""
        ...


@runtime_checkable
class Adapter(Protocol):
    """What knows one CLI. The entry point group ``dragoman.adapters`` names an instance."""

    @property
    def profile(self) -> Profile:
        """The provider as data."""
        ...

    def plan(self, turn: Turn, found: Installed) -> Plan:
        """What to run for this turn.

        Raises:
            Refused: the turn cannot be done by this CLI in this version; nothing is started.
        """
        ...

    def dialogue(self, plan: Plan) -> Dialogue:
        """A new dialogue for a channel opened by this plan."""
        ...

    def logged_in(self, code: int, stdout: str, stderr: str) -> bool | None:
        """What `Profile.login`'s command said; None when it does not tell."""
        ...
