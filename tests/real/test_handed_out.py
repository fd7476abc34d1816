"""Real CLIs that began to answer over pipes go on when their server is gone, and the next one has the whole answer."""

import anyio
import pytest

from dragoman.schemas import LLMRequest, Text
from tests.fakes import scenario as api
from tests.fakes.model_api import ModelAPI
from tests.real.providers import Real, all_gone, processes_of

pytestmark = [pytest.mark.anyio, pytest.mark.real]

PATIENCE_S = 240


@pytest.mark.parametrize("provider", ["llm", "claude"], indirect=True)
async def test_a_call_that_was_handed_out_goes_on_in_the_next_server(provider: Real, model_api: ModelAPI) -> None:
    model_api.scenario = api.answer("Both work.", chunks=("Both ", "work."), gated=True)
    request = LLMRequest(prompt="Compare them.", provider=provider.name, conversation_id="talk")
    with anyio.fail_after(PATIENCE_S):
        async with provider.engine(model_api.url) as engine:
            job = await engine.jobs.start(request, face="mcp")
            assert job.call is not None
            model_api.scenario.release()
            async for event in job.call.log.follow():
                if isinstance(event, Text):
                    break
            await job.hand_out()
            assert job.call.outlives_us
        assert processes_of(provider.home)
        async with provider.engine(model_api.url) as engine:
            job = await engine.jobs.find(job.id)
            assert job.reply().status == "running"
            model_api.scenario.release()
            reply = await job.wait()
        assert (reply.status, reply.text, reply.conversation_id) == ("completed", "Both work.", "talk"), reply
    await all_gone(provider.home)
    assert len(model_api.questions) == 1
