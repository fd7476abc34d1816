"""A complete small adapter for the fake CLI: lines of JSON both ways.

It sends ``{"prompt": …, "system": …, "model": …}``, with ``session``, ``history`` and ``schema`` where the turn has
them, and closes stdin. It understands the lines

    {"text": TEXT}  {"thought": TEXT}  {"tool": NAME, "detail": TEXT, "reads_only": BOOL}  {"notice": TEXT}
    {"retrying": {"attempt": 1, "cause": TEXT}}  {"usage": {"input_tokens": 1, …}}  {"bound": SESSION, "turn": TURN}
    {"done": {"finish_reason": "stop", "model": NAME, "text": TEXT, "data": ANY}}
    {"error": {"code": CODE, "message": TEXT, "retry_after_s": SECONDS, "session": "lost"}}

and shows every other line as a notice. An end without ``done`` or ``error`` is ``malformed_output``, or ``crashed``
when the exit code is not 0.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal, cast

from pydantic import BaseModel, ValidationError

from dragoman.adapters.base import (
    STOP_BY_SIGNAL,
    Act,
    Argument,
    Close,
    Completed,
    Dialogue,
    Done,
    Emit,
    Exit,
    Failed,
    Framing,
    Installed,
    KeptFile,
    Launch,
    Outcome,
    Plan,
    Profile,
    Ready,
    Stdout,
    StopStep,
    Stream,
    Turn,
    Value,
    Write,
)
from dragoman.schemas import (
    Billing,
    Bound,
    ErrorCode,
    ErrorInfo,
    Event,
    FinishReason,
    Notice,
    Retrying,
    Text,
    Thought,
    Tool,
    Usage,
)

PROFILE = Profile(
    name="fake",
    title="Fake",
    description="A scripted stand-in for an LLM command-line tool. For tests.",
    executables=("dragoman-fake",),
    install_hint="Make one with dragoman.testing.FakeCli and name it as `command`.",
    strength={"read-only": "enforced"},
    billing="local",
)


class FakeAdapter:
    """See the module. `overrides` are fields of its `Profile`; `raw` takes stdout as plain text, as of ``llm``;
    `keeps`: where its sessions are: in its home, which is a private folder, or each in a file of ours.
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        raw: bool = False,
        stdout: Stdout = Stdout.PIPE,
        stop: tuple[StopStep, ...] = STOP_BY_SIGNAL,
        keeps: Literal["home", "file"] | None = None,
        **overrides: Any,  # noqa: ANN401 - the fields of Profile, which checks their names
    ) -> None:
        self.profile = replace(PROFILE, name=name, **overrides)
        self._raw = raw
        self._stdout = stdout
        self._stop = stop
        self._keeps = keeps

    def plan(self, turn: Turn, found: Installed) -> Plan:
        """One process for one turn."""
        model = (Value("--model=", turn.model),) if turn.model else ()
        framing = Framing.RAW if self._raw else Framing.LINES
        session = turn.session
        home = session.id if session is not None and self._keeps == "home" else None
        file: tuple[Argument, ...] = ()
        if session is not None and self._keeps == "file":
            file = (KeptFile("--session=", f"{session.id}.txt", b"" if session.is_new else None),)
        launch = Launch(
            (*model, *file),
            files={} if home is None else {"home/settings": b""},
            keeps=home,
            framing=framing,
            stdout=self._stdout,
            stop=self._stop,
            can_be_left=self.profile.detaches and self._stdout is Stdout.PIPE,
        )
        return Plan(launch, host_key=turn.id)

    def dialogue(self, plan: Plan) -> Dialogue:
        """A new dialogue."""
        return RawDialogue() if self._raw else LineDialogue()

    def logged_in(self, code: int, stdout: str, stderr: str) -> bool | None:
        """Exit code 0 is logged in, 1 is logged out."""
        return {0: True, 1: False}.get(code)


class _Done(BaseModel):
    text: str | None = None
    finish_reason: FinishReason = "stop"
    model: str | None = None
    billing: Billing | None = None
    data: Any = None


class _Error(BaseModel):
    code: ErrorCode
    message: str
    retry_after_s: float | None = None
    session: Literal["lost", "busy"] | None = None


class _OneTurn:
    """What both dialogues share: one turn, put to the CLI as one line."""

    def __init__(self) -> None:
        self._turn: Turn | None = None

    def start(self) -> Iterable[Act]:
        """It takes its question at once."""
        return (Ready(),)

    def begin(self, turn: Turn) -> Iterable[Act]:
        """The question as one line, and the end of stdin."""
        self._turn = turn
        question: dict[str, Any] = {"prompt": turn.prompt, "system": turn.system, "model": turn.model}
        if turn.session is not None:
            question["session"] = asdict(turn.session)
        if turn.history:
            question["history"] = [{"role": each.role, "content": each.content} for each in turn.history]
        if turn.schema is not None:
            question["schema"] = turn.schema
        return (Write(json.dumps(question, ensure_ascii=False).encode() + b"\n"), Close())

    def interrupt(self, turn: str) -> Iterable[Act] | None:
        """There is no way but a signal."""
        return None

    def _end(self, outcome: Outcome) -> Sequence[Act]:
        turn, self._turn = self._turn, None
        return (Done(turn.id, outcome),) if turn else ()


class LineDialogue(_OneTurn):
    """Lines of JSON."""

    def __init__(self) -> None:
        super().__init__()
        self._usage: Usage | None = None

    def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        """Each line of stdout is an event or the end; stderr is left to the engine."""
        if stream is Stream.STDOUT:
            for frame in frames:
                yield from self._line(frame)

    def closed(self, end: Exit) -> Iterable[Act]:
        """It ended and did not say how the turn went."""
        code = ErrorCode.CRASHED if end.code else ErrorCode.MALFORMED_OUTPUT
        error = ErrorInfo.of(code, f"the fake ended without a result (exit {end.code})")
        return self._end(Failed(error, usage=self._usage))

    def _line(self, frame: bytes) -> Iterable[Act]:
        if self._turn is None:
            return ()
        line = _parse(frame)
        try:
            if "done" in line:
                return self._end(_completed(line["done"], self._usage))
            if "error" in line:
                return self._end(_failed(line["error"], self._usage))
            event = _event(line) or Notice(message=frame.decode("utf-8", "replace")[:4000])
        except (ValidationError, TypeError) as error:
            event = Notice(message=f"a line that does not fit: {frame[:200]!r}: {error}")
        if isinstance(event, Usage):
            self._usage = event
        return (Emit(self._turn.id, event),)


class RawDialogue(_OneTurn):
    """Plain text."""

    def __init__(self) -> None:
        super().__init__()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        """All of stdout is the answer."""
        return self._text(self._decoder.decode(b"".join(frames))) if stream is Stream.STDOUT else ()

    def closed(self, end: Exit) -> Iterable[Act]:
        """Exit code 0 makes what was said an answer."""
        rest = self._text(self._decoder.decode(b"", final=True))
        failed = Failed(ErrorInfo.of(ErrorCode.CRASHED, f"the fake ended with exit code {end.code}"))
        return (*rest, *self._end(failed if end.code else Completed()))

    def _text(self, text: str) -> Sequence[Act]:
        return (Emit(self._turn.id, Text(text=text)),) if self._turn and text else ()


def _parse(frame: bytes) -> dict[str, Any]:
    try:
        line = json.loads(frame)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", line) if isinstance(line, dict) else {}


def _event(line: dict[str, Any]) -> Event | None:
    match line:
        case {"text": text}:
            return Text(text=text)
        case {"thought": text}:
            return Thought(text=text)
        case {"tool": name}:
            return Tool(name=name, detail=line.get("detail", ""), reads_only=line.get("reads_only", False))
        case {"retrying": values}:
            return Retrying(**values)
        case {"notice": message}:
            return Notice(message=message)
        case {"usage": values}:
            return Usage(**values)
        case {"bound": session}:
            return Bound(native_session=session, native_turn=line.get("turn"))
        case _:
            return None


def _completed(values: object, usage: Usage | None) -> Completed:
    done = _Done.model_validate(values)
    return Completed(
        done.text,
        finish_reason=done.finish_reason,
        model=done.model,
        usage=usage,
        billing=done.billing,
        data=done.data,
    )


def _failed(values: object, usage: Usage | None) -> Failed:
    error = _Error.model_validate(values)
    info = ErrorInfo.of(error.code, error.message, retry_after_s=error.retry_after_s)
    return Failed(info, usage=usage, session=error.session)


adapter = FakeAdapter()
