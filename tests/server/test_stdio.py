"""The server as clients start it: over pipes, told to stop in every way that clients have."""

import signal
import sqlite3
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from dragoman.testing import FakeCli, Liveness
from tests.server import noisy
from tests.server.conftest import WHEN_IT_MATTERS
from tests.server.wire import Wire, served

pytestmark = pytest.mark.anyio

AT_ONCE_S = 30
"""Far less than such a child may take to end, and enough for a machine that is slow."""
HELD_S = 8
"""What clients give is less, but a machine may be slow. A single wait for SQLite alone takes 5 s."""
STUBBORN = {"ignore": ["TERM", "INT", "HUP"]}

Leave = Callable[[Wire], Awaitable[None]]


@pytest.fixture(autouse=True)
async def _bounded() -> AsyncGenerator[None]:
    with anyio.fail_after(WHEN_IT_MATTERS):
        yield


@pytest.fixture
def cli(tmp_path: Path) -> FakeCli:
    """A fake `llm`, the only provider of the server's."""
    for name in ("bin", "home", "work"):
        (tmp_path / name).mkdir()
    return FakeCli(tmp_path / "bin", "llm", version="0.36")


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "DRAGOMAN_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "DRAGOMAN_PROVIDERS__LOCAL__ENABLED": "false",
        "DRAGOMAN_PROVIDERS__LLM__TIMEOUTS__GRACE": "600",
        "DRAGOMAN_PROVIDERS__LLM__TIMEOUTS__SPAWN": "60",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


@pytest.fixture
async def wire(tmp_path: Path, variables: dict[str, str], cli: FakeCli, mode: str) -> AsyncGenerator[Wire]:
    async with served(tmp_path / "work", variables, mode) as connection:
        await connection.open()
        yield connection


async def test_a_question_is_answered_in_both_parts_and_eof_ends_the_server_with_0(wire: Wire, cli: FakeCli) -> None:
    cli.script({"read": "all"}, {"out": "Paris\n"})
    result = await wire.call("ask_llm", prompt="What is the capital of France?")
    assert result["content"][0]["text"] == result["structuredContent"]["text"]
    assert result["structuredContent"]["text"].strip() == "Paris"
    await wire.close_stdin()
    assert await wire.ended() == 0


@pytest.mark.parametrize("more", [{}, {"background": True}, {"max_wait_s": 0}], ids=["waits", "background", "job"])
async def test_a_server_leaves_in_time_though_another_program_holds_its_store(
    wire: Wire, cli: FakeCli, tmp_path: Path, more: dict[str, object]
) -> None:
    cli.script({"read": "all"}, {"out": "Paris\n"})
    await wire.call("ask_llm", prompt="one")
    with closing(sqlite3.connect(tmp_path / "state" / "dragoman.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        await wire.start("ask_llm", prompt="two", **more)
        await wire.close_stdin()
        with anyio.fail_after(HELD_S):
            assert await wire.ended() == 0


async def test_opening_and_listing_start_no_process(
    tmp_path: Path, variables: dict[str, str], cli: FakeCli, mode: str
) -> None:
    programs = [cli, *(FakeCli(tmp_path / "bin", name) for name in ("claude", "codex"))]
    markers = [tmp_path / f"{number}.started" for number in range(len(programs))]
    for program, marker in zip(programs, markers, strict=True):
        program.path.write_text(f"#!/bin/sh\ntouch '{marker}'\n", encoding="utf-8")
        program.path.chmod(0o755)
    async with served(tmp_path / "work", variables, mode) as connection:
        await connection.open()
        listed = await connection.request("tools/list", {})
        await connection.close_stdin()
        assert await connection.ended() == 0
    assert {"ask_claude", "ask_codex", "ask_llm"} <= {tool["name"] for tool in listed["tools"]}
    assert not any(marker.exists() for marker in markers)
    # The folder itself is made by whoever looks there for what earlier servers have left, a second after the start.
    assert list((tmp_path / "state").glob("*")) == []


async def _eof(wire: Wire) -> None:
    await wire.close_stdin()


async def _terminate(wire: Wire) -> None:
    wire.signal(signal.SIGTERM)


async def _hang_up(wire: Wire) -> None:
    wire.signal(signal.SIGHUP)


async def _as_claude_code(wire: Wire) -> None:
    wire.signal(signal.SIGINT)
    await anyio.sleep(0.1)  # the time that it gives
    if wire.process.returncode is None:
        wire.signal(signal.SIGTERM)


async def _as_codex(wire: Wire) -> None:
    await wire.close_stdin()
    wire.signal(signal.SIGTERM)


LEAVING = [
    pytest.param(_eof, {0}, id="eof"),
    pytest.param(_terminate, {128 + signal.SIGTERM}, id="sigterm"),
    pytest.param(_hang_up, {128 + signal.SIGHUP}, id="sighup"),
    pytest.param(_as_claude_code, {128 + signal.SIGINT}, id="sigint-then-sigterm"),
    pytest.param(_as_codex, {0, 128 + signal.SIGTERM, -signal.SIGTERM}, id="eof-and-sigterm"),
]


@pytest.mark.parametrize(("leave", "codes"), LEAVING)
async def test_a_client_that_leaves_takes_every_child_with_it_also_jobs_and_those_that_ignore_signals(
    wire: Wire, cli: FakeCli, leave: Leave, codes: set[int]
) -> None:
    async with Liveness() as live:
        grandchild = {"grandchild": {"connect": live.port, "ignore_term": True}}
        cli.script(STUBBORN, grandchild, live.connect(), {"pause": True})
        # One that no shepherd takes over when it is handed out.
        await wire.call("ask_many", prompts=["a job"], providers=["llm"], max_wait_s=0)
        await wire.start("ask_llm", prompt="a request")
        await live.connected(4)
        await leave(wire)
        # Patience with such a child, or with the thread that reads stdin, would not fit in here.
        with anyio.fail_after(AT_ONCE_S):
            assert await wire.ended() in codes
            await live.all_gone()


async def test_a_cancelled_request_is_not_answered_and_its_child_goes(wire: Wire, cli: FakeCli) -> None:
    async with Liveness() as live:
        cli.script(live.connect(), {"pause": True})
        asked = await wire.start("ask_llm", prompt="hi")
        await live.connected()
        await wire.cancel(asked)
        await live.all_gone()
        await wire.request("tools/list", {})
        await wire.close_stdin()
        assert await wire.ended() == 0
    assert not [message for message in wire.received if message.get("id") == asked]


async def test_progress_comes_with_the_clients_token_and_not_without(wire: Wire, cli: FakeCli) -> None:
    cli.script({"read": "all"}, {"out": "Paris"})
    await wire.call("ask_llm", prompt="hi")
    assert not [message for message in wire.received if message.get("method") == "notifications/progress"]
    async with Liveness() as live:
        cli.script(live.connect(), {"wait": "gate"}, {"read": "all"}, {"out": "Paris"})
        asked = await wire.start("ask_llm", prompt="hi")
        while (await wire.receive()).get("method") != "notifications/progress":
            pass
        await live.connected()
        await live.release()
        await wire.answer(asked)
    told = [message["params"] for message in wire.received if message.get("method") == "notifications/progress"]
    assert {params["progressToken"] for params in told} == {"p"}
    assert told[0]["message"].startswith("llm: ")


async def test_stdout_carries_the_protocol_only_whatever_prints(
    tmp_path: Path, variables: dict[str, str], cli: FakeCli, mode: str
) -> None:
    cli.script({"read": "all"}, {"err": noisy.NOISE}, {"line": {"text": "Paris"}}, {"line": {"done": {}}})
    argv = (sys.executable, noisy.__file__, str(cli.path))
    async with served(tmp_path / "work", variables, mode, argv) as connection:
        await connection.open()
        result = await connection.call("ask_fake", prompt="hi")
        await connection.close_stdin()
        assert await connection.ended() == 0
    assert result["structuredContent"]["text"] == "Paris"
    assert (tmp_path / "work" / "stderr").read_text().count(noisy.NOISE) == 4


async def test_a_line_that_is_no_message_is_answered_and_ends_nothing(wire: Wire, cli: FakeCli) -> None:
    cli.script({"out": "Paris"})
    assert wire.process.stdin is not None
    await wire.process.stdin.send(b'what is this?\n\xff\xfe\n\n{"id": 77, "method": "ping"}\n[]\n')
    assert (await wire.call("ask_llm", prompt="hi"))["structuredContent"]["status"] == "completed"
    refused = [(message["id"], message["error"]["code"]) for message in wire.received if "error" in message]
    assert refused == [(None, -32700), (None, -32700), (77, -32600), (None, -32600)]


async def test_half_a_character_in_a_message_is_replaced(wire: Wire, cli: FakeCli) -> None:
    cli.script({"read": "all"}, {"echo_stdin": True, "as": "raw"})
    answer = (await wire.call("ask_llm", prompt="\ud83d\ude00 and \ud800"))["structuredContent"]
    assert (answer["status"], answer["text"]) == ("completed", "😀 and �")
    missing = (await wire.call("job", action="result", job_id="\ud800"))["structuredContent"]
    assert missing["error"]["code"] == "not_found"


async def test_a_client_that_leaves_without_reading_its_answer_keeps_nothing_alive(wire: Wire, cli: FakeCli) -> None:
    async with Liveness() as live:
        job, answer = live.connect("job"), live.connect("answer")
        cli.scripts([job, {"pause": True}], [answer, {"out": "x" * 4_000_000}])
        # One that no shepherd takes over when it is handed out.
        await wire.call("ask_many", prompts=["a job"], providers=["llm"], max_wait_s=0)
        await live.connected()
        await wire.start("ask_llm", prompt="much")
        _, answered = await live.connected(2)
        await answered.gone.wait()
        await wire.close_stdin()
        await live.all_gone()
        assert await wire.process.wait() == 0
