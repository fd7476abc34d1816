"""Many questions at once: what runs, what comes when, and what a failure does to the others."""

import json
from collections.abc import Iterator

import anyio
import pytest

from dragoman.engine.combine import Group, judges_request
from dragoman.engine.many import Many, questions
from dragoman.schemas import LLMError, LLMRequest
from dragoman.testing import FakeAdapter, FakeCli, Liveness
from dragoman.testing.fakes import Step
from tests.engine.conftest import MakeEngine

pytestmark = pytest.mark.anyio

SAYS_IT_BACK: list[Step] = [
    {"read": "line"},
    {"echo_stdin": True, "pick": "prompt", "as": "text"},
    {"line": {"done": {}}},
]


def asked(*prompts: str, provider: str = "fake") -> list[LLMRequest]:
    return [LLMRequest(prompt=prompt, provider=provider, remember=False) for prompt in prompts]


async def test_every_question_has_its_own_answer_and_all_come_in_order(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script(*SAYS_IT_BACK)
    prompts = [f"question {number}" for number in range(1, 8)]
    with anyio.fail_after(60):
        async with make_engine() as engine:
            many = Many(engine, asked(*prompts))
            answers = await many.answers()
    assert [answer.reply.text for answer in answers] == prompts
    assert [answer.number for answer in answers] == [1, 2, 3, 4, 5, 6, 7]
    assert many.progress == "7 of 7"


async def test_an_answer_comes_while_an_earlier_one_is_awaited_and_in_order_it_is_held_back(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    quick = FakeCli(cli.path.parent, "dragoman-quick")
    quick.script({"line": {"done": {"text": "quick"}}})
    adapters = FakeAdapter(), FakeAdapter("quick", executables=("dragoman-quick",))
    requests = [*asked("1"), *asked("2", provider="quick")]
    for in_order, numbers in ((False, [2, 1]), (True, [1, 2])):
        async with Liveness() as live, make_engine(*adapters) as engine:
            cli.script(live.connect(), {"wait": "gate"}, {"line": {"done": {"text": "slow"}}})
            came: list[int] = []
            with anyio.fail_after(60):
                many = Many(engine, requests, in_order=in_order)

                async def follow(many: Many = many, came: list[int] = came) -> None:
                    came.extend([answer.number async for answer in many])

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(follow)
                    await live.connected()
                    while many.done == 0:  # noqa: ASYNC110 - it is only counted
                        await anyio.sleep(0.01)  # nothing tells
                    await live.release()
            assert came == numbers


async def test_a_failure_is_one_answer_among_the_others(make_engine: MakeEngine, cli: FakeCli) -> None:
    fails = [{"line": {"error": {"code": "refused", "message": "no"}}}]
    cli.scripts([{"line": {"done": {"text": "a"}}}], fails, [{"line": {"done": {"text": "c"}}}])
    with anyio.fail_after(60):
        async with make_engine() as engine:
            answers = await Many(engine, asked("1", "2", "3"), concurrency=1).answers()
    assert [answer.reply.status for answer in answers] == ["completed", "failed", "completed"]
    assert answers[1].reply.error is not None
    assert answers[1].reply.error.code == "refused"


async def test_no_more_are_drawn_from_the_source_than_can_be_asked(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script(*SAYS_IT_BACK)
    drawn = 0

    def source() -> Iterator[LLMRequest]:
        nonlocal drawn
        for request in asked(*(str(number) for number in range(200))):
            drawn += 1
            yield request

    with anyio.fail_after(60):
        async with make_engine(configuration={"providers": {"fake": {"max_concurrency": 2}}}) as engine:
            many = Many(engine, source())
            async for answer in many:
                # Two run, one was drawn to see that it has to wait, and those looked at beyond it.
                assert drawn <= answer.number + 70
                if answer.number > 3:
                    break
            await many.aclose()
    assert drawn < 100


async def test_leaving_the_iteration_ends_what_still_runs(make_engine: MakeEngine, cli: FakeCli) -> None:
    async with Liveness() as live, make_engine() as engine:
        cli.scripts([{"line": {"done": {"text": "a"}}}], [live.connect(), {"pause": True}])
        with anyio.fail_after(60):
            many = Many(engine, asked("1", "2"), concurrency=1)
            answers = aiter(many)
            await anext(answers)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anext, answers, None)
                await live.connected()
                tasks.cancel_scope.cancel()
            await many.aclose()
            await live.all_gone()


async def test_providers_do_not_wait_for_each_other(make_engine: MakeEngine, cli: FakeCli) -> None:
    async with Liveness() as live:
        cli.script(live.connect(), {"pause": True})
        other = FakeCli(cli.path.parent, "dragoman-other")
        other.script({"line": {"done": {"text": "here"}}})
        busy = {"providers": {"fake": {"max_concurrency": 1}}}
        engine = make_engine(FakeAdapter(), FakeAdapter("other", executables=("dragoman-other",)), configuration=busy)
        async with engine:
            requests = [*asked("1", "2", "3"), *asked("4", provider="other")]
            with anyio.fail_after(60):
                many = Many(engine, requests)
                answer = await anext(aiter(many))
                await many.aclose()
    assert (answer.number, answer.reply.text) == (4, "here")


async def test_a_provider_that_is_left_alone_for_a_moment_is_waited_for(make_engine: MakeEngine, cli: FakeCli) -> None:
    crashes = [{"exit": 3}]
    cli.scripts(crashes, crashes, *([SAYS_IT_BACK] * 3))
    breaker = {"failure_threshold": 2, "open_s": 0.5, "never_open_last": False, "success_threshold": 1}
    with anyio.fail_after(60):
        async with make_engine(configuration={"breaker": breaker}) as engine:
            answers = await Many(engine, asked("1", "2", "3", "4"), concurrency=1).answers()
    assert [answer.reply.status for answer in answers] == ["failed", "failed", "completed", "completed"]


async def test_several_providers_vote(make_engine: MakeEngine, cli: FakeCli) -> None:
    says = [[{"line": {"done": {"text": text}}}] for text in ("Paris.", "london", "paris", "Rome")]
    cli.scripts(*says)
    with anyio.fail_after(60):
        async with make_engine() as engine:
            many = Many(engine, asked(*["Capital of France?"] * 4), concurrency=1, combine="vote")
            await many.answers()
    combined = many.combined[0]
    assert (combined.text, combined.numbers, combined.answered, combined.tied) == ("Paris.", (1, 3), 4, False)


async def test_values_are_voted_on_as_values(make_engine: MakeEngine, cli: FakeCli) -> None:
    texts = ('{"a": 1, "b": [2]}', '{"b": [3], "a": 1}', '{"b": [2.0], "a": 1}')
    cli.scripts(*[[{"line": {"done": {"text": text}}}] for text in texts])
    requests = [request.model_copy(update={"output_schema": {"type": "object"}}) for request in asked("?", "?", "?")]
    with anyio.fail_after(60):
        async with make_engine() as engine:
            many = Many(engine, requests, concurrency=1, combine="vote")
            await many.answers()
    assert many.combined[0].numbers == (1, 3)
    assert many.combined[0].data == {"a": 1, "b": [2]}


async def test_a_judge_gets_all_answers_and_not_who_gave_them(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.scripts([{"line": {"done": {"text": "ocean"}}}], [{"line": {"done": {"text": "sea"}}}])
    court = FakeCli(cli.path.parent, "dragoman-court")
    verdict = {"best": [2], "why": "shorter", "answer": "the sea"}
    court.script({"line": {"done": {"text": json.dumps(verdict)}}})
    engine = make_engine(FakeAdapter(), FakeAdapter("court", executables=("dragoman-court",)))
    with anyio.fail_after(60):
        async with engine:
            many = Many(engine, asked("?", "?"), concurrency=1, combine="judge", judge="court")
            answers = await many.answers()
    request = judges_request(Group("?", answers), "court")
    assert request is not None
    assert "ocean" in request.prompt
    assert "sea" in request.prompt
    assert "fake" not in request.prompt
    combined = many.combined[0]
    assert (combined.text, combined.why, combined.numbers, combined.judge) == ("the sea", "shorter", (2,), "court")


async def test_where_nobody_answered_nothing_is_combined(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script({"line": {"error": {"code": "refused", "message": "no"}}})
    with anyio.fail_after(60):
        async with make_engine() as engine:
            many = Many(engine, asked("?", "?"), combine="vote")
            await many.answers()
    assert many.combined[0].error is not None


def test_questions_are_every_prompt_to_every_provider_or_the_pairs() -> None:
    assert questions(["p", "q"], ["a", "b"]) == [("a", "p"), ("b", "p"), ("a", "q"), ("b", "q")]
    assert questions(["p"]) == [(None, "p")]
    assert questions(pairs=[("a", "p")]) == [("a", "p")]
    for wrong in ({}, {"prompts": ["p"], "pairs": [("a", "p")]}):
        with pytest.raises(LLMError) as caught:
            questions(**wrong)  # pyright: ignore[reportArgumentType] - the mistake under test
        assert caught.value.info.next_step
