"""Conversations and jobs in the library, with and without an event loop."""

import json
from pathlib import Path

import anyio
import pytest

from dragoman import Configuration, ConversationManager, Dragoman, ErrorCategory, ErrorCode, LLMError
from dragoman.schemas import Text
from dragoman.sync import Dragoman as SyncDragoman
from dragoman.testing import FakeCli, Liveness

ECHO = ({"read": "all"}, {"echo_stdin": True, "as": "raw"})
FAILING = ({"read": "all"}, {"out": "half"}, {"err": "Error: Error code: 400 - what is this?\n"}, {"exit": 1})


@pytest.fixture
def cli(tmp_path: Path) -> FakeCli:
    return FakeCli(tmp_path, "llm", version="0.36")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def configuration(cli: FakeCli) -> Configuration:
    return Configuration.model_validate(
        {
            "providers": {"llm": {"command": [str(cli.path)]}},
            "retry": {"max_attempts": 1},
        }
    )


@pytest.mark.anyio
async def test_a_conversation_is_counted_kept_and_gone_on_with_by_its_id(
    cli: FakeCli, configuration: Configuration
) -> None:
    cli.script(*ECHO)
    async with Dragoman(configuration) as d:
        talk = d.conversation("llm", system_prompt="Be brief.")
        assert (talk.message_count, talk.turn_count) == (0, 0)
        # The whole of what the provider is told on stdin comes back: the new prompt is in it once, and nothing else.
        assert await talk.send_message("one") == "one"
        assert await talk.send_message("two") == "two"
        assert (talk.message_count, talk.turn_count) == (4, 2)
        assert talk.last_reply is not None
        assert talk.last_reply.conversation_id == talk.conversation_id
    async with Dragoman(configuration) as d:
        again = d.conversation("llm", talk.conversation_id)
        assert await again.send_message("three") == "three"
        assert [message.content for message in again.messages] == ["one", "one", "two", "two", "three", "three"]
        info, turns, _ = await d.conversations.show(talk.conversation_id)
        assert (info.system_prompt, [turn.prompt for turn in turns]) == ("Be brief.", ["one", "two", "three"])


@pytest.mark.anyio
async def test_a_failed_turn_is_rolled_back_and_does_not_count(cli: FakeCli, configuration: Configuration) -> None:
    async with Dragoman(configuration) as d:
        talk = d.conversation("llm", max_turns=2)
        cli.script(*ECHO)
        await talk.send_message("one")
        cli.script(*FAILING)
        for _ in range(2):
            with pytest.raises(LLMError):
                await talk.send_message("lost")
        assert [message.content for message in talk.messages] == ["one", "one"]
        cli.script(*ECHO)
        await talk.send_message("two")
        with pytest.raises(LLMError, match="has had its 2 turns") as caught:
            await talk.send_message("three")
        assert (caught.value.code, caught.value.category) == (ErrorCode.BAD_REQUEST, ErrorCategory.PERMANENT)
        assert talk.turn_count == 2


@pytest.mark.anyio
async def test_ten_turns_are_the_most_unless_told_otherwise(cli: FakeCli, configuration: Configuration) -> None:
    cli.script(*ECHO)
    async with Dragoman(configuration) as d:
        talk = d.conversation("llm")
        for number in range(10):
            await talk.send_message(f"turn {number}")
        with pytest.raises(LLMError, match="has had its 10 turns"):
            await talk.send_message("one more")
        endless = d.conversation("llm", talk.conversation_id, max_turns=0)
        assert await endless.send_message("one more") == "one more"


@pytest.mark.anyio
async def test_reset_forgets_the_turns_and_a_history_can_be_taken_elsewhere(
    cli: FakeCli, configuration: Configuration, tmp_path: Path
) -> None:
    cli.script(*ECHO)
    async with Dragoman(configuration) as d:
        talk = d.conversation("llm")
        await talk.reset()
        await talk.send_message("one")
        await talk.export_history(tmp_path / "talk.json")
        await talk.export_history(str(tmp_path / "talk.md"))
        assert "## You\n\none" in (tmp_path / "talk.md").read_text()
        document = (tmp_path / "talk.json").read_text()
        assert json.loads(document)["turns"][0]["prompt"] == "one"
        await talk.reset()
        assert (talk.turn_count, (await d.conversations.show(talk.conversation_id))[1]) == (0, [])
        copy = d.conversation("llm", await d.conversations.take_in(document, "copy"))
        await copy.load()
        assert [message.content for message in copy.messages] == ["one", "one"]


@pytest.mark.anyio
async def test_a_manager_of_its_own_wants_to_be_opened(cli: FakeCli) -> None:
    talk = ConversationManager(system_prompt="Be brief.")
    with pytest.raises(RuntimeError, match="async with"):
        await talk.send_message("hi")
    async with talk:
        assert talk.turn_count == 0


@pytest.mark.anyio
async def test_conversations_can_be_listed_searched_forked_and_deleted(
    cli: FakeCli, configuration: Configuration
) -> None:
    cli.script(*ECHO)
    async with Dragoman(configuration) as d:
        reply = await d.ask("llm", "the walrus")
        assert reply.conversation_id is not None
        await d.ask("llm", "not kept", remember=False)
        await d.ask("llm", "and the carpenter", conversation_id=reply.conversation_id)
        fork = await d.conversations.fork(reply.conversation_id, upto=1)
        assert {info.conversation_id for info in await d.conversations.list()} == {reply.conversation_id, fork}
        found, _ = await d.conversations.search("carpenter")
        assert [each.number for each in found] == [2]
        await d.conversations.delete(fork)
        with pytest.raises(LLMError) as caught:
            await d.conversations.show(fork)
        assert caught.value.code is ErrorCode.NOT_FOUND


@pytest.mark.anyio
async def test_the_same_key_asks_once_and_another_question_with_it_is_refused(
    cli: FakeCli, configuration: Configuration
) -> None:
    async with Liveness() as live, Dragoman(configuration) as d:
        cli.script(live.connect(), *ECHO[:1], {"wait": "gate"}, ECHO[1])
        replies: list[str] = []

        async def ask() -> None:
            replies.append((await d.ask("llm", "once", idempotency_key="k")).text)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await live.connected()
                tasks.start_soon(ask)
                with pytest.raises(LLMError, match="another question"):
                    await d.ask("llm", "twice", idempotency_key="k")
                await live.release()
            events = [event async for event in d.stream("llm", "once", idempotency_key="k")]
        assert replies == ["once", "once"]
        assert "".join(event.text for event in events if isinstance(event, Text)) == "once"
    assert cli.starts == 1


@pytest.mark.anyio
async def test_a_job_is_found_by_its_id_and_giving_up_the_wait_leaves_it_alone(
    cli: FakeCli, configuration: Configuration
) -> None:
    async with Liveness() as live, Dragoman(configuration) as d:
        cli.script(live.connect(), *ECHO[:1], {"wait": "gate"}, ECHO[1])
        with anyio.fail_after(60):
            job = await d.jobs.start("llm", "long work")
            await live.connected()
            assert (await job.wait(0)).status == "running"
            assert [info.job_id for info in await d.jobs.list()] == [job.id]
            await live.release()
            assert (await (await d.jobs.find(job.id)).wait()).text == "long work"
    async with Dragoman(configuration) as d:
        found = await d.jobs.find(job.id)
        assert (found.reply().status, found.reply().text) == ("completed", "long work")
        with pytest.raises(LLMError):
            await d.jobs.find("nothing")


@pytest.mark.anyio
async def test_a_job_that_is_cancelled_ends_with_its_child(cli: FakeCli, configuration: Configuration) -> None:
    async with Liveness() as live, Dragoman(configuration) as d:
        cli.script(live.connect(), {"pause": True})
        with anyio.fail_after(60):
            job = await d.jobs.start("llm", "long work")
            await live.connected()
            assert (await job.cancel()).status == "cancelled"
            await live.all_gone()


def test_the_twin_holds_conversations_and_has_jobs_too(
    cli: FakeCli, configuration: Configuration, tmp_path: Path
) -> None:
    cli.script(*ECHO)
    with SyncDragoman(configuration) as d:
        talk = d.conversation("llm", max_turns=1)
        talk.load()
        assert talk.send_message("one") == "one"
        assert (talk.turn_count, talk.message_count, talk.messages[0].content) == (1, 2, "one")
        with pytest.raises(LLMError, match="has had its 1 turns"):
            talk.send_message("two")
        talk.export_history(tmp_path / "talk.json")
        copy = d.conversations.take_in((tmp_path / "talk.json").read_text(), "copy")
        assert {info.conversation_id for info in d.conversations.list()} == {copy, talk.conversation_id}
        assert "one" in d.conversations.export(d.conversations.fork(copy, new_id="fork"), "markdown")
        assert len(d.conversations.search("one")[0]) == 3
        d.conversations.reset("fork")
        assert d.conversations.show("fork")[1] == []
        d.conversations.delete("fork")
        talk.reset()
        assert (talk.turn_count, talk.last_reply) == (0, None)
        job = d.jobs.start("llm", "work")
        assert job.wait(60).text == job.reply().text == d.jobs.find(job.id).reply().text == "work"
        assert [info.job_id for info in d.jobs.list()] == [job.id] == [job.info.job_id]
        assert "work" in [event.text for event in job.events()[0] if isinstance(event, Text)]
        assert job.cancel().status == "completed"
