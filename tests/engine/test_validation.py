"""Answers that must pass: schemas, validators, and what a model is told of an answer that does not."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from dragoman.engine import Engine
from dragoman.schemas import ErrorCode, LLMRequest, LLMResponse
from dragoman.structured import OutputSchema
from dragoman.testing import FakeAdapter
from tests.engine.oracle import Oracle, Question, keeps_sessions
from tests.engine.test_conversations import engine
from tests.engine.virtual import line

pytestmark = pytest.mark.anyio

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["name", "people"],
}
PARIS = {"name": "Paris", "people": 2_100_000}
PLAIN = FakeAdapter()
KEEPS = FakeAdapter(keeps_sessions=True)
NATIVE = FakeAdapter(native_schema="any")


class Says(Oracle):
    """Answers with these texts, the last one for ever; keeps sessions where it is told to."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        super().__init__(self._next)

    def _next(self, question: Question) -> bytes:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        bound = line(bound=question["session"]["id"]) if "session" in question else b""
        return bound + line(text=answer) + line(done={})


async def ask(running: Engine, **fields: Any) -> LLMResponse:  # noqa: ANN401 - the fields of a request
    with anyio.fail_after(60):
        request = LLMRequest.model_validate({"prompt": "Which city?", "provider": "fake", **fields})
        return await running.submit(request).outcome()


async def test_an_answer_that_matches_is_a_value(tmp_path: Path) -> None:
    oracle = Says(json.dumps(PARIS))
    async with engine(tmp_path, oracle, PLAIN) as running:
        reply = await ask(running, output_schema=CITY)
    assert (reply.data, reply.mechanism, reply.extraction) == (PARIS, "prompted", "whole")
    assert json.loads(reply.text) == PARIS
    assert reply.public()["data"] == PARIS
    assert '"people"' in oracle.asked[0]["prompt"]


async def test_a_value_is_found_in_what_stands_around_it_unless_that_is_not_wanted(tmp_path: Path) -> None:
    chatty = f"Sure! Here it is:\n```json\n{json.dumps(PARIS)}\n```\nAnything else?"
    async with engine(tmp_path, Says(chatty), PLAIN) as running:
        reply = await ask(running, output_schema=CITY)
        strictly = await ask(running, output_schema=CITY, strict=True)
    assert (reply.data, reply.extraction) == (PARIS, "fenced")
    assert strictly.error is not None
    assert strictly.error.code is ErrorCode.SCHEMA_MISMATCH


@pytest.mark.parametrize("adapter", [PLAIN, KEEPS])
@pytest.mark.parametrize("remember", [True, False])
async def test_a_model_is_told_what_was_wrong_in_the_same_conversation(
    tmp_path: Path, adapter: FakeAdapter, remember: bool
) -> None:
    oracle = Says('{"name": "Paris", "people": "many"}', json.dumps(PARIS))
    async with engine(tmp_path, oracle, adapter) as running:
        reply = await ask(running, output_schema=CITY, remember=remember, max_attempts=2)
    assert (reply.data, reply.notices) == (PARIS, ())
    assert [attempt.error.code if attempt.error else None for attempt in reply.attempts] == [
        ErrorCode.SCHEMA_MISMATCH,
        None,
    ]
    first, second = oracle.asked
    assert "people" in second["prompt"]
    assert "integer" in second["prompt"]
    if adapter is KEEPS and remember:
        assert (second["session"]["id"], second["session"]["is_new"]) == (first["session"]["id"], False)
        assert "Which city?" not in second["prompt"]
    else:
        assert second["prompt"].count("Which city?") == 1


async def test_a_conversation_keeps_the_question_and_the_answer_that_passed(tmp_path: Path) -> None:
    oracle = Says("no", json.dumps(PARIS), "fine")
    async with engine(tmp_path, oracle, KEEPS) as running:
        await ask(running, output_schema=CITY, conversation_id="talk", max_attempts=3)
        await ask(running, conversation_id="talk", prompt="And then?")
        _, turns, _ = await running.conversations.show("talk")
    assert [(turn.prompt, turn.text) for turn in turns] == [
        ("Which city?", json.dumps(PARIS)),
        ("And then?", "fine"),
    ]
    assert oracle.asked[2]["prompt"] == "And then?"
    assert oracle.asked[2]["session"]["is_new"] is False


@pytest.mark.parametrize("forks", [False, True])
@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_session_is_gone_on_with_from_before_an_answer_that_never_passed(
    tmp_path: Path, attempts: int, *, forks: bool
) -> None:
    oracle = Oracle(keeps_sessions)
    adapter = FakeAdapter(keeps_sessions=True, forks_sessions=forks)
    async with engine(tmp_path, oracle, adapter) as running:
        await ask(running, conversation_id="talk", prompt="one")
        rejected = await ask(
            running, conversation_id="talk", prompt="two", validators=["regex:^never"], max_attempts=attempts
        )
        assert rejected.status == "failed"
        await ask(running, conversation_id="talk", prompt="three")
    first, last = oracle.asked[0], oracle.asked[-1]
    assert len(oracle.asked) == 2 + attempts
    if forks:
        assert last["session"] == {**last["session"], "id": first["session"]["id"], "fork": True, "last_turn": "one"}
        assert last["prompt"] == "three"
    else:
        assert last["session"]["is_new"] is True
        assert "one" in last["prompt"]
        assert "two" not in last["prompt"]


async def test_an_answer_that_never_passes_is_a_failure_with_every_attempt(tmp_path: Path) -> None:
    oracle = Says("I would rather not.")
    async with engine(tmp_path, oracle, KEEPS) as running:
        reply = await ask(running, output_schema=CITY, conversation_id="talk", max_attempts=3)
        await ask(running, conversation_id="talk", prompt="And then?")
    assert reply.error is not None
    assert (reply.error.code, len(reply.attempts), reply.text) == (
        ErrorCode.SCHEMA_MISMATCH,
        3,
        "I would rather not.",
    )
    assert reply.error.next_step
    assert oracle.asked[3]["session"]["is_new"] is True


async def test_a_schema_that_cannot_be_used_starts_nothing(tmp_path: Path) -> None:
    oracle = Says("{}")
    async with engine(tmp_path, oracle, PLAIN) as running:
        reply = await ask(running, output_schema={"$ref": "https://example.com/schema.json"})
    assert reply.error is not None
    assert (reply.error.code, oracle.asked) == (ErrorCode.BAD_REQUEST, [])


@pytest.mark.parametrize("schema", [{"type": "array", "items": {"type": "integer"}}, {"type": "integer"}])
async def test_a_cli_that_takes_schemas_gets_an_object_and_its_answer_is_unwrapped(
    tmp_path: Path, schema: dict[str, Any]
) -> None:
    value = [1, 2] if schema["type"] == "array" else 7

    def answer(question: Question) -> bytes:
        assert question["schema"]["type"] == "object"
        (name,) = question["schema"]["properties"]
        return line(done={"text": "ignored", "data": {name: value}})

    async with engine(tmp_path, Oracle(answer), NATIVE) as running:
        reply = await ask(running, output_schema=schema)
    assert (reply.data, reply.mechanism) == (value, "native")


async def test_a_model_whose_answer_was_wrapped_is_told_the_place_it_sees(tmp_path: Path) -> None:
    answers = [{"answer": ["x"]}, {"answer": [1]}]
    oracle = Oracle(lambda _: line(done={"text": "x", "data": answers.pop(0)}))
    async with engine(tmp_path, oracle, NATIVE) as running:
        schema = {"type": "array", "items": {"type": "integer"}}
        assert (await ask(running, output_schema=schema, max_attempts=2)).data == [1]
    assert "$.answer[0]" in oracle.asked[1]["prompt"]


async def test_what_the_cli_lets_through_is_checked_all_the_same(tmp_path: Path) -> None:
    oracle = Oracle(lambda _: line(done={"text": "x", "data": {"name": 1}}))
    async with engine(tmp_path, oracle, NATIVE) as running:
        reply = await ask(running, output_schema=CITY)
    assert reply.error is not None
    assert reply.error.code is ErrorCode.SCHEMA_MISMATCH


async def test_a_pydantic_class_judges_with_all_it_knows(tmp_path: Path) -> None:
    class City(BaseModel):
        name: str
        people: int

    async with engine(tmp_path, Says(json.dumps(PARIS)), PLAIN) as running:
        request = LLMRequest(prompt="Which city?", provider="fake")
        wanted = OutputSchema.of(City)
        with anyio.fail_after(60):
            reply = await running.submit(request, schema=wanted).outcome()
    assert wanted.parse(reply.data) == City(name="Paris", people=2_100_000)


@pytest.mark.parametrize("empty", ["", " \n "])
async def test_an_empty_answer_is_asked_for_again_and_then_a_failure(tmp_path: Path, empty: str) -> None:
    async with engine(tmp_path, Says(empty, "here"), PLAIN) as running:
        assert (await ask(running, max_attempts=2)).text == "here"
    oracle = Says(empty)
    async with engine(tmp_path, oracle, PLAIN) as running:
        reply = await ask(running, max_attempts=2)
    assert reply.error is not None
    assert (reply.error.code, len(oracle.asked)) == (ErrorCode.MALFORMED_OUTPUT, 2)


async def test_the_callers_validators_replace_the_default(tmp_path: Path) -> None:
    oracle = Says("no", "ok then")
    async with engine(tmp_path, oracle, PLAIN) as running:
        reply = await ask(running, validators=["regex:^ok"], max_attempts=2)
        assert reply.text == "ok then"
        assert "ok" in oracle.asked[1]["prompt"]
    async with engine(tmp_path, Says(""), PLAIN) as running:
        assert (await ask(running, validators=[])).status == "completed"
        unknown = await ask(running, validators=["nonsense"])
        assert unknown.error is not None
        assert unknown.error.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("adapter", [PLAIN, KEEPS])
async def test_an_empty_answer_that_the_cli_calls_a_failure_is_asked_for_again(
    tmp_path: Path, adapter: FakeAdapter
) -> None:
    empty = line(error={"code": "malformed_output", "message": "nothing came"})
    answers = [empty, line(text="here") + line(done={}), empty, empty]
    oracle = Oracle(lambda _: answers.pop(0))
    async with engine(tmp_path, oracle, adapter) as running:
        reply = await ask(running, max_attempts=2)
        assert (reply.text, len(reply.attempts)) == ("here", 2)
        assert "Which city?" in oracle.asked[1]["prompt"]
        reply = await ask(running, max_attempts=2)
        assert reply.error is not None
        assert (reply.error.message, len(reply.attempts)) == ("nothing came", 2)
    partial = Oracle(lambda _: line(text="half") + empty)
    async with engine(tmp_path, partial, adapter) as running:
        assert len((await ask(running, max_attempts=2)).attempts) == 1
