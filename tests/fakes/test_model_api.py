"""The fake model API itself: what a client sees of each scenario, in each of the four dialects."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.fakes.model_api import ModelAPI, model_api, refused_url
from tests.fakes.scenario import (
    Scenario,
    answer,
    big,
    cut_after,
    hang,
    refusal,
    stall_after,
    status,
    too_long,
    use_tool,
)

pytestmark = pytest.mark.anyio

GEMINI = "/v1beta/models/some-model:streamGenerateContent"
WHOLE_GEMINI = "/v1beta/models/some-model:generateContent"
PATHS = ("/v1/messages", "/v1/responses", "/v1/chat/completions", GEMINI)
PATIENCE_S = 60
every_dialect = pytest.mark.parametrize("path", PATHS)


@pytest.fixture
async def api() -> AsyncGenerator[ModelAPI]:
    with anyio.fail_after(PATIENCE_S):
        async with model_api() as served:
            yield served


@pytest.fixture
async def caller(api: ModelAPI) -> AsyncGenerator[Caller]:
    async with AsyncExitStack() as stack:
        yield Caller(api.url, stack)


class Caller:
    """Sends requests to one API, each on a connection of its own; closes them all."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self._port = int(url.rsplit(":", 1)[1])
        self._stack = stack

    async def connect(self) -> Client:
        return Client(await self._stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", self._port)))

    async def send(self, path: str, body: object = None, *, method: str = "POST", **headers: str) -> Client:
        data = b"" if body is None else json.dumps(body).encode()
        fields = {"host": "fake", "content-length": str(len(data)), **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        client = await self.connect()
        await client.stream.send("\r\n".join(lines).encode() + data)
        return client

    async def answer(self, path: str, body: object = None, *, method: str = "POST", **headers: str) -> Answer:
        return await (await self.send(path, body, method=method, **headers)).rest()


class Client:
    """One request's connection: reads the answer until the end, or until something has come."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.stream = stream
        self.received = b""

    async def until(self, text: str) -> None:
        while text.encode() not in self.received:
            self.received += await self.stream.receive()

    async def rest(self) -> Answer:
        while True:
            try:
                self.received += await self.stream.receive()
            except anyio.EndOfStream:
                return Answer(self.received)


class Answer:
    """An answer as it came over the wire."""

    def __init__(self, raw: bytes) -> None:
        head, _, body = raw.partition(b"\r\n\r\n")
        self.status = int(head.split(b" ")[1])
        self.headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
        chunked = "transfer-encoding" in self.headers
        self.body, self.complete = _dechunked(body) if chunked else (body, True)

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        lines = (line.removeprefix("data: ") for line in self.body.decode().split("\n") if line.startswith("data: "))
        return [json.loads(line) for line in lines if line != "[DONE]"]


def _dechunked(body: bytes) -> tuple[bytes, bool]:
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return out, True
        out, body = out + body[:length], body[length + 2 :]
    return out, False


def text_of(path: str, events: Sequence[Any]) -> str:
    """The text that a client of this API would put together from a stream."""
    if path == "/v1/messages":
        return "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta")
    if path == "/v1/responses":
        return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    if path == GEMINI:
        return "".join(p["text"] for e in events for c in e["candidates"] for p in c["content"]["parts"])
    return "".join(c["delta"].get("content", "") for e in events for c in e["choices"])


def usage_of(path: str, events: Sequence[Any]) -> tuple[int, int]:
    if path == "/v1/messages":
        output = next(e["usage"]["output_tokens"] for e in events if e["type"] == "message_delta")
        return events[0]["message"]["usage"]["input_tokens"], output
    if path == "/v1/responses":
        usage = events[-1]["response"]["usage"]
        return usage["input_tokens"], usage["output_tokens"]
    if path == GEMINI:
        usage = events[-1]["usageMetadata"]
        return usage["promptTokenCount"], usage["candidatesTokenCount"]
    return events[-1]["usage"]["prompt_tokens"], events[-1]["usage"]["completion_tokens"]


def question(**more: object) -> dict[str, object]:
    return {"model": "some-model", "stream": True, **more}


@every_dialect
async def test_a_stream_carries_the_text_in_its_chunks_and_the_usage(api: ModelAPI, caller: Caller, path: str) -> None:
    api.scenario = answer("It is Paris.", chunks=4, input_tokens=70, output_tokens=5)
    answered = await caller.answer(path, question())
    assert answered.complete
    assert answered.headers["content-type"] == "text/event-stream"
    assert text_of(path, answered.events) == "It is Paris."
    assert usage_of(path, answered.events) == (70, 5)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/v1/messages", ("content", 0, "text")),
        ("/v1/responses", ("output", 0, "content", 0, "text")),
        ("/v1/chat/completions", ("choices", 0, "message", "content")),
        (WHOLE_GEMINI, ("candidates", 0, "content", "parts", 0, "text")),
    ],
)
async def test_without_stream_the_answer_is_one_object(
    api: ModelAPI, caller: Caller, path: str, place: Sequence[Any]
) -> None:
    api.scenario = answer("It is Paris.", chunks=4)
    found = (await caller.answer(path, question(stream=False))).json
    assert found.get("model", found.get("modelVersion")) == "some-model"
    for key in place:
        found = found[key]
    assert found == "It is Paris."


@every_dialect
async def test_a_gated_chunk_is_not_sent_before_its_release(api: ModelAPI, caller: Caller, path: str) -> None:
    api.scenario = answer("onetwo", chunks=["one", "two"], gated=True)
    client = await caller.send(path, question())
    api.scenario.release()
    await client.until("one")
    assert b"two" not in client.received
    api.scenario.release()
    assert text_of(path, (await client.rest()).events) == "onetwo"


@every_dialect
@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 503, 529])
async def test_a_status_comes_with_the_error_of_its_api(api: ModelAPI, caller: Caller, path: str, code: int) -> None:
    api.scenario = status(code, message="no, thanks", headers={"retry-after": "7"})
    answered = await caller.answer(path, question())
    assert answered.status == code
    assert answered.headers["retry-after"] == "7"
    assert answered.json["error"]["message"] == "no, thanks"


async def test_a_status_can_carry_any_body(api: ModelAPI, caller: Caller) -> None:
    api.scenario = status(400, body={"detail": "quite different"})
    assert (await caller.answer(PATHS[0], question())).json == {"detail": "quite different"}


@pytest.mark.parametrize("scenario", [hang(), stall_after(), stall_after(["Par"])])
async def test_a_silent_api_notices_that_the_client_leaves(api: ModelAPI, caller: Caller, scenario: Scenario) -> None:
    api.scenario = scenario
    client = await caller.send(PATHS[0], question())
    await api.wait_questions()
    await client.until(scenario.text) if scenario.text else None
    assert api.open == 1
    await client.stream.aclose()
    await api.wait_idle()
    assert api.open == 0


async def test_a_client_that_leaves_between_chunks_is_noticed(api: ModelAPI, caller: Caller) -> None:
    api.scenario = answer("onetwo", chunks=["one", "two"], gated=True)
    client = await caller.send(PATHS[1], question())
    api.scenario.release()
    await client.until("one")
    await client.stream.aclose()
    await api.wait_idle()
    assert api.open == 0


@every_dialect
async def test_a_cut_stream_breaks_off_after_its_chunks(api: ModelAPI, caller: Caller, path: str) -> None:
    api.scenario = cut_after(["Par"])
    answered = await caller.answer(path, question())
    assert not answered.complete
    assert text_of(path, answered.events) == "Par"


@every_dialect
async def test_a_cut_object_breaks_off_in_its_middle(api: ModelAPI, caller: Caller, path: str) -> None:
    api.scenario = cut_after(["Par"])
    answered = await caller.answer(path.replace(GEMINI, WHOLE_GEMINI), question(stream=False))
    assert not answered.complete
    assert answered.body.startswith(b"{")
    assert not answered.body.endswith(b"}")


@every_dialect
async def test_an_unfinished_stream_ends_properly_without_its_last_events(
    api: ModelAPI, caller: Caller, path: str
) -> None:
    api.scenario = cut_after(["Par"], properly=True)
    answered = await caller.answer(path, question())
    assert answered.complete
    assert text_of(path, answered.events) == "Par"
    assert not any(word in answered.body for word in (b"message_stop", b"response.completed", b"[DONE]", b"STOP"))


@pytest.mark.parametrize(
    ("path", "refused", "cut_off"),
    [
        ("/v1/messages", '"stop_reason": "refusal"', '"stop_reason": "max_tokens"'),
        ("/v1/responses", '"type": "refusal"', '"reason": "max_output_tokens"'),
        ("/v1/chat/completions", '"finish_reason": "content_filter"', '"finish_reason": "length"'),
        (GEMINI, '"finishReason": "SAFETY"', '"finishReason": "MAX_TOKENS"'),
    ],
)
async def test_refusals_and_cut_off_answers_are_told_in_the_words_of_each_api(
    api: ModelAPI, caller: Caller, path: str, refused: str, cut_off: str
) -> None:
    api.play(refusal(), too_long("Par"))
    for expected in (refused, cut_off):
        answered = await caller.answer(path, question())
        assert expected in answered.body.decode()


async def test_gemini_is_made_to_use_a_tool(api: ModelAPI, caller: Caller) -> None:
    api.scenario = use_tool("read_file", file_path="notes.txt")
    [event] = (await caller.answer(GEMINI, question())).events
    [part] = event["candidates"][0]["content"]["parts"]
    assert part == {"functionCall": {"name": "read_file", "args": {"file_path": "notes.txt"}}}


@every_dialect
async def test_a_big_answer_has_exactly_its_size(api: ModelAPI, caller: Caller, path: str) -> None:
    api.scenario = big(1_000_003)
    assert len(text_of(path, (await caller.answer(path, question())).events)) == 1_000_003


async def test_every_request_is_recorded_and_questions_apart(api: ModelAPI, caller: Caller) -> None:
    await caller.answer("/", method="HEAD")
    await caller.answer("/v1/models?client=x", method="GET")
    await caller.answer(PATHS[0] + "?beta=true", question(), authorization="Bearer k")
    assert [(r.method, r.path, r.query) for r in api.requests] == [
        ("HEAD", "/", ""),
        ("GET", "/v1/models", "client=x"),
        ("POST", "/v1/messages", "beta=true"),
    ]
    [asked] = api.questions
    assert asked.body == question()
    assert asked.headers["authorization"] == "Bearer k"


async def test_play_gives_each_question_the_next_scenario_and_keeps_the_last(api: ModelAPI, caller: Caller) -> None:
    api.play(status(500), answer("Paris"))
    codes = [(await caller.answer(PATHS[0], question())).status for _ in range(3)]
    assert codes == [500, 200, 200]


async def test_a_websocket_is_refused_with_the_status_that_sends_codex_to_https(api: ModelAPI, caller: Caller) -> None:
    client = await caller.send("/v1/responses", method="GET", upgrade="websocket", connection="upgrade")
    assert (await client.rest()).status == 426


async def test_an_unknown_path_is_not_found(api: ModelAPI, caller: Caller) -> None:
    assert (await caller.answer("/v1/embeddings", question())).status == 404


async def test_what_is_not_http_is_refused(api: ModelAPI, caller: Caller) -> None:
    client = await caller.connect()
    await client.stream.send(b"hello\r\n\r\n")
    assert (await client.rest()).status == 400


async def test_the_end_of_the_server_ends_open_connections() -> None:
    with anyio.fail_after(PATIENCE_S):
        async with AsyncExitStack() as stack:
            async with model_api(hang()) as api:
                client = await Caller(api.url, stack).send(PATHS[0], question())
                await api.wait_questions()
            with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
                await client.stream.receive()


async def test_a_client_that_never_reads_does_not_hold_up_the_end_of_the_server() -> None:
    with anyio.fail_after(PATIENCE_S):
        async with AsyncExitStack() as stack, model_api(big(32 * 1024 * 1024)) as api:
            await Caller(api.url, stack).send(PATHS[0], question())
            await api.wait_questions()


async def test_waiting_for_what_does_not_come_is_bounded(api: ModelAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fakes.model_api._PATIENCE", 0.01)
    with pytest.raises(TimeoutError):
        await api.wait_questions()


async def test_it_serves_by_hand_until_interrupted() -> None:
    argv = [sys.executable, "-m", "tests.fakes.model_api", "--answer", "It is Paris."]
    with anyio.fail_after(PATIENCE_S):
        async with await anyio.open_process(argv, cwd=Path(__file__).parents[2], stderr=None) as served:
            assert served.stdout is not None
            printed = BufferedByteReceiveStream(served.stdout)
            url = await printed.receive_until(b"\n", 200)
            async with AsyncExitStack() as stack:
                answered = await Caller(url.decode(), stack).answer(PATHS[0], question())
            assert text_of(PATHS[0], answered.events) == "It is Paris."
            assert (await printed.receive_until(b"\n", 200)).startswith(b"POST /v1/messages")
            served.send_signal(signal.SIGINT)
            assert await served.wait() == 0


async def test_nobody_listens_on_a_refused_address() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(refused_url().rsplit(":", 1)[1])))


@pytest.mark.parametrize("chunks", [0, 6, ["Par"]])
def test_chunks_that_do_not_make_the_text_are_refused(chunks: int | list[str]) -> None:
    with pytest.raises(ValueError, match="chunks"):
        answer("Paris", chunks=chunks)
