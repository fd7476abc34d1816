"""Many questions from Python, with and without an event loop."""

from pathlib import Path

import anyio
import pytest
from pydantic import BaseModel

from dragoman import Configuration, Dragoman, LLMError
from dragoman.sync import Dragoman as SyncDragoman
from dragoman.testing import FakeCli


class City(BaseModel):
    name: str


@pytest.fixture
def cli(tmp_path: Path) -> FakeCli:
    return FakeCli(tmp_path, "llm", version="0.36")


@pytest.fixture
def configuration(cli: FakeCli) -> Configuration:
    return Configuration.model_validate({"providers": {"llm": {"command": [str(cli.path)]}}})


@pytest.mark.anyio
async def test_answers_come_and_are_voted_on(cli: FakeCli, configuration: Configuration) -> None:
    cli.script({"read": "all"}, {"out": '{"name": "Paris"}'})
    with anyio.fail_after(60):
        async with Dragoman(configuration) as d:
            many = d.ask_many(["a", "b"], providers=["llm", "llm"], schema=City, combine="vote")
            numbers = [answer.number async for answer in many]
    assert sorted(numbers) == [1, 2, 3, 4]
    assert [combined.data for combined in many.combined] == [{"name": "Paris"}] * 2
    assert [combined.numbers for combined in many.combined] == [(1, 2), (3, 4)]


def test_the_same_without_an_event_loop(cli: FakeCli, configuration: Configuration) -> None:
    cli.script({"read": "all"}, {"echo_stdin": True, "as": "raw"})
    with SyncDragoman(configuration) as d:
        many = d.ask_many(pairs=[("llm", "one"), ("llm", "two")], in_order=True)
        assert [answer.reply.text for answer in many] == ["one", "two"]
        assert many.progress == "2 of 2"
        for answer in d.ask_many(["one", "two", "three"], providers=["llm"]):
            assert answer.reply.status == "completed"
            break
        assert [answer.number for answer in d.ask_many(["x"], providers=["llm"]).answers()] == [1]
        with pytest.raises(LLMError):
            d.ask_many()


def test_an_answer_of_the_cache_is_told_as_such(cli: FakeCli, configuration: Configuration) -> None:
    cli.script({"read": "all"}, {"out": "x"})
    with SyncDragoman(configuration) as d:
        assert not d.ask("llm", "?", cache=True).cached
        reply = d.ask("llm", "?", cache=True)
        assert (reply.text, reply.cached) == ("x", True)
        # It is a turn of its own conversation all the same, which can be gone on with.
        assert reply.conversation_id is not None
        assert len(d.conversations.show(reply.conversation_id)[1]) == 1
