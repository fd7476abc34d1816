"""Structured answers and validators in the library, with and without an event loop."""

import json
from pathlib import Path
from typing import Any, assert_type

import anyio
import pytest
from pydantic import BaseModel, field_validator

from dragoman import Configuration, Dragoman, ErrorCode, LLMError, LLMResponse, OutputSchema, Partial
from dragoman.sync import Dragoman as SyncDragoman
from dragoman.testing import FakeCli, Liveness

asynchronous = pytest.mark.anyio


class City(BaseModel):
    name: str
    people: int

    @field_validator("name")
    @classmethod
    def _no_nonsense(cls, name: str) -> str:
        if name == "Atlantis":
            raise ValueError("there is no such city")
        return name


PARIS = '{"name": "Paris", "people": 2100000}'
ROME = '{"name": "Rome", "people": 2800000}'


@pytest.fixture
def cli(tmp_path: Path) -> FakeCli:
    return FakeCli(tmp_path, "llm", version="0.36")


@pytest.fixture
def configuration(cli: FakeCli) -> Configuration:
    return Configuration.model_validate({"providers": {"llm": {"command": [str(cli.path)]}}})


def says(cli: FakeCli, *answers: str) -> None:
    """Each start gives the next answer, the last one for ever."""
    cli.script({"by_start": [[{"read": "all"}, {"out": answer}] for answer in answers]})


@asynchronous
async def test_an_answer_comes_as_what_its_schema_was_made_from(cli: FakeCli, configuration: Configuration) -> None:
    says(cli, PARIS)
    async with Dragoman(configuration) as d:
        city = await d.query("llm", "Which city?", schema=City)
        assert assert_type(city, City) == City(name="Paris", people=2_100_000)
        plain = await d.query("llm", "Which city?", {"type": "object"})
        assert plain == json.loads(PARIS)
        assert await d.query("llm", "Which city?", "name, people int") == json.loads(PARIS)
        says(cli, f"[{PARIS}, {ROME}]")
        cities = await d.query("llm", "Which cities?", list[City])
        assert [city.name for city in assert_type(cities, list[City])] == ["Paris", "Rome"]
        reply = await d.query_reply("llm", "Which cities?", list[City])
        assert (reply.data, reply.extraction) == ([json.loads(PARIS), json.loads(ROME)], "whole")


@asynchronous
async def test_what_only_the_class_knows_goes_back_to_the_model(cli: FakeCli, configuration: Configuration) -> None:
    says(cli, '{"name": "Atlantis", "people": 0}', PARIS)
    async with Dragoman(configuration) as d:
        assert (await d.query("llm", "Which city?", City, max_attempts=2)).name == "Paris"
        says(cli, '{"name": "Atlantis", "people": 0}')
        with pytest.raises(LLMError, match="no such city") as caught:
            await d.query("llm", "Which city?", City, max_attempts=2, idempotency_key="k")
    assert caught.value.code is ErrorCode.SCHEMA_MISMATCH
    assert caught.value.reply is not None
    assert len(caught.value.reply.attempts) == 2


@asynchronous
async def test_what_cannot_be_asked_starts_nothing(cli: FakeCli, configuration: Configuration) -> None:
    says(cli, PARIS)
    async with Dragoman(configuration) as d:
        for attempt in (
            lambda: d.query("llm", "hi", {"type": "strnig"}),
            lambda: d.query_reply("llm", "hi", "age year"),
            lambda: d.ask("llm", "hi", validators=["nonsense"]),
            lambda: d.jobs.start("llm", "hi", background=True, validators=[str.isupper]),
        ):
            with pytest.raises(LLMError) as caught:
                await attempt()
            assert caught.value.code is ErrorCode.BAD_REQUEST
        with pytest.raises(LLMError):
            d.stream_query("llm", "hi", {"type": 7})
        with pytest.raises(LLMError):
            d.stream_objects("llm", "hi", {"type": 7})
    assert cli.starts == 0


@asynchronous
async def test_validators_of_ones_own_judge_an_answer_and_the_model_is_told(
    cli: FakeCli, configuration: Configuration
) -> None:
    def polite(text: str) -> str | None:
        return None if "please" in text else "say please"

    says(cli, "no", "yes, please")
    async with Dragoman(configuration) as d:
        reply = await d.ask("llm", "Well?", validators=[polite, "length:1..20"], max_attempts=2)
        assert (reply.text, len(reply.attempts)) == ("yes, please", 2)
        first = reply.attempts[0].error
        assert first is not None
        assert "say please" in first.message
        says(cli, "no")
        with pytest.raises(LLMError, match="say please"):
            async for _ in d.stream("llm", "Well?", validators=[polite]):
                pass


@asynchronous
async def test_a_job_can_be_held_to_a_schema(cli: FakeCli, configuration: Configuration) -> None:
    says(cli, "no", PARIS)
    async with Dragoman(configuration) as d:
        job = await d.jobs.start("llm", "Which city?", schema=City, max_attempts=2)
        with anyio.fail_after(60):
            assert (await job.wait()).data == json.loads(PARIS)
        assert (await (await d.jobs.find(job.id)).wait()).extraction == "whole"


@asynchronous
async def test_an_answer_is_seen_while_it_grows_and_is_valid_in_the_end(
    cli: FakeCli, configuration: Configuration
) -> None:
    partials: list[Partial] = []
    async with Liveness() as live, Dragoman(configuration) as d:
        cli.script(live.connect(), {"read": "all"}, {"out": '{"name": "Par'}, {"wait": "gate"}, {"out": PARIS[13:]})
        stream = d.stream_query("llm", "Which city?", City)
        with pytest.raises(RuntimeError):
            _ = stream.data
        with anyio.fail_after(60):
            async for partial in stream:
                if not partials:
                    await live.connected()
                    await live.release()
                partials.append(partial)
    assert partials[0] == Partial({"name": "Par"}, attempt=1)
    assert assert_type(stream.data, City) == City(name="Paris", people=2_100_000)
    assert stream.reply is not None


@asynchronous
async def test_an_answer_that_is_asked_for_again_grows_anew(cli: FakeCli, configuration: Configuration) -> None:
    says(cli, '{"name": 7, "people": 1}', PARIS)
    async with Dragoman(configuration) as d:
        stream = d.stream_query("llm", "Which city?", City, max_attempts=2)
        seen = [partial async for partial in stream]
        assert (seen[-1].attempt, stream.data.name) == (2, "Paris")
        says(cli, "no")
        failing = d.stream_query("llm", "Which city?", City, max_attempts=1)
        with pytest.raises(LLMError) as caught:
            _ = [partial async for partial in failing]
    assert caught.value.code is ErrorCode.SCHEMA_MISMATCH


@asynchronous
async def test_leaving_early_ends_the_call(cli: FakeCli, configuration: Configuration) -> None:
    async with Liveness() as live, Dragoman(configuration) as d:
        cli.script(live.connect(), {"out": f'{PARIS}\n{{"name": "R'}, {"pause": True})
        with anyio.fail_after(60):
            growing = d.stream_query("llm", "Which?", City)
            async for _ in growing:
                await live.connected()
                break
            await growing.aclose()
            await live.all_gone()
            objects = d.stream_objects("llm", "Which?", City)
            async for _ in objects:
                await live.connected()
                break
            await objects.aclose()
            await live.all_gone()


@asynchronous
async def test_values_come_as_soon_as_their_line_is_there_and_a_bad_line_is_a_notice(
    cli: FakeCli, configuration: Configuration
) -> None:
    async with Liveness() as live, Dragoman(configuration) as d:
        cli.script(
            live.connect(),
            {"read": "all"},
            {"out": f'```\n{PARIS}\n{{"name": "Oslo"}}\n'},
            {"wait": "gate"},
            {"out": f"{ROME}\n```"},
        )
        names: list[str] = []
        stream = d.stream_objects("llm", "Which cities?", City)
        with anyio.fail_after(60):
            async for city in stream:
                names.append(assert_type(city, City).name)
                if names == ["Paris"]:
                    await live.connected()
                    await live.release()
    assert names == ["Paris", "Rome"]
    (notice,) = stream.notices
    assert notice.startswith("line 3: it does not match the schema: $.people")
    assert stream.reply is not None
    assert stream.reply.notices == (notice,)


@asynchronous
async def test_an_answer_without_any_value_is_asked_for_again(cli: FakeCli, configuration: Configuration) -> None:
    says(cli, "Sure, here they are:\n- Paris", f"{PARIS}\n{ROME}")
    async with Dragoman(configuration) as d:
        stream = d.stream_objects("llm", "Which cities?", City, max_attempts=2)
        assert [city.name async for city in stream] == ["Paris", "Rome"]
        assert stream.notices == []
        says(cli, "no")
        with pytest.raises(LLMError, match="line 1: it is not JSON") as caught:
            _ = [city async for city in d.stream_objects("llm", "Which cities?", City, max_attempts=2)]
    assert caught.value.code is ErrorCode.MALFORMED_OUTPUT


@asynchronous
async def test_the_cut_line_of_a_call_that_failed_is_no_value(cli: FakeCli, configuration: Configuration) -> None:
    cli.script({"read": "all"}, {"out": "1\n12"}, {"err": "Error: broken\n"}, {"exit": 1})
    async with Dragoman(configuration) as d:
        values = aiter(d.stream_objects("llm", "Count.", int))
        assert await anext(values) == 1
        with pytest.raises(LLMError):
            await anext(values)
    assert cli.starts == 1


def test_the_twin_without_an_event_loop_does_the_same(cli: FakeCli, configuration: Configuration) -> None:
    says(cli, PARIS)
    with SyncDragoman(configuration) as d:
        assert assert_type(d.query("llm", "Which city?", City), City).name == "Paris"
        plain: Any = d.query("llm", "Which city?", "name, people int")
        assert plain["name"] == "Paris"
        assert assert_type(d.query_reply("llm", "Which?", City), LLMResponse).mechanism == "native"
        growing = d.stream_query("llm", "Which city?", City)
        assert [partial.value for partial in growing][-1] == json.loads(PARIS)
        assert (growing.data.name, growing.reply is not None) == ("Paris", True)
        says(cli, f"{PARIS}\nand\n{ROME}")
        objects = d.stream_objects("llm", "Which?", City)
        assert [city.name for city in objects] == ["Paris", "Rome"]
        assert (len(objects.notices), objects.reply is not None) == (1, True)
        with pytest.raises(LLMError):
            d.query("llm", "Which?", {"type": 7})


def test_a_schema_that_is_true_or_false_is_one(cli: FakeCli, configuration: Configuration) -> None:
    says(cli, "[1]")
    with SyncDragoman(configuration) as d:
        assert d.query("llm", "Anything.", True) == [1]
        assert d.query("llm", "Anything.", OutputSchema.of(True)) == [1]
        with pytest.raises(LLMError):
            d.query("llm", "Nothing.", False, max_attempts=1)
