"""The conformance kit passes good adapters and names the fault of each bad one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from dragoman.adapters.base import (
    Act,
    Completed,
    Done,
    Emit,
    Exit,
    Failed,
    Framing,
    Installed,
    KeptFile,
    Launch,
    Plan,
    Profile,
    Refused,
    StopStep,
    Stream,
    Turn,
    Value,
    Write,
)
from dragoman.adapters.registry import load_adapters
from dragoman.schemas import ErrorCode, Notice, Text, Usage
from dragoman.testing import ConformanceError, FakeAdapter, check_adapter, play
from dragoman.testing.adapter import LineDialogue
from dragoman.testing.conformance import FOUND, TURN

EVENTS = (
    b'{"text": "a"}',
    b'{"thought": "b"}',
    b'{"tool": "Read", "detail": "c", "reads_only": true}',
    b'{"retrying": {"attempt": 1, "cause": "d", "delay_s": 1.5}}',
    b'{"notice": "e"}',
    b'{"usage": {"input_tokens": 1, "output_tokens": 2}}',
)
ERROR = b'{"error": {"code": "rate_limited", "message": "slow", "retry_after_s": 3}}'
DONE = b'{"done": {"finish_reason": "stop", "model": "m", "text": "whole", "billing": "local"}}'


def talk(*lines: bytes, code: int = 0) -> list[Act]:
    dialogue = FakeAdapter().dialogue(FakeAdapter().plan(TURN, FOUND))
    return play(dialogue, [*(("out", line + b"\n") for line in lines), ("exit", code)])


@pytest.mark.parametrize("end", [DONE, ERROR])
def test_the_fake_adapter_keeps_the_contract(end: bytes) -> None:
    check_adapter(FakeAdapter(), transcript=[*EVENTS, end])


def test_the_raw_fake_adapter_keeps_the_contract() -> None:
    check_adapter(FakeAdapter(raw=True), transcript=[b"some", b"words"])


@pytest.mark.parametrize("name", load_adapters()[0])
def test_every_adapter_of_this_installation_keeps_the_contract(name: str) -> None:
    check_adapter(load_adapters()[0][name])


def test_the_fake_adapter_reads_its_protocol() -> None:
    _, write, _close, *acts, done = talk(*EVENTS, b"what?", DONE, b'{"text": "late"}')
    assert write == Write(b'{"prompt": "zq-the-prompt-zq", "system": null, "model": null}\n')
    events = [act.event for act in acts if isinstance(act, Emit)]
    assert [event.type for event in events] == ["text", "thought", "tool", "retrying", "notice", "usage", "notice"]
    assert events[-1] == Notice(message="what?")
    usage = Usage(input_tokens=1, output_tokens=2)
    assert done == Done(TURN.id, Completed("whole", finish_reason="stop", model="m", usage=usage, billing="local"))


@pytest.mark.parametrize(
    ("lines", "exit_code", "code"),
    [
        ([ERROR], 1, ErrorCode.RATE_LIMITED),
        ([b'{"text": "a"}'], 0, ErrorCode.MALFORMED_OUTPUT),
        ([b'{"done": {"finish_reason": 17}}'], 0, ErrorCode.MALFORMED_OUTPUT),
        ([], 3, ErrorCode.CRASHED),
        ([], -9, ErrorCode.CRASHED),
    ],
)
def test_the_fake_adapter_names_failures(lines: Sequence[bytes], exit_code: int, code: ErrorCode) -> None:
    done = talk(*lines, code=exit_code)[-1]
    assert isinstance(done, Done)
    assert isinstance(done.outcome, Failed)
    assert done.outcome.error.code is code


def test_play_cuts_lines_as_the_engine_does_and_raw_output_not_at_all() -> None:
    dialogue = FakeAdapter(raw=True).dialogue(FakeAdapter(raw=True).plan(TURN, FOUND))
    acts = play(dialogue, [("out", b"\xc3"), ("out", b"\xa9\n"), ("exit", 0)], framing=Framing.RAW)
    assert [act.event for act in acts if isinstance(act, Emit)] == [Text(text="é\n")]
    dialogue = LineDialogue()
    acts = play(dialogue, [("out", b'{"te'), ("out", b'xt": "a"}\n{"text": "b"}'), ("interrupt", None), ("exit", 0)])
    assert [act.event for act in acts if isinstance(act, Emit)] == [Text(text="a"), Text(text="b")]


class Plans(FakeAdapter):
    """Its command line and environment are these, filled in."""

    def __init__(self, *argv: str | Value, profile: Mapping[str, Any] | None = None, **env: str) -> None:
        super().__init__(**(profile or {}))
        self._argv, self._env = argv, env

    def plan(self, turn: Turn, found: Installed) -> Plan:
        def fill(text: str) -> str:
            return text.format(prompt=turn.prompt, system=turn.system, model=turn.model, turn=turn)

        argv = (Value(part.prefix, fill(part.value)) if isinstance(part, Value) else fill(part) for part in self._argv)
        env = {name: fill(value) for name, value in self._env.items()}
        return Plan(Launch(tuple(argv), env), host_key=turn.id)


class Misnames(FakeAdapter):
    """Nobody could tell whose its sessions' files are."""

    def plan(self, turn: Turn, found: Installed) -> Plan:
        return Plan(Launch((KeptFile("--session=", "session.db"),) if turn.session else ()), host_key=turn.id)


class Fickle(FakeAdapter):
    plans = 0

    def plan(self, turn: Turn, found: Installed) -> Plan:
        self.plans += 1
        return Plan(Launch(()), host_key=str(self.plans))


class Holds(FakeAdapter):
    """It is stopped over its input."""

    def plan(self, turn: Turn, found: Installed) -> Plan:
        return Plan(Launch((), stop=(StopStep("eof"),)), host_key=turn.id)


class Differs(FakeAdapter):
    """Detached it is another program."""

    def plan(self, turn: Turn, found: Installed) -> Plan:
        return Plan(Launch(("alone",) if turn.detached else (), can_be_left=True), host_key=turn.id)


class Unwilling(FakeAdapter):
    def plan(self, turn: Turn, found: Installed) -> Plan:
        raise Refused(ErrorCode.POLICY, "not today")


class Speaks(FakeAdapter):
    """Its dialogue is the fake's with one method replaced."""

    def __init__(self, *, detaches: bool = False, **replaced: Callable[..., Iterable[Act]]) -> None:
        super().__init__(detaches=detaches)
        self._replaced = replaced

    def dialogue(self, plan: Plan) -> LineDialogue:
        return type("Replaced", (LineDialogue,), self._replaced)()


def ends_never(self: LineDialogue, end: Exit) -> Iterable[Act]:
    return ()


def waits(self: LineDialogue, turn: Turn) -> Iterable[Act]:
    return (Write(b"more to come"),)


def ends_twice(self: LineDialogue, end: Exit) -> Iterable[Act]:
    done = Done(TURN.id, Completed())
    return (done, done)


def goes_on(self: LineDialogue, end: Exit) -> Iterable[Act]:
    return (Done(TURN.id, Completed()), Emit(TURN.id, Text(text="more")))


def of_another(self: LineDialogue, end: Exit) -> Iterable[Act]:
    return (Done("another", Completed()), *LineDialogue.closed(self, end))


def raises(self: LineDialogue, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
    raise RuntimeError(str(frames[0][:3]))


def wrong_type(self: LineDialogue, end: Exit) -> Iterable[Act]:
    return (Done(TURN.id, Completed(model=17)),)  # pyright: ignore[reportArgumentType] - the fault


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (object(), "lacks one of profile"),
        (FakeAdapter("Bad Name"), "cannot be part of a tool's name"),
        (FakeAdapter(install_hint=""), "profile.install_hint is empty"),
        (FakeAdapter(executables=()), "nothing can be found"),
        (FakeAdapter(strength={}), "does not say who holds the child"),
        (FakeAdapter(account_env=("KEY",)), r"\['KEY'\] stand in account_env and not in pass_env"),
        (FakeAdapter(pass_env=("KEY",), metered_env=("KEY",)), r"\['KEY'\] stand in pass_env and in metered_env"),
        (Plans("{prompt}"), "caller's text stands in the argument 'zq-the-prompt-zq'"),
        (Plans(Value("--system=", "{system}")), "stands in the argument '--system=zq-the-system"),
        (Plans(PROMPT="{prompt}"), "stands in the variable 'PROMPT'"),
        (Plans("--model={model}"), "is a plain part of"),
        (Plans("--model", Value("", "{model}")), "would be read as a flag"),
        (Misnames(keeps_sessions=True), "it would not be removed"),
        (Plans("{turn.schema}", profile={"native_schema": "any"}), "stands in the argument .*-of-the-schema-zq"),
        (Plans("{turn.history}", profile={"takes_history": True}), "stands in the argument .*zq-what-was-said"),
        (Speaks(detaches=True, begin=waits), "a detached turn does not close its input"),
        (Holds(detaches=True), "a detached launch is to be stopped over its input"),
        (Differs(detaches=True), "a launch that can be left is not that of a detached turn"),
        (Fickle(), "not pure"),
        (Unwilling(), "refuses the plainest turn: not today"),
        (Speaks(closed=ends_never), "exit 0 the turn ended 0 times"),
        (Speaks(closed=ends_twice), "exit -9 the turn ended"),
        (Speaks(closed=goes_on), "told of events after the turn's end"),
        (Speaks(closed=of_another), "spoke of a turn that is not open"),
        (Speaks(receive=raises), "made it raise RuntimeError"),
        (Speaks(closed=wrong_type), "made it raise|ended 2 times"),
    ],
)
def test_a_fault_is_named(bad: object, words: str) -> None:
    with pytest.raises(ConformanceError, match=words):
        check_adapter(bad)


def test_a_value_after_the_end_of_flags_is_no_flag() -> None:
    check_adapter(Plans("--", Value("", "{model}")))


def test_a_frame_with_a_value_of_another_type_is_tried() -> None:
    def receive(self: LineDialogue, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        if b'{"text": {"inner": null}}' in frames:
            raise RuntimeError("found")
        return ()

    check_adapter(Speaks(receive=receive))
    with pytest.raises(ConformanceError, match="RuntimeError\\('found'\\)"):
        check_adapter(Speaks(receive=receive), transcript=[b'{"text": {"inner": "a"}}'])


def test_profile_overrides_that_do_not_exist_are_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        FakeAdapter(colour="red")
    assert isinstance(FakeAdapter(order=1).profile, Profile)
