"""``dragoman serve`` over HTTP as a process of its own: where it listens, whom it answers, how it ends."""

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urljoin

import anyio
import httpx2
import pytest
from anyio.abc import Process

import dragoman
from dragoman.server.listening import ListenError, listen, url_of
from dragoman.testing import FakeCli, Liveness
from tests.server.conftest import WHEN_IT_MATTERS, listening, make
from tests.server.serving import SERVE, served, variables
from tests.server.web import PATIENCE_S, Web

pytestmark = pytest.mark.anyio

AT_ONCE_S = 30
"""Far less than a child that ignores signals may take to end, and enough for a machine that is slow."""
STUBBORN = {"ignore": ["TERM", "INT", "HUP"]}
HTTP = ("sse", "streamable-http")


@pytest.fixture(autouse=True)
async def _bounded() -> AsyncGenerator[None]:
    with anyio.fail_after(WHEN_IT_MATTERS):
        yield


@pytest.fixture(params=HTTP)
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cli(tmp_path: Path) -> FakeCli:
    """A fake `llm`, the only provider of the server's."""
    for name in ("bin", "home", "work"):
        (tmp_path / name).mkdir()
    return FakeCli(tmp_path / "bin", "llm", version="0.36")


@pytest.fixture
async def here(tmp_path: Path, cli: FakeCli) -> AsyncGenerator[list[str]]:
    """A server over each transport in this process; their URLs."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(listening(make(tmp_path, transport))) for transport in HTTP]


async def rest(process: Process) -> str:
    """All else that the server says on stderr."""
    assert process.stderr is not None
    return b"".join([part async for part in process.stderr]).decode()


async def test_a_signal_ends_calls_jobs_and_children_answers_what_is_open_and_is_not_waited_for_long(
    tmp_path: Path, transport: str, mode: str, cli: FakeCli
) -> None:
    async with Liveness() as live, served(tmp_path, "--transport", transport) as (process, url), Web(url, mode) as web:
        cli.script(STUBBORN, live.connect(), {"grandchild": {"connect": live.port}}, {"pause": True})
        # One that no shepherd takes over when it is handed out.
        job = await web.call("ask_many", prompts=["a job"], providers=["llm"], max_wait_s=0)
        assert job["structuredContent"]["status"] == "running"
        async with web.asking("ask_llm", prompt="a request") as messages:
            await live.connected(4)
            process.send_signal(signal.SIGTERM)
            with anyio.fail_after(AT_ONCE_S):
                answer = [message async for message in messages][-1]
                assert await rest(process) == ""
                assert await process.wait() == 128 + signal.SIGTERM
                await live.all_gone()
    assert answer["result"]["structuredContent"]["status"] == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_an_idle_client_that_stays_connected_does_not_hold_the_server(
    tmp_path: Path, cli: FakeCli, number: signal.Signals
) -> None:
    async with (
        served(tmp_path, "--transport", "streamable-http") as (process, url),
        Web(url, "legacy") as web,
        web.listening(),
    ):
        process.send_signal(number)
        with anyio.fail_after(AT_ONCE_S):
            assert await rest(process) == ""
            assert await process.wait() == 128 + number


async def test_a_client_that_does_not_read_its_answer_does_not_hold_the_server(
    tmp_path: Path, transport: str, mode: str, cli: FakeCli
) -> None:
    async with Liveness() as live, served(tmp_path, "--transport", transport) as (process, url), Web(url, mode) as web:
        cli.script(live.connect(), {"spew": 20_000_000})
        async with web.asking("ask_llm", prompt="much"):
            [connection] = await live.connected()
            await connection.gone.wait()
            process.send_signal(signal.SIGTERM)
            with anyio.fail_after(AT_ONCE_S):
                assert await rest(process) == ""
                assert await process.wait() == 128 + signal.SIGTERM


async def test_nothing_is_left_of_a_server_that_is_killed(tmp_path: Path, transport: str, cli: FakeCli) -> None:
    async with (
        Liveness() as live,
        served(tmp_path, "--transport", transport) as (process, url),
        Web(url, "legacy") as web,
    ):
        cli.script(STUBBORN, live.connect(), {"grandchild": {"connect": live.port, "setsid": True}}, {"pause": True})
        # One that no shepherd takes over when it is handed out.
        await web.call("ask_many", prompts=["a job"], providers=["llm"], max_wait_s=0)
        await live.connected(2)
        process.kill()
        await live.all_gone()


NO_MESSAGES = [
    b"",
    b"{nope",
    b"null",
    b"[" * 100_000,
    b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"\xff": 1}}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "\\ud800"}',
]


async def test_a_body_that_is_no_message_is_the_clients_mistake_and_no_fault(
    tmp_path: Path, transport: str, mode: str, cli: FakeCli
) -> None:
    cli.script({"read": "all"}, {"echo_stdin": True, "as": "raw"})
    async with served(tmp_path, "--transport", transport) as (process, url), Web(url, mode) as web:
        for body in NO_MESSAGES:
            status, words = await web.post(body)
            assert (status, bool(words)) == (400, True), body[:60]
        answer = await web.call("ask_llm", prompt="still there")
        process.send_signal(signal.SIGTERM)
        assert await rest(process) == ""
    assert answer["structuredContent"]["text"] == "still there"


async def test_health_tells_the_version_and_nothing_more(tmp_path: Path, transport: str, cli: FakeCli) -> None:
    async with served(tmp_path, "--transport", transport) as (_, url), httpx2.AsyncClient(timeout=PATIENCE_S) as http:
        health = await http.get(urljoin(url, "/health"))
        assert (health.status_code, health.json()) == (200, {"status": "ok", "version": dragoman.__version__})
        lost = await http.get(urljoin(url, "/"))
    assert lost.status_code == 404
    assert f"has MCP at {'/sse' if transport == 'sse' else '/mcp'}" in lost.json()["next_step"]


@pytest.mark.parametrize("path", ["", "/health", "/messages/", "/"])
@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("host", "rebound.example", 421),
        ("host", "127.0.0.1.rebound.example:80", 421),
        ("origin", "http://page.example", 403),
        ("origin", "http://localhost.page.example", 403),
        ("origin", "null", 403),
    ],
)
async def test_a_web_page_of_elsewhere_reaches_nothing(
    path: str, header: str, value: str, code: int, here: list[str]
) -> None:
    async with httpx2.AsyncClient(timeout=PATIENCE_S) as http:
        for url in here:
            for method in ("GET", "POST"):
                response = await http.request(method, urljoin(url, path), headers={header: value})
                assert response.status_code == code
                assert response.json()["next_step"]


@pytest.mark.parametrize("value", ["localhost:1234", "[::1]:1234", "127.0.0.1"])
async def test_this_machine_by_any_of_its_names_is_answered(value: str, here: list[str]) -> None:
    async with httpx2.AsyncClient(timeout=PATIENCE_S) as http:
        for url in here:
            page = {"host": value, "origin": f"http://{value}"}
            assert (await http.get(urljoin(url, "/health"), headers=page)).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])  # noqa: S104 - refused
async def test_a_host_that_others_can_reach_is_refused_and_why(host: str) -> None:
    with pytest.raises(ListenError, match="could use your logins") as refused:
        listen(host, 0)
    assert "ssh -L" in refused.value.next_step


async def test_the_command_refuses_such_a_host_as_wrong_usage(tmp_path: Path, cli: FakeCli) -> None:
    done = await refused(tmp_path, "--host", "192.0.2.1")
    assert done.returncode == 2
    assert done.stderr.startswith(b"dragoman: the host '192.0.2.1' is refused: ")


async def test_a_port_in_use_is_said_to_be_with_a_way_out(tmp_path: Path, transport: str, cli: FakeCli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await refused(tmp_path, "--transport", transport, "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"dragoman: port {port} of 127.0.0.1 is in use, perhaps by another dragoman",
        "next step: choose another with --port, or any free one with --port 0",
    ]


async def refused(folder: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    argv = (*SERVE, "--transport", "sse", *options)
    return await anyio.run_process(argv, cwd=folder / "work", env=variables(folder), check=False)


@pytest.mark.parametrize(("host", "prefix"), [("localhost", "http://127.0.0.1:"), ("[::1]", "http://[::1]:")])
async def test_a_host_is_told_as_the_address_it_is(host: str, prefix: str) -> None:
    try:
        listener = listen(host, 0)
    except ListenError as error:
        assert host == "[::1]"
        pytest.skip(f"{error}")
    with listener:
        assert url_of(listener) == f"{prefix}{listener.getsockname()[1]}"


async def test_an_answer_in_two_parts_is_not_held_back_for_an_acknowledgement() -> None:
    accepted: list[socket.socket] = []

    class Accept(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.append(transport.get_extra_info("socket"))

    with listen("127.0.0.1", 0) as listener:
        server = await asyncio.get_running_loop().create_server(Accept, sock=listener)
        async with server, await anyio.connect_tcp(*listener.getsockname()):
            while not accepted:
                await anyio.lowlevel.checkpoint()
            assert accepted[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_prompt_as_long_as_is_allowed_comes_through_however_it_is_spelled(
    tmp_path: Path, transport: str, mode: str, cli: FakeCli
) -> None:
    cli.script({"read": "all"}, {"out": "Paris"})
    prompt = "\N{SNOWMAN}" * 3_000_000  # as \\uXXXX it is 18 MB
    assert len(json.dumps(prompt)) > 4 << 22
    async with served(tmp_path, "--transport", transport) as (_, url), Web(url, mode) as web:
        result = await web.call("ask_llm", prompt=prompt)
    assert result["structuredContent"]["text"].strip() == "Paris"
