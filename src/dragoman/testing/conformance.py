"""Checks that any adapter can run on itself, in any test framework, and a way to play transcripts to a dialogue.

::

    def test_my_adapter_keeps_the_contract():
        check_adapter(my_adapter, transcript=[b'{"type": "answer", "text": "Paris"}'])
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from dragoman.adapters.base import (
    Act,
    Adapter,
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
    Plan,
    PrivateFile,
    Profile,
    Ready,
    Refused,
    Session,
    Stream,
    Turn,
    Value,
)
from dragoman.processes import LineFramer
from dragoman.schemas import LLMResponse, Message

Move = tuple[Literal["out", "err"], bytes] | tuple[Literal["exit"], int] | tuple[Literal["interrupt"], None]

PROMPT = "zq-the-prompt-zq"
SYSTEM = "zq-the-system-prompt-zq"
MODEL = "--zq-dangerous=1"
EARLIER = "zq-what-was-said-before-zq"
FIELD = "zq-a-field-of-the-schema-zq"
SCHEMA = {"type": "object", "properties": {FIELD: {"type": "string"}}, "required": [FIELD]}
SESSION = Session("2f6d0f5e-8d1c-4a37-9b52-6c1f0e8a7d34")
PRIVATE = (PROMPT, SYSTEM, EARLIER, FIELD)
"""Words that may stand on no command line and in no variable."""
TURN = Turn(id="turn-1", prompt=PROMPT)
FOUND = Installed(Path("/nowhere/program"), version=(9999,), version_text="9999")
EXITS = (0, 1, 137, -9)
LINE_BYTES = 8 << 20

JUNK = (
    *(b"", b"\x00", b"\xff\xfe\xfa", b"\xc3", b"plain words", b"{", b"[]", b"{}", b"null", b"17", b'"text"', b"NaN"),
    *(b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5_000, b"x" * 100_000, '{"a": "\u2028"}'.encode()),
    *(b'{"type": %s}' % kind for kind in (b"null", b"1", b"[]", b"{}", b'"result"', b'"error"', b'"message"')),
    *(b'{"id": 1, "%s": %s}' % (key, value) for key in (b"result", b"error", b"method") for value in (b"null", b"[]")),
)
"""What a child may say that no adapter may choke on."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_REPLACEMENTS: Sequence[object] = (None, True, -1, 1e308, "zq", "\ud83d", [], {}, [None], {"zq": 1})


class ConformanceError(AssertionError):
    """The adapter breaks the contract; the message lists every way it does."""


def check_adapter(adapter: object, found: Installed = FOUND, *, transcript: Sequence[bytes] = ()) -> None:
    """Check an adapter against the contract of `dragoman.adapters.base`.

    Args:
        adapter: what the entry point names.
        found: the installation to plan for.
        transcript: frames that the CLI writes to stdout in a turn, of every kind it has, any handshake first. They are
            given to the dialogue whole and with each value replaced by one of another type.

    Raises:
        ConformanceError: with a line for each fault.
    """
    if not isinstance(adapter, Adapter):
        raise ConformanceError(f"{adapter!r} lacks one of profile, plan, dialogue, logged_in")
    faults = [*check_profile(adapter.profile), *check_plans(adapter, found)]
    faults += check_detached(adapter, found)
    faults += check_dialogues(adapter, found, transcript) or check_junk(adapter, found, transcript)
    if faults:
        raise ConformanceError(f"{adapter.profile.name!r} breaks the contract:\n- " + "\n- ".join(faults))


def check_profile(profile: Profile) -> list[str]:
    """What is wrong with a profile."""
    faults: list[str] = []
    if not _NAME.fullmatch(profile.name):
        faults.append(f"profile.name {profile.name!r} cannot be part of a tool's name: use {_NAME.pattern}")
    if not profile.executables and profile.module is None:
        faults.append("profile names neither executables nor a module: nothing can be found")
    faults += [
        f"profile.{key} is empty" for key in ("title", "description", "install_hint") if not getattr(profile, key)
    ]
    if profile.login is not None and not (profile.login.argv and profile.login.hint):
        faults.append("profile.login needs argv and a hint")
    if "read-only" not in profile.strength:
        faults.append("profile.strength does not say who holds the child to 'read-only'")
    if unknown := set(profile.account_env or ()) - set(profile.pass_env):
        faults.append(f"{sorted(unknown)} stand in account_env and not in pass_env")
    if both := set(profile.pass_env) & set(profile.metered_env):
        faults.append(f"{sorted(both)} stand in pass_env and in metered_env")
    return faults


def check_plans(adapter: Adapter, found: Installed) -> list[str]:
    """What is wrong with the command lines: no caller's text may be read in `ps` or taken for a flag."""
    faults: list[str] = []
    for turn in _turns(adapter.profile):
        try:
            plan = adapter.plan(turn, found)
        except Refused as refusal:
            if turn == TURN:
                faults.append(f"plan refuses the plainest turn: {refusal}")
            continue
        if adapter.plan(turn, found) != plan:
            faults.append(f"plan is not pure: twice the same {turn!r} gave two plans")
        faults += _text_faults(plan)
        faults += _flag_faults(plan.channel.argv)
    return faults


def check_detached(adapter: Adapter, found: Installed) -> list[str]:
    """What keeps a detached turn from going on alone: whatever it needs of us comes before its first word."""
    if not adapter.profile.detaches:
        return []
    faults: list[str] = []
    for session in (None, SESSION) if adapter.profile.keeps_sessions else (None,):
        turn = replace(TURN, detached=True, session=session)
        plan = adapter.plan(turn, found)
        acts = play(adapter.dialogue(plan), [], turn)
        if Close() not in acts:
            faults.append("a detached turn does not close its input at once: `begin` must write all of it")
        if any(step.act in ("interrupt", "eof") for step in plan.channel.stop):
            faults.append("a detached launch is to be stopped over its input, which nobody holds: use signals")
        usual = adapter.plan(replace(turn, detached=False), found).channel
        if usual.can_be_left and replace(usual, stop=plan.channel.stop) != plan.channel:
            faults.append("a launch that can be left is not that of a detached turn: nobody could go on with it")
    return faults


def check_dialogues(adapter: Adapter, found: Installed, transcript: Sequence[bytes] = ()) -> list[str]:
    """What is wrong with how turns end: each exactly once, whenever the child dies, and nothing follows."""
    faults: list[str] = []
    for end in EXITS:
        for length in range(len(transcript) + 1):
            said: list[Move] = [("out", frame + b"\n") for frame in transcript[:length]]
            try:
                acts = play(_dialogue(adapter, found), [*said, ("exit", end), ("exit", end), *said])
                interrupted = play(_dialogue(adapter, found), [*said, ("interrupt", None), ("exit", end)])
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the fault that is looked for
                faults.append(f"after {length} frames and exit {end} it raised {error!r}")
                continue
            for moment, seen in (("", acts), (" and an interrupt", interrupted)):
                faults += [f"after {length} frames{moment} and exit {end} {fault}" for fault in _order_faults(seen)]
    return faults


def check_junk(adapter: Adapter, found: Installed, transcript: Sequence[bytes] = ()) -> list[str]:
    """What makes a dialogue raise, of everything a child may say."""
    faults: list[str] = []
    for before in ((), transcript[:1], transcript):
        for frame in (*JUNK, *(changed for line in transcript for changed in _variations(line))):
            for stream in Stream:
                dialogue = _dialogue(adapter, found)
                opening: list[Move] = [("out", one + b"\n") for one in before]
                try:
                    acts = play(dialogue, opening)
                    acts += [*dialogue.receive(stream, [frame]), *dialogue.closed(Exit(0))]
                    _validate_outcomes(acts)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is the fault that is looked for
                    faults.append(f"{stream.name} {frame[:80]!r} made it raise {error!r}")
        if faults:
            return faults[:20]
    for code, text in ((0, ""), (1, "\ufffd{"), (-9, "null"), (0, "[" * 100_000)):
        try:
            verdict = adapter.logged_in(code, text, text)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the fault that is looked for
            faults.append(f"logged_in({code}, {text[:20]!r}) raised {error!r}")
        else:
            if verdict not in (None, True, False):
                faults.append(f"logged_in({code}, {text[:20]!r}) is {verdict!r}, not True, False or None")
    return faults


def play(dialogue: Dialogue, moves: Iterable[Move], turn: Turn = TURN, framing: Framing = Framing.LINES) -> list[Act]:
    """Play a transcript to a dialogue, as the engine would, and give back all its acts in order.

    The turn is begun as soon as the dialogue is `Ready`. Bytes may be cut anywhere: lines are made of them as the
    engine makes them.
    """
    acts: list[Act] = []
    begun = False
    framers = {Stream.STDERR: LineFramer(LINE_BYTES)}
    if framing is Framing.LINES:
        framers[Stream.STDOUT] = LineFramer(LINE_BYTES)

    def add(more: Iterable[Act]) -> None:
        nonlocal begun
        acts.extend(more)
        if not begun and Ready() in acts:
            begun = True
            add(dialogue.begin(turn))

    def receive(stream: Stream, frames: Sequence[bytes]) -> None:
        if frames:
            add(dialogue.receive(stream, frames))

    add(dialogue.start())
    for kind, what in moves:
        match kind, what:
            case "exit", int(code):
                for stream, framer in framers.items():
                    receive(stream, framer.finish())
                add(dialogue.closed(Exit(code)))
            case "out" | "err", bytes(data):
                stream = Stream.STDOUT if kind == "out" else Stream.STDERR
                receive(stream, framers[stream].feed(data) if stream in framers else [data])
            case _:
                if begun:
                    add(dialogue.interrupt(turn.id) or ())
    return acts


def _dialogue(adapter: Adapter, found: Installed) -> Dialogue:
    return adapter.dialogue(adapter.plan(TURN, found))


def _turns(profile: Profile) -> Iterator[Turn]:
    yield TURN
    if profile.takes_system_prompt:
        yield Turn(id="turn-1", prompt=PROMPT, system=SYSTEM)
    if profile.takes_model:
        yield Turn(id="turn-1", prompt=PROMPT, model=MODEL)
    if profile.reads_folder:
        yield Turn(id="turn-1", prompt=PROMPT, cwd=Path("/nowhere/project"))
    for access in profile.strength:
        yield Turn(id="turn-1", prompt=PROMPT, access=access, cwd=Path("/nowhere/project"))
    if profile.keeps_sessions:
        yield replace(TURN, session=SESSION)
        yield replace(TURN, session=replace(SESSION, is_new=False))
    if profile.forks_sessions:
        yield replace(TURN, session=replace(SESSION, is_new=False, fork=True))
    if profile.takes_history:
        said = (Message(role="user", content=EARLIER), Message(role="assistant", content=EARLIER))
        yield replace(TURN, history=said, system=SYSTEM if profile.takes_system_prompt else None)
    if profile.native_schema != "none":
        yield replace(TURN, schema=SCHEMA)
    for effort in profile.efforts:
        yield replace(TURN, effort=effort)
    if profile.takes_temperature:
        yield replace(TURN, temperature=0.5)
    if profile.takes_max_tokens:
        yield replace(TURN, max_tokens=7)
    if profile.detaches:
        yield replace(TURN, detached=True)


def _text_faults(plan: Plan) -> Iterator[str]:
    for argument in plan.channel.argv:
        shown = argument if isinstance(argument, str) else f"{argument.prefix}{getattr(argument, 'value', '')}"
        if any(text in shown for text in PRIVATE):
            yield f"a caller's text stands in the argument {shown!r}: use stdin or a PrivateFile"
        if MODEL in (argument if isinstance(argument, str) else argument.prefix):
            yield f"the caller's model is a plain part of {argument!r}: logs would show it; use a Value"
    for name, value in plan.channel.env.items():
        if isinstance(value, str) and any(text in value for text in PRIVATE):
            yield f"a caller's text stands in the variable {name!r}: use stdin or a PrivateFile"


def _flag_faults(argv: Sequence[Argument]) -> Iterator[str]:
    for number, argument in enumerate(argv):
        match argument:
            case Value(prefix="", value=value) if value.startswith("-") and "--" not in argv[:number]:
                yield f"a caller's {value!r} would be read as a flag: give the Value a prefix such as '--model='"
            case PrivateFile(name=name) if "/" in name:
                yield f"PrivateFile.name {name!r} is a path: it is a file's name in a folder of its own"
            case KeptFile(name=name) if "/" in name or not name.startswith(f"{SESSION.id}."):
                yield f"KeptFile.name {name!r} is not the session's id, a dot and more: it would not be removed"
            case _:
                pass


def _order_faults(acts: Sequence[Act]) -> Iterator[str]:
    ends = [number for number, act in enumerate(acts) if isinstance(act, Done) and act.turn == TURN.id]
    if Ready() in acts and len(ends) != 1:
        yield f"the turn ended {len(ends)} times instead of once"
    if ends and any(isinstance(act, Emit) for act in acts[ends[0] :]):
        yield "it told of events after the turn's end"
    if stray := [act for act in acts if isinstance(act, Emit | Done) and act.turn != TURN.id]:
        yield f"it spoke of a turn that is not open: {stray[0]!r}"


def _validate_outcomes(acts: Sequence[Act]) -> None:
    """Put every outcome into a reply, as the engine will: a value of the wrong type must not get that far."""
    for act in acts:
        match act:
            case Done(outcome=Completed() as done):
                LLMResponse(
                    status="completed",
                    text=done.text or "",
                    model=done.model,
                    usage=done.usage,
                    billing=done.billing or "unknown",
                    finish_reason=done.finish_reason,
                )
            case Done(outcome=Failed() as failed):
                LLMResponse(status="failed", error=failed.error, model=failed.model, usage=failed.usage)
            case _:
                pass


def _variations(frame: bytes) -> Iterator[bytes]:
    """A frame of JSON with each of its values replaced, or left out, in turn."""
    try:
        whole: object = json.loads(frame)
    except ValueError:
        return
    for path in _paths(whole):
        for value in _REPLACEMENTS:
            yield json.dumps(_replaced(whole, path, value)).encode()
    yield frame[: len(frame) // 2]


def _paths(value: object, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(value, dict):
        for key, inner in cast("Mapping[str, object]", value).items():
            yield from _paths(inner, (*at, key))
    elif isinstance(value, list):
        for number, inner in enumerate(cast("Sequence[object]", value)):
            yield from _paths(inner, (*at, number))


def _replaced(value: object, path: tuple[Any, ...], new: object) -> object:
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        members = cast("Mapping[str, object]", value)
        return {**members, key: _replaced(members[key], tuple(rest), new)}
    items = list(cast("Sequence[object]", value))
    items[key] = _replaced(items[key], tuple(rest), new)
    return items
