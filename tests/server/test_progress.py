"""The lines a client sees while it waits."""

import time
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from dragoman.engine import Call
from dragoman.schemas import Event, LLMRequest, Notice, Retrying, Started, Text, Thought, Tool
from dragoman.server import progress
from dragoman.server.progress import LINE_CHARS, narrate_call
from dragoman.testing import FakeCli, Liveness
from tests.server.conftest import WHEN_IT_MATTERS, Connect
from tests.server.results import DONE

pytestmark = pytest.mark.anyio


async def story(*batches: list[Event], **pace: float) -> list[str]:
    """The lines for these events; each batch comes when the one before was told."""
    call = Call(LLMRequest(prompt="hi", provider="fake"), "mcp")
    call.deadline = time.monotonic() + 99.4
    lines: list[str] = []
    numbers: list[float] = []
    told = anyio.Event()

    async def tell(number: float, _: None, line: str) -> None:
        nonlocal told
        numbers.append(number)
        lines.append(line)
        told.set()
        told = anyio.Event()

    with anyio.fail_after(WHEN_IT_MATTERS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: narrate_call(call, tell, **{"gap_s": 0.002, **pace}))
            for batch in batches:
                heard = told
                for event in batch:
                    call.log.append(event)
                await heard.wait()
            call.log.close()
    assert all(before < after for before, after in pairwise(numbers))
    return lines


def doing(line: str) -> str:
    """A line without its time."""
    provider, rest = line.split(": ", 1)
    assert provider == "fake"
    elapsed, rest = rest.split(" s, ", 1)
    assert float(elapsed) >= 0
    left, what = rest.split(" s left, ", 1)
    assert float(left) > 0
    return what


async def test_lines_are_short_words_for_what_happens() -> None:
    lines = await story(
        [Started(provider="fake")],
        [Thought(text="hm"), Thought(text="hm")],
        [Text(text="x" * 300), Text(text="x" * 40)],
        [Tool(name="Read", detail="a.py")],
        [Retrying(attempt=2, cause="529 overloaded", delay_s=1.5)],
        [Notice(message="a small\nmodel"), Text(text="x")],
    )
    assert list(map(doing, lines)) == [
        "started",
        "thinking",
        "writing, 340 characters",
        "using Read a.py",
        "retrying: 529 overloaded (attempt 2, next in 1.5 s)",
        "a small model; writing, 341 characters",
    ]


async def test_a_line_is_never_longer_than_a_client_shows() -> None:
    (line,) = await story([Tool(name="Bash", detail="y" * 1000)])
    assert len(line) == LINE_CHARS
    assert line.endswith("…")


async def test_a_silent_call_is_said_to_live(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(LLMRequest(prompt="hi", provider="fake"), "mcp")
    call.deadline = call.created + 99.4
    now = call.created + 0.2
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    lines: list[str] = []

    async def tell(number: float, _: None, line: str) -> None:
        nonlocal now
        lines.append(line)
        match len(lines):
            case 1:
                call.log.append(Started(provider="fake"))
            case 2:
                now += 24
            case 3:
                call.log.append(Text(text="Par"))
            case 5:
                call.log.close()
            case _:
                pass

    with anyio.fail_after(WHEN_IT_MATTERS):
        await narrate_call(call, tell, gap_s=0.001, silence_s=0.01)
    assert lines[0] == "waiting for fake for 0 s, 99 s left"
    assert doing(lines[1]) == "started"
    assert lines[2] == "fake has been working for 24 s, 75 s left, silent for 24 s"
    assert doing(lines[3]) == "writing, 3 characters"
    assert lines[4] == "fake has been working for 24 s, 75 s left, silent for 0 s, 3 characters so far"


async def test_a_flood_of_events_is_few_lines() -> None:
    call = Call(LLMRequest(prompt="hi", provider="fake"), "mcp")
    began = time.monotonic()
    call.deadline = began + 99.4
    lines: list[str] = []

    async def tell(number: float, _: None, line: str) -> None:
        lines.append(line)

    with anyio.fail_after(WHEN_IT_MATTERS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(narrate_call, call, tell)
            for _ in range(500):
                call.log.append(Text(text="x"))
                await anyio.lowlevel.checkpoint()
            call.log.close()
    assert 1 <= len(lines) <= 2 + (time.monotonic() - began) / progress.GAP_S
    assert doing(lines[-1]) == "writing, 500 characters"


async def test_a_client_sees_rising_numbers_while_it_waits_and_nothing_after_the_answer(
    connect: Connect, cli: FakeCli
) -> None:
    seen: list[tuple[float, float | None, str | None]] = []
    writing = anyio.Event()

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))
        if message and "writing, 3 characters" in message:
            writing.set()

    async with Liveness() as live, connect() as client:
        cli.script(live.connect(), {"line": {"text": "Par"}}, {"wait": "gate"}, {"line": {"text": "is"}}, DONE)

        async def ask(arguments: dict[str, Any]) -> None:
            await client.call_tool("ask_fake", arguments, progress_callback=tell)

        async with anyio.create_task_group() as asking:
            asking.start_soon(ask, {"prompt": "hi"})
            await writing.wait()
            await live.release()
        count = len(seen)
        await client.call_tool("providers")
        assert len(seen) == count
    numbers = [number for number, _, _ in seen]
    assert all(before < after for before, after in pairwise(numbers))
    assert {total for _, total, _ in seen} == {None}
    assert doing(str(seen[0][2])) in ("started", "started; writing, 3 characters")
