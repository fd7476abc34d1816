"""The real CLIs through the engine: an answer, its stream, every common failure, a cancel."""

from __future__ import annotations

import anyio
import pytest

from dragoman.engine import Engine
from dragoman.schemas import ErrorCode, LLMRequest, LLMResponse, Text, TimeoutOverrides
from tests.fakes import scenario as api
from tests.fakes.model_api import ModelAPI, refused_url
from tests.real.providers import Real, all_gone

pytestmark = [pytest.mark.anyio, pytest.mark.real]

KNOWN_WITHIN_S = 90
"""Every cause is known in this time on a machine that is slow; left alone, claude takes three minutes and codex for
ever."""


async def ask(engine: Engine, provider: str, prompt: str = "What is the capital of France?") -> LLMResponse:
    with anyio.fail_after(KNOWN_WITHIN_S):
        return await engine.submit(LLMRequest(prompt=prompt, provider=provider)).outcome()


async def test_a_question_is_answered_with_its_tokens(provider: Real, model_api: ModelAPI) -> None:
    model_api.scenario = api.answer("The capital is Paris.", input_tokens=12, output_tokens=5)
    async with provider.engine(model_api.url) as engine:
        reply = await ask(engine, provider.name)
    assert (reply.status, reply.text.strip()) == ("completed", "The capital is Paris."), reply
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (12, 5)
    assert len(model_api.questions) == 1
    await all_gone(provider.home)


async def test_the_answer_streams(provider: Real, model_api: ModelAPI) -> None:
    scenario = api.answer("The capital is Paris.", chunks=["The capital", " is", " Paris."], gated=True)
    model_api.scenario = scenario
    async with provider.engine(model_api.url) as engine:
        call = engine.submit(LLMRequest(prompt="hi", provider=provider.name))
        with anyio.fail_after(KNOWN_WITHIN_S):
            await model_api.wait_questions()
            scenario.release()
            pieces: list[str] = []
            async for event in call.log.follow():
                if isinstance(event, Text):
                    # The next piece does not exist before this one has arrived.
                    pieces.append(event.text)
                    scenario.release()
    assert len(pieces) >= 3
    assert "".join(pieces).strip() == "The capital is Paris."


# The table of failures is asked of the real programs in `tests.real.failures`, with fewer starts.
@pytest.mark.long
@pytest.mark.parametrize(
    ("status", "code"), [(401, ErrorCode.AUTH), (429, ErrorCode.RATE_LIMITED), (500, ErrorCode.OVERLOADED)]
)
async def test_an_upstream_failure_is_known_in_seconds(
    provider: Real, model_api: ModelAPI, status: int, code: ErrorCode
) -> None:
    model_api.scenario = api.status(status)
    async with provider.engine(model_api.url) as engine:
        reply = await ask(engine, provider.name)
    assert reply.error is not None
    assert reply.error.code is code, reply.error
    assert reply.error.next_step
    assert reply.error.effects == "none"


async def test_a_refused_connection_is_known_in_seconds(provider: Real) -> None:
    async with provider.engine(refused_url()) as engine:
        reply = await ask(engine, provider.name)
    assert reply.error is not None
    assert reply.error.code is ErrorCode.NETWORK, reply.error


async def test_a_cancel_ends_the_child_and_its_connection(provider: Real, model_api: ModelAPI) -> None:
    model_api.scenario = api.stall_after(["Par"])
    async with provider.engine(model_api.url) as engine:
        call = engine.submit(LLMRequest(prompt="hi", provider=provider.name))
        with anyio.fail_after(KNOWN_WITHIN_S):
            async for event in call.log.follow():
                if isinstance(event, Text):
                    call.cancel()
        reply = await call.outcome()
        assert (reply.status, reply.text) == ("cancelled", "Par")
        await model_api.wait_idle()
        await all_gone(provider.home)


async def test_a_silent_model_is_a_timeout_that_names_its_clock(provider: Real, model_api: ModelAPI) -> None:
    model_api.scenario = api.hang()
    async with provider.engine(model_api.url) as engine:
        request = LLMRequest(prompt="hi", provider=provider.name, timeouts=TimeoutOverrides(startup=4, idle=4))
        with anyio.fail_after(KNOWN_WITHIN_S):
            reply = await engine.submit(request).outcome()
    assert reply.error is not None
    assert reply.error.code is ErrorCode.TIMEOUT
    assert reply.error.clock in ("startup", "idle")


async def test_the_prompt_is_text_and_nothing_else(provider: Real, model_api: ModelAPI) -> None:
    secret = provider.home / "secret.txt"
    secret.write_text("do-not-attach-this")
    prompt = f"/cost --help @{secret} $(id) `ls` {{{{x}}}} ‘é’"  # noqa: RUF001 - quotes that are not ASCII
    async with provider.engine(model_api.url) as engine:
        assert (await ask(engine, provider.name, prompt)).status == "completed"
    sent = str(model_api.questions[-1].body)
    assert prompt in sent
    assert "do-not-attach-this" not in sent


async def test_a_long_prompt_and_a_long_answer_arrive_whole(provider: Real, model_api: ModelAPI) -> None:
    model_api.scenario = api.big(2_000_000)
    async with provider.engine(model_api.url) as engine:
        reply = await ask(engine, provider.name, "x" * 500_000)
    assert reply.status == "completed", reply.error
    assert reply.text.strip() == model_api.scenario.text.strip()
