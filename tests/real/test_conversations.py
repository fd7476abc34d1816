"""The real Claude Code, Codex and Gemini CLI as clients: a conversation of two turns, and an answer that takes long.

Their model is the fake one: it reads the ids out of what the client tells it, as a real one does.
"""

import json
import re
from pathlib import Path

import anyio
import pytest

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.testing import FakeCli, Liveness
from tests.fakes.model_api import ModelAPI
from tests.fakes.scenario import Scenario, answer
from tests.real.test_clients import WHEN_IT_MATTERS, ClientUnderTest, Wire, client, running

__all__ = ["client"]

pytestmark = [pytest.mark.anyio, pytest.mark.real]


class Model:
    """What the client's model does, one tool call after the other, each made when the one before has its answer."""

    def __init__(self, api: ModelAPI, tool: str, calls: int) -> None:
        self._api = api
        self._tool = tool
        self._steps = [Scenario(chunks=("…",), gated=True, tool=(tool, {})) for _ in range(calls)]
        self._asked = 0
        api.play(*self._steps, answer("All done."))

    async def calls(self, tool: str, **arguments: object) -> None:
        """The next tool call. Waits until the client asks what to do."""
        await self._api.wait_questions(self._asked + 1)
        step = self._steps[self._asked]
        step.tool = (self._tool.replace("ask_llm", tool), arguments)
        step.release()
        self._asked += 1

    async def reads(self, name: str) -> str:
        """An id in the result of the last tool call, from what the client shows its model of it."""
        await self._api.wait_questions(self._asked + 1)
        shown = self._api.questions[-1].raw.decode()
        # In the structured part, or in the list of jobs as text.
        found = re.findall(rf'{name}[\\" :]+([0-9a-z]{{16,}})|([0-9a-f]{{16}})  running', shown)
        assert found, f"the client did not show its model a {name}"
        return "".join(found[-1])


def allow_jobs(client: ClientUnderTest) -> None:
    """Claude Code is told what it may use without asking; the others see from the hints that these do no harm."""
    client.argv = tuple(word.replace("ask_llm", "ask_llm,mcp__dragoman__job") for word in client.argv)


def store_of(home: Path) -> Path:
    """Where the server that the client started keeps things."""
    return home / ".local" / "share" / "dragoman" / "dragoman.sqlite3"


async def test_a_client_holds_a_conversation_and_collects_a_long_answer(
    client: ClientUnderTest, hermetic_home: Path, model_api: ModelAPI
) -> None:
    allow_jobs(client)
    model = Model(model_api, client.tool, 4)
    wire = Wire(client, hermetic_home)
    llm = FakeCli(hermetic_home / "bin", "llm", version="0.36")
    llm.script({"read": "all"}, {"out": "Noted."})
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with Liveness() as live, running(client, hermetic_home) as process:
            await model.calls("ask_llm", prompt="My number is 7.")
            conversation_id = await model.reads("conversation_id")
            await model.calls("ask_llm", prompt="What is it?", conversation_id=conversation_id)
            assert await model.reads("conversation_id") == conversation_id
            llm.script({"read": "all"}, live.connect(), {"wait": "gate"}, {"out": "Paris-by-the-Seine"})
            await model.calls("ask_llm", prompt="Think hard.", max_wait_s=0.5)
            job_id = await model.reads("job_id")
            await live.connected(1, WHEN_IT_MATTERS)
            await model.calls("job", action="wait", job_id=job_id)
            waiting = json.dumps({"action": "wait", "job_id": job_id}, sort_keys=True)
            await wire.until(
                lambda: any(
                    json.dumps(call["params"]["arguments"], sort_keys=True) == waiting
                    for call in wire.of("client", "tools/call")
                )
            )
            await live.release()
            code = await process.wait()
    said = (hermetic_home / "said").read_text("utf-8", "replace")
    assert (code, "All done." in said) == (0, True), said
    assert b"Paris-by-the-Seine" in model_api.questions[-1].raw
    async with Engine(Configuration(), store_file=store_of(hermetic_home)) as engine:
        _, turns, _ = await engine.conversations.show(conversation_id)
        assert [(turn.prompt, turn.text) for turn in turns] == [
            ("My number is 7.", "Noted."),
            ("What is it?", "Noted."),
        ]
        assert (await (await engine.jobs.find(job_id)).wait()).text == "Paris-by-the-Seine"


# Codex gives for its own limit the reason that it gives when its user stops it.
@pytest.mark.parametrize("client", ["claude-code", "gemini"], indirect=True)
async def test_an_answer_for_which_the_client_has_no_patience_can_still_be_collected(
    client: ClientUnderTest, hermetic_home: Path, model_api: ModelAPI
) -> None:
    allow_jobs(client)
    client.environment["MCP_TOOL_TIMEOUT"] = "8000"
    config = client.config.read_text("utf-8")
    client.config.write_text(
        config.replace("tool_timeout_sec = 1800", "tool_timeout_sec = 8").replace(
            '"timeout": 1800000', '"timeout": 8000'
        ),
        "utf-8",
    )
    model = Model(model_api, client.tool, 3)
    wire = Wire(client, hermetic_home)
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with Liveness() as live, running(client, hermetic_home) as process:
            FakeCli(hermetic_home / "bin", "llm", version="0.36").script(
                {"read": "all"}, live.connect(), {"wait": "gate"}, {"out": "Paris-by-the-Seine"}
            )
            await model.calls("ask_llm", prompt="Think hard.")
            await live.connected(1, WHEN_IT_MATTERS)
            await model.calls("job", action="list")
            await wire.until(lambda: wire.of("client", "notifications/cancelled"))
            job_id = await model.reads("job_id")
            await live.release()
            await model.calls("job", action="wait", job_id=job_id)
            assert await process.wait() == 0
    assert b"Paris-by-the-Seine" in model_api.questions[-1].raw


async def test_a_page_of_a_large_answer_reaches_the_clients_model_whole(
    client: ClientUnderTest, hermetic_home: Path, model_api: ModelAPI
) -> None:
    model = Model(model_api, client.tool, 1)
    wire = Wire(client, hermetic_home)
    words = " ".join(f"word{number}" for number in range(50_000))
    FakeCli(hermetic_home / "bin", "llm", version="0.36").script({"read": "all"}, {"out": words})
    with anyio.fail_after(WHEN_IT_MATTERS):
        async with running(client, hermetic_home) as process:
            await model.calls("ask_llm", prompt="Say it all.")
            assert await process.wait() == 0
    [result] = [
        message["result"] for message in wire.said("server") if "structuredContent" in message.get("result", {})
    ]
    page: str = result["structuredContent"]["text"]
    assert (result["structuredContent"]["next_page"], words.startswith(page)) == (2, True)
    shown = model_api.questions[-1].raw.decode()
    assert page.strip() in shown
    assert re.search(r"next_page|page 2", shown)
