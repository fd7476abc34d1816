"""How long a call is waited for, by whom, and what is left when a client's patience ends before."""

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import ClientCapabilities, Implementation, InitializeRequestParams

from dragoman.config.settings import ServerSettings
from dragoman.server import callers
from dragoman.server.callers import Callers, RequestContext
from dragoman.testing import FakeCli, Liveness
from tests.server.conftest import Connect
from tests.server.results import DONE, answer, structured

pytestmark = pytest.mark.anyio


def context_of(name: str | None, *, http: bool = False) -> RequestContext:
    """What a request of this client looks like."""
    params = name and InitializeRequestParams(
        protocol_version="2025-06-18",
        capabilities=ClientCapabilities(),
        client_info=Implementation(name=name, version="1"),
    )
    request = SimpleNamespace(headers={}, scope={}) if http else None
    told = SimpleNamespace(
        session=SimpleNamespace(client_params=params or None),
        lifespan_context=None,
        request=request,
        meta=None,
        protocol_version="2025-06-18",
    )
    return cast("RequestContext", SimpleNamespace(request_context=told))


@pytest.mark.parametrize(
    ("name", "http", "seconds", "limit_s"),
    [
        ("claude-code", False, 600, 1800),
        ("claude-code", True, 240, 300),
        ("codex-mcp-client", False, 240, 300),
        ("gemini-cli-mcp-client", False, 480, 600),
        ("gemini-cli-mcp-client-dragoman", True, 480, 600),
        ("claude-ai", False, 180, 240),
        ("github-copilot-developer", False, 25, 30),
        ("JetBrains-IU/2026.3", False, 25, 30),
        ("Zed", False, 45, 60),
        ("Visual Studio Code", False, 45, 60),
        (None, False, 45, 60),
        (None, True, 45, 60),
    ],
)
def test_each_client_is_told_before_its_own_limit_however_long_a_job_takes_to_be_handed_out(
    name: str | None, http: bool, seconds: float, limit_s: float
) -> None:
    caller = Callers(ServerSettings(), "p").of(context_of(name, http=http))
    assert caller.wait_s(None) == seconds
    assert caller.wait_s(3) == 3
    assert seconds + caller.client.hand_out_s < limit_s


def test_more_is_waited_only_where_no_limit_is_known_or_one_is_configured() -> None:
    by_client, configured = Callers(ServerSettings(), "p"), Callers(ServerSettings(max_wait_s=20), "p")
    endless = Callers(ServerSettings(max_wait_s=None), "p")
    codex, unknown = context_of("codex-mcp-client"), context_of("my-script")
    assert by_client.of(codex).wait_s(1000) == 240
    assert by_client.of(unknown).wait_s(1000) == 1000
    assert configured.of(codex).wait_s(None) == 20
    assert configured.of(codex).wait_s(1000) == 1000
    assert endless.of(codex).wait_s(None) is None
    assert endless.of(codex).wait_s(1000) == 1000


@pytest.mark.parametrize("transport", ["sse", "streamable-http"])
async def test_who_calls_is_read_from_the_handshake_and_from_each_request(
    connect: Connect, cli: FakeCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "CLIENTS", (callers.Client("hasty", 0.01),))
    async with Liveness() as live:
        cli.script(live.connect(), {"wait": "gate"}, {"line": {"text": "Paris"}}, DONE)
        async with connect(called="Hasty Client") as client:
            running = structured(await client.call_tool("ask_fake", {"prompt": "hi", "max_wait_s": 1000}))
            assert running["status"] == "running"
            waiting = {"action": "wait", "job_id": running["job_id"]}
            assert structured(await client.call_tool("job", waiting))["status"] == "running"
            await live.connected()
            await live.release()
            while structured(await client.call_tool("job", waiting))["status"] == "running":
                pass


@pytest.mark.parametrize(
    ("mode", "transport"),
    # Over HTTP a modern client gives up by ending the stream, which is no other than a cancel.
    [("auto", "stdio"), ("auto", "sse"), ("legacy", "stdio"), ("legacy", "sse"), ("legacy", "streamable-http")],
)
async def test_an_answer_that_came_after_the_clients_own_limit_can_be_collected(connect: Connect, cli: FakeCli) -> None:
    async with Liveness() as live, connect() as client:
        cli.script(live.connect(), {"wait": "gate"}, {"line": {"text": "Paris"}}, DONE)
        asked = {"prompt": "hi", "idempotency_key": "k"}
        jobs: list[dict[str, Any]] = []
        limit_s = 0.5
        # On a slow machine a call may be given up before it has begun, and there is no job.
        while not jobs:
            with pytest.raises(MCPError, match=re.compile("timed out", re.IGNORECASE)):
                await client.call_tool("ask_fake", asked, read_timeout_seconds=limit_s)
            jobs = structured(await client.call_tool("job", {"action": "list"}))["jobs"]
            limit_s *= 4
        await live.connected()
        [job] = jobs
        assert job["status"] == "running"
        await live.release()
        assert answer(await client.call_tool("job", {"action": "wait", "job_id": job["job_id"]})) == ["Paris"]
        assert cli.starts == 1
