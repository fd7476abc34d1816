"""The library, with and without an event loop."""

import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from pydantic import ValidationError

import dragoman
from dragoman import Configuration, Dragoman, ErrorCode, LLMError, RateLimitError
from dragoman.schemas import Text
from dragoman.sync import Dragoman as SyncDragoman
from dragoman.testing import FakeCli, Liveness


@pytest.fixture
def cli(tmp_path: Path) -> FakeCli:
    return FakeCli(tmp_path, "llm", version="0.36")


@pytest.fixture
def configuration(cli: FakeCli) -> Configuration:
    """`llm` speaks plain text, so a scripted program can stand in for it."""
    return Configuration.model_validate({"providers": {"llm": {"command": [str(cli.path)]}}})


@pytest.mark.anyio
async def test_a_question_is_answered(cli: FakeCli, configuration: Configuration) -> None:
    cli.script({"read": "all"}, {"echo_stdin": True, "as": "raw"})
    async with Dragoman(configuration) as d:
        reply = await d.ask("llm", "Say this.")
    assert (reply.status, reply.text) == ("completed", "Say this.")


@pytest.mark.anyio
async def test_events_come_as_they_happen_and_the_reply_after_them(cli: FakeCli, configuration: Configuration) -> None:
    async with Liveness() as live, Dragoman(configuration) as d:
        cli.script(live.connect(), {"read": "all"}, {"out": "one"}, {"wait": "gate"}, {"out": " two"})
        texts: list[str] = []
        stream = d.stream("llm", "hi")
        with anyio.fail_after(60):
            async for event in stream:
                if isinstance(event, Text):
                    texts.append(event.text)
                    if event.text == "one":
                        await live.connected()
                        await live.release()
    assert texts == ["one", " two"]
    assert stream.reply is not None
    assert stream.reply.text == "one two"


@pytest.mark.anyio
async def test_leaving_a_stream_early_ends_its_call(cli: FakeCli, configuration: Configuration) -> None:
    async with Liveness() as live, Dragoman(configuration) as d:
        cli.script(live.connect(), {"out": "one"}, {"pause": True})
        stream = d.stream("llm", "hi")
        with anyio.fail_after(60):
            async for _ in stream:
                await live.connected()
                break
            await stream.aclose()
            await live.all_gone()


@pytest.mark.anyio
async def test_a_failure_is_raised_bare_with_its_facts_and_its_partial_text(
    cli: FakeCli, configuration: Configuration
) -> None:
    cli.script({"read": "all"}, {"out": "half"}, {"err": "Error: Error code: 429 - slow down\n"}, {"exit": 1})
    with pytest.raises(RateLimitError) as caught:
        async with Dragoman(configuration) as d:
            await d.ask("llm", "hi")
    assert caught.value.code is ErrorCode.RATE_LIMITED
    assert caught.value.reply is not None
    assert caught.value.reply.text == "half"
    async with Dragoman(configuration) as d:
        with pytest.raises(RateLimitError):
            async for _ in d.stream("llm", "hi"):
                pass


@pytest.mark.anyio
async def test_cancelling_the_wait_cancels_the_call(cli: FakeCli, configuration: Configuration) -> None:
    async with Liveness() as live, Dragoman(configuration) as d:
        cli.script(live.connect(), {"pause": True})
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(d.ask, "llm", "hi")
                await live.connected()
                tasks.cancel_scope.cancel()
            await live.all_gone()


@pytest.mark.anyio
async def test_wrong_arguments_are_refused_before_anything_starts(cli: FakeCli, configuration: Configuration) -> None:
    cli.script()
    async with Dragoman(configuration) as d:
        with pytest.raises(ValidationError, match="modle"):
            await d.ask("llm", "hi", modle="x")  # pyright: ignore[reportCallIssue] - the mistake under test
        with pytest.raises(LLMError, match="no provider 'nobody'"):
            await d.ask("nobody", "hi")
    assert cli.starts == 0


def test_the_twin_without_an_event_loop_does_the_same(cli: FakeCli, configuration: Configuration) -> None:
    cli.script({"read": "all"}, {"echo_stdin": True, "as": "raw"})
    with SyncDragoman(configuration) as d:
        assert d.ask("llm", "Say this.").text == "Say this."
        assert [event.text for event in d.stream("llm", "And this.") if isinstance(event, Text)] == ["And this."]
        assert any(status.name == "llm" for status in d.providers())
        with pytest.raises(LLMError):
            d.ask("nobody", "hi")


def test_leaving_the_twins_iteration_early_ends_the_call(cli: FakeCli, configuration: Configuration) -> None:
    cli.script({"out": "one"}, {"sleep": 60})
    with SyncDragoman(configuration) as d:
        for event in d.stream("llm", "hi"):
            if isinstance(event, Text):
                break
        cli.script({"read": "all"}, {"out": "fine"})
        assert d.ask("llm", "hi").text == "fine"


def test_everything_that_is_exported_exists_and_importing_it_is_light() -> None:
    for name in dragoman.__all__:
        assert getattr(dragoman, name) is not None
    script = "import sys, dragoman; print(sorted({'mcp', 'pydantic', 'anyio', 'typer', 'loguru'} & set(sys.modules)))"
    light = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert light.stdout == "[]\n"
    script = "import sys, dragoman; dragoman.Dragoman; print('mcp' in sys.modules)"
    used = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert used.stdout == "False\n"
