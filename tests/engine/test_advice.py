"""Every failure tells a person what to do next, in words that can be shown."""

import pytest

from dragoman.engine.advice import ADVICE, MESSAGE_CHARS, advised
from dragoman.engine.attempt.endings import STDERR_TAIL_BYTES
from dragoman.schemas import ErrorCode, ErrorInfo, LLMRequest, Retrying
from dragoman.testing import FakeCli
from tests.engine.conftest import MakeEngine

SECRET = f"sk-ant-{'x' * 40}"


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_has_a_next_step_and_a_more_precise_one_is_kept(code: ErrorCode) -> None:
    assert ErrorInfo.of(code, "x").next_step == ADVICE[code]
    assert ErrorInfo.of(code, "x", next_step="mine").next_step == "mine"
    bare = ErrorInfo.of(code, "x").model_copy(update={"next_step": None})
    assert advised(bare).next_step == ADVICE[code]
    assert advised(ErrorInfo.of(code, "x", next_step="mine")).next_step == "mine"


@pytest.mark.anyio
@pytest.mark.parametrize("code", list(ErrorCode))
async def test_a_reply_and_its_attempts_have_one(make_engine: MakeEngine, cli: FakeCli, code: ErrorCode) -> None:
    cli.script({"line": {"error": {"code": code.value, "message": "x"}}})
    async with make_engine() as engine:
        reply = await engine.submit(LLMRequest(prompt="hi", provider="fake")).outcome()
    assert reply.error is not None
    assert (reply.error.code, bool(reply.error.next_step)) == (code, True)
    [attempt] = reply.attempts
    assert attempt.error == reply.error


@pytest.mark.anyio
async def test_words_of_a_failure_have_no_colours_and_no_secrets_and_an_end(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    words = f"\x1b[31mbad key\x1b[0m\x07 {SECRET} " + "y" * 9000
    cli.script(
        {"err": f"\x1b]0;title\x07{'x' * 5000} \x1b[1m{SECRET}\x1b[0m the end\n"},
        {"line": {"error": {"code": "auth", "message": words}}},
    )
    async with make_engine() as engine:
        reply = await engine.submit(LLMRequest(prompt="hi", provider="fake")).outcome()
    assert reply.error is not None
    tail = reply.error.stderr_tail or ""
    assert tail.endswith("the end")
    assert len(tail) <= STDERR_TAIL_BYTES
    assert reply.error.message.startswith("bad key ")
    assert len(reply.error.message) <= MESSAGE_CHARS + 1
    for shown in (tail, reply.error.message):
        assert SECRET not in shown
        assert "\x1b" not in shown


@pytest.mark.anyio
async def test_what_a_cli_says_meanwhile_has_no_colours_and_no_secrets_either(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    words = f"\x1b[31mbad key\x1b[0m {SECRET}"
    cli.script(
        {"line": {"notice": words}},
        {"line": {"retrying": {"attempt": 1, "cause": words}}},
        {"line": {"text": "ok"}},
        {"line": {"done": {}}},
    )
    async with make_engine() as engine:
        call = engine.submit(LLMRequest(prompt="hi", provider="fake"))
        reply = await call.outcome()
    assert reply.notices == ("bad key [redacted]",)
    assert [event.cause for event in call.log.events if isinstance(event, Retrying)] == ["bad key [redacted]"]


@pytest.mark.anyio
async def test_the_time_that_is_stated_in_words_is_told_and_kept_to(make_engine: MakeEngine, cli: FakeCli) -> None:
    words = "You've hit your limit, it resets after 3h34m"
    cli.script({"line": {"error": {"code": "quota", "message": words}}})
    async with make_engine(configuration={"breaker": {"never_open_last": False}}) as engine:
        request = LLMRequest(prompt="hi", provider="fake")
        first, second = [(await engine.submit(request).outcome()).error for _ in range(2)]
    assert first is not None
    assert second is not None
    assert (first.code, first.retry_after_s) == (ErrorCode.QUOTA, 12840)
    assert (second.code, second.reset_at, cli.starts) == (ErrorCode.CIRCUIT_OPEN, first.reset_at, 1)
