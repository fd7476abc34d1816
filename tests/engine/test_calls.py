"""One call through the engine, from the question to the end of its child."""

import errno
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import anyio
import pytest

from dragoman.adapters.base import (
    Act,
    Completed,
    Dialogue,
    Exit,
    Failed,
    Installed,
    Launch,
    Plan,
    PrivateFile,
    Stdout,
    StopStep,
    Stream,
    Turn,
)
from dragoman.engine import Engine
from dragoman.engine.call import Call
from dragoman.processes import PrivateFolder
from dragoman.schemas import (
    ErrorCode,
    ErrorInfo,
    Event,
    LLMRequest,
    LLMResponse,
    Notice,
    Retrying,
    Started,
    Text,
    TimeoutOverrides,
)
from dragoman.testing import FakeAdapter, FakeCli, Liveness
from dragoman.testing.adapter import LineDialogue
from tests.engine.conftest import MakeEngine

pytestmark = pytest.mark.anyio

DONE = {"line": {"done": {"finish_reason": "stop", "model": "m"}}}
WHEN_IT_MATTERS = 60


async def ask(engine: Engine, prompt: str = "hi", timeouts: TimeoutOverrides | None = None) -> LLMResponse:
    request = LLMRequest(prompt=prompt, provider="fake", timeouts=timeouts or TimeoutOverrides())
    with anyio.fail_after(WHEN_IT_MATTERS):
        return await engine.submit(request).outcome()


def error_code(reply: LLMResponse) -> ErrorCode | None:
    return reply.error.code if reply.error else None


async def test_an_answer_has_its_text_and_what_is_known_of_it(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script(
        {"read": "all"},
        {"line": {"usage": {"input_tokens": 3}}},
        {"line": {"text": "Par"}},
        {"line": {"text": "is"}},
        DONE,
    )
    async with make_engine() as engine:
        reply = await ask(engine)
    assert (reply.status, reply.text, reply.provider, reply.model) == ("completed", "Paris", "fake", "m")
    assert reply.usage is not None
    assert reply.usage.input_tokens == 3
    assert (reply.billing, reply.finish_reason, len(reply.attempts)) == ("local", "stop", 1)
    assert reply.first_output_s is not None
    assert reply.first_output_s <= reply.duration_s


async def test_text_arrives_while_the_child_still_works_and_a_late_follower_sees_it_all(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    async with Liveness() as live, make_engine() as engine:
        cli.script(live.connect(), {"line": {"text": "first"}}, {"wait": "gate"}, {"line": {"text": " last"}}, DONE)
        call = engine.submit(LLMRequest(prompt="hi", provider="fake"))
        seen: list[Event] = []
        with anyio.fail_after(WHEN_IT_MATTERS):
            async for event in call.log.follow():
                seen.append(event)
                if event == Text(text="first"):
                    assert call.reply is None
                    await live.connected()
                    await live.release()
            assert seen == [Started(provider="fake"), Text(text="first"), Text(text=" last")]
            assert [event async for event in call.log.follow()] == seen
            assert [event async for event in call.log.follow(2)] == seen[2:]


async def test_a_cancelled_call_answers_at_once_with_what_it_has_and_its_child_goes(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    async with Liveness() as live, make_engine() as engine:
        cli.script(live.connect(), {"ignore": ["TERM"]}, {"line": {"text": "part"}}, {"pause": True})
        engine.providers.adapters["fake"] = FakeAdapter(stop=(StopStep("term", 0.1), StopStep("kill", 1)))
        call = engine.submit(LLMRequest(prompt="hi", provider="fake"))
        with anyio.fail_after(WHEN_IT_MATTERS):
            async for event in call.log.follow():
                if isinstance(event, Text):
                    call.cancel()
            reply = await call.outcome()
            assert (reply.status, reply.text, reply.finish_reason) == ("cancelled", "part", "cancelled")
            assert error_code(reply) is ErrorCode.CANCELLED
            await live.all_gone()


async def test_a_caller_who_stops_waiting_does_not_end_the_call(make_engine: MakeEngine, cli: FakeCli) -> None:
    async with Liveness() as live, make_engine() as engine:
        cli.script(live.connect(), {"wait": "gate"}, {"line": {"text": "done"}}, DONE)
        call = engine.submit(LLMRequest(prompt="hi", provider="fake"))
        with anyio.fail_after(WHEN_IT_MATTERS):
            await live.connected()
            with anyio.move_on_after(0):
                await call.outcome()
            await live.release()
            assert (await call.outcome()).text == "done"


async def test_an_owned_call_ends_with_its_owner(make_engine: MakeEngine, cli: FakeCli) -> None:
    async with Liveness() as live, make_engine() as engine:
        cli.script(live.connect(), {"pause": True})
        with anyio.fail_after(WHEN_IT_MATTERS):
            async with engine.asking(LLMRequest(prompt="hi", provider="fake")) as call:
                await live.connected()
            assert (await call.outcome()).status == "cancelled"
            await live.all_gone()


@pytest.mark.parametrize(
    ("clock", "steps"),
    [
        ("startup", [{"sleep": 60}]),
        ("idle", [{"line": {"text": "part"}}, {"sleep": 60}]),
        ("attempt", [{"line": {"text": "part"}}, {"sleep": 60}]),
        ("call", [{"line": {"text": "part"}}, {"sleep": 60}]),
    ],
)
async def test_the_error_names_the_clock_that_fired_and_keeps_the_text(
    make_engine: MakeEngine, cli: FakeCli, clock: str, steps: list[dict[str, object]]
) -> None:
    cli.script(*steps)
    async with make_engine() as engine:
        reply = await ask(engine, timeouts=TimeoutOverrides.model_validate({clock: 0.5}))
        if clock in ("attempt", "call") and not reply.text:
            # A machine on which the start alone took so long.
            reply = await ask(engine, timeouts=TimeoutOverrides.model_validate({clock: 15}))
    assert reply.error is not None
    assert (reply.error.code, reply.error.clock, reply.error.retryable) == (ErrorCode.TIMEOUT, clock, True)
    assert reply.text == ("" if clock == "startup" else "part")
    assert reply.error.next_step


async def test_the_clis_own_retries_are_no_sign_of_life_and_name_the_cause(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    retry = {"retrying": {"attempt": 1, "cause": "HTTP 529"}}
    # Together, since the clock runs from the text on.
    both = f"{json.dumps({'text': 'part'})}\n{json.dumps(retry)}\n"
    cli.script({"out": both}, {"repeat": 1000, "steps": [{"sleep": 0.05}, {"line": retry}]})
    async with make_engine() as engine:
        reply = await ask(engine, timeouts=TimeoutOverrides(idle=0.5))
    assert reply.error is not None
    assert reply.error.clock == "idle"
    assert "HTTP 529" in reply.error.message


async def test_the_reply_does_not_wait_for_a_child_that_never_ends(make_engine: MakeEngine, cli: FakeCli) -> None:
    async with Liveness() as live, make_engine() as engine:
        cli.script(live.connect(), {"ignore": ["TERM"]}, {"line": {"text": "done"}}, DONE, {"pause": True})
        engine.providers.adapters["fake"] = FakeAdapter(stop=(StopStep("term", 0.1), StopStep("kill", 1)))
        reply = await ask(engine)
        await live.connected()
        assert (reply.text, len(live.alive)) == ("done", 1)
        await live.all_gone()


async def test_leaving_the_engine_ends_calls_and_kills_children_that_ignore_signals(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    async with Liveness() as live:
        cli.script(live.connect(), {"ignore": ["TERM"]}, {"pause": True})
        with anyio.fail_after(WHEN_IT_MATTERS):
            async with make_engine() as engine:
                call = engine.submit(LLMRequest(prompt="hi", provider="fake"))
                await live.connected()
            assert (await call.outcome()).status == "cancelled"
            await live.all_gone()


async def test_a_grandchild_in_the_group_goes_with_its_parent(make_engine: MakeEngine, cli: FakeCli) -> None:
    async with Liveness() as live, make_engine() as engine:
        holder = {"grandchild": {"hold_stdout": True, "connect": live.port, "as": "grandchild"}}
        cli.script(holder, {"line": {"text": "done"}}, DONE)
        reply = await ask(engine)
        assert reply.status == "completed"
        await live.all_gone()


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([{"exit": 0}], ErrorCode.MALFORMED_OUTPUT),
        ([DONE], ErrorCode.MALFORMED_OUTPUT),
        ([{"line": {"text": " \n"}}, DONE], ErrorCode.MALFORMED_OUTPUT),
        ([{"exit": 3}], ErrorCode.CRASHED),
        ([{"signal_self": "SEGV"}], ErrorCode.CRASHED),
        ([{"close": "stdout"}, {"sleep": 60}], ErrorCode.CRASHED),
        ([{"line": {"error": {"code": "rate_limited", "message": "slow"}}}], ErrorCode.RATE_LIMITED),
    ],
)
async def test_what_is_no_answer_is_a_failure(
    make_engine: MakeEngine, cli: FakeCli, steps: list[dict[str, object]], code: ErrorCode
) -> None:
    cli.script(*steps)
    async with make_engine() as engine:
        reply = await ask(engine)
    assert (reply.status, error_code(reply)) == ("failed", code)


async def test_a_failure_keeps_the_text_and_the_last_words_without_secrets(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    cli.script(
        {"line": {"text": "half an ans"}}, {"err": "bad key sk-ant-api03-abcdefghijklmnopqrstuvwx\n"}, {"exit": 1}
    )
    async with make_engine() as engine:
        reply = await ask(engine)
    assert reply.text == "half an ans"
    assert reply.error is not None
    assert reply.error.stderr_tail is not None
    assert "bad key" in reply.error.stderr_tail
    assert "abcdefghij" not in reply.error.stderr_tail


async def test_a_tool_that_may_have_acted_makes_another_attempt_unsafe(make_engine: MakeEngine, cli: FakeCli) -> None:
    for reads_only, effects in ((True, "none"), (False, "possible")):
        cli.script({"line": {"tool": "x", "reads_only": reads_only}}, {"exit": 1})
        async with make_engine() as engine:
            reply = await ask(engine)
        assert reply.error is not None
        assert (reply.error.effects, reply.error.retryable) == (effects, effects == "none")


async def test_a_line_that_is_too_long_is_a_notice_and_the_answer_goes_on(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    cli.script({"spew": 100_000, "line_bytes": 0}, {"out": "\n"}, {"line": {"text": "fine"}}, DONE)
    async with make_engine(configuration={"limits": {"line_bytes": 10_000}}) as engine:
        reply = await ask(engine)
    assert reply.text == "fine"
    assert any("over 10000 bytes" in notice for notice in reply.notices)


async def test_more_text_than_may_be_kept_is_read_to_its_end_and_what_there_was_room_for_is_kept(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    cli.script({"spew": 2_000_000, "line_bytes": 1000, "json_key": "text"}, DONE)
    async with make_engine(configuration={"limits": {"capture_bytes": 100_000}}) as engine:
        reply = await ask(engine)
    assert error_code(reply) is ErrorCode.OUTPUT_LIMIT
    assert (len(reply.text), reply.truncated, reply.model) == (100_000, True, "m")


async def test_an_answer_that_comes_whole_at_the_end_needs_no_room_for_its_pieces(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    cli.script({"spew": 200_000, "line_bytes": 1000, "json_key": "text"}, {"line": {"done": {"text": "all of it"}}})
    async with make_engine(configuration={"limits": {"capture_bytes": 100_000}}) as engine:
        reply = await ask(engine)
    assert (reply.status, reply.text, reply.truncated) == ("completed", "all of it", False)


async def test_output_through_a_file_is_the_same(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script({"split": '{"text": "é€"}\n', "bytes_per_write": 1}, {"spew": 3_000_000, "json_key": "text"}, DONE)
    async with make_engine(FakeAdapter(stdout=Stdout.FILE)) as engine:
        reply = await ask(engine)
    assert reply.status == "completed"
    assert reply.text.startswith("é€xxx")
    assert len(reply.text) > 2_000_000


async def test_plain_text_survives_being_cut_in_mid_character(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script({"split": "héllo €", "bytes_per_write": 1})
    async with make_engine(FakeAdapter(raw=True)) as engine:
        assert (await ask(engine)).text == "héllo €"


@pytest.mark.parametrize("steps", [[{"close": "stdin"}], []])
async def test_a_large_prompt_that_is_not_read_does_not_hang(
    make_engine: MakeEngine, cli: FakeCli, steps: list[dict[str, object]]
) -> None:
    cli.script(*steps, {"line": {"text": "did not read"}}, DONE)
    async with make_engine() as engine:
        assert (await ask(engine, "x" * 4_000_000)).text == "did not read"


def is_empty(folder: str) -> bool:
    return Path(folder).name == "empty" and not list(Path(folder).iterdir())


async def test_the_child_sees_an_empty_folder_and_its_depth_and_nothing_of_ours(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    cli.script(
        {"read": "all"},
        {"cwd": True, "as": "text"},
        {"line": {"text": "\n"}},
        {"env": True, "as": "notice"},
        DONE,
    )
    async with make_engine(environ={"CLAUDECODE": "1", "DRAGOMAN_DEPTH": "1", "DRAGOMAN_LINEAGE": "abc"}) as engine:
        call = engine.submit(LLMRequest(prompt="hi", provider="fake"))
        reply = await call.outcome()
        # The environment is an object, which is no text for a notice: the line is shown whole instead.
        shown = next(event.message for event in call.log.events if isinstance(event, Notice))
    assert is_empty(reply.text.strip())
    assert "CLAUDECODE" not in shown
    assert f"abc,{call.id}" in shown


async def test_the_question_reaches_the_child_as_it_is(make_engine: MakeEngine, cli: FakeCli) -> None:
    prompt = "--help /cost @/etc/passwd 'é' \u2028 $(id)\n"
    cli.script({"read": "all"}, {"echo_stdin": True, "pick": "prompt", "as": "text"}, DONE)
    async with make_engine() as engine:
        assert json.dumps((await ask(engine, prompt)).text) == json.dumps(prompt)


async def test_an_adapter_that_raises_is_a_reply_and_its_child_goes(make_engine: MakeEngine, cli: FakeCli) -> None:
    class BrokenDialogue(LineDialogue):
        def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
            raise ZeroDivisionError(f"{stream} {len(frames)}")

    class Broken(FakeAdapter):
        def dialogue(self, plan: Plan) -> Dialogue:
            return BrokenDialogue()

    async with Liveness() as live, make_engine(Broken()) as engine:
        cli.script(live.connect(), {"line": {"text": "x"}}, {"pause": True})
        reply = await ask(engine)
        assert error_code(reply) is ErrorCode.INTERNAL
        await live.all_gone()


async def test_an_outcome_that_fits_into_no_reply_is_still_an_end(make_engine: MakeEngine, cli: FakeCli) -> None:
    class StrangeDialogue(LineDialogue):
        def closed(self, end: Exit) -> Iterable[Act]:
            return self._end(Completed(text="x", model=cast("str", 42)))

    class Strange(FakeAdapter):
        def dialogue(self, plan: Plan) -> Dialogue:
            return StrangeDialogue()

    cli.script()
    async with make_engine(Strange()) as engine:
        assert error_code(await ask(engine)) is ErrorCode.INTERNAL


async def test_a_disk_that_is_full_is_told_as_what_it_is(
    make_engine: MakeEngine, cli: FakeCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: PrivateFolder, name: str, content: bytes) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{name} {len(content)}")

    class WithFile(FakeAdapter):
        def plan(self, turn: Turn, found: Installed) -> Plan:
            return Plan(Launch((PrivateFile("", "system.txt", b"x"),)), host_key=turn.id)

    cli.script()
    monkeypatch.setattr(PrivateFolder, "write", full)
    async with make_engine(WithFile()) as engine:
        reply = await ask(engine)
    assert reply.error is not None
    assert reply.error.code is ErrorCode.INTERNAL
    assert "No space left" in reply.error.message
    assert cli.starts == 0


async def test_retry_events_are_in_the_log(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script({"line": {"retrying": {"attempt": 1, "cause": "busy"}}}, {"line": {"text": "ok"}}, DONE)
    async with make_engine() as engine:
        call = engine.submit(LLMRequest(prompt="hi", provider="fake"))
        assert (await call.outcome()).text == "ok"
    assert Retrying(attempt=1, cause="busy") in call.log.events


@pytest.mark.parametrize("after_s", [0, 0.5], ids=["before its first step", "in mid-call"])
async def test_a_timeout_around_the_engine_ends_it_and_whoever_waits_gets_a_reply(
    make_engine: MakeEngine, cli: FakeCli, after_s: float
) -> None:
    cli.script({"pause": True})
    calls: list[Call] = []
    with anyio.fail_after(WHEN_IT_MATTERS):
        with anyio.move_on_after(after_s) as limit:
            async with make_engine() as engine:
                calls.append(engine.submit(LLMRequest(prompt="hi", provider="fake")))
                await calls[0].outcome()
        assert limit.cancelled_caught
        assert (await calls[0].outcome()).status == "cancelled"


async def test_who_ends_before_it_takes_the_question_is_told_by_what_it_said(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    class Hesitant(LineDialogue):
        def start(self) -> Iterable[Act]:
            return ()  # the handshake that makes it ready never comes

        def closed(self, end: Exit) -> Iterable[Act]:
            error = ErrorInfo.of(ErrorCode.BAD_REQUEST, f"it does not know an option (exit {end.code})")
            return self._end(Failed(error))

    class Adapter(FakeAdapter):
        def dialogue(self, plan: Plan) -> Dialogue:
            return Hesitant()

    cli.script({"err": "unknown option\n"}, {"exit": 2})
    async with make_engine(Adapter()) as engine:
        reply = await ask(engine)
    assert reply.error is not None
    assert (reply.error.code, reply.error.message) == (
        ErrorCode.BAD_REQUEST,
        "it does not know an option (exit 2)",
    )
    assert reply.error.stderr_tail == "unknown option"
