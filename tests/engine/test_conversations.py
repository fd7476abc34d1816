"""Conversations: what a provider is told of what was said before, and what is kept."""

import errno
import os
import re
import sqlite3
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, nullcontext
from pathlib import Path
from typing import IO, Any, Literal

import anyio
import pytest

from dragoman.config import Configuration
from dragoman.engine import Engine, Job, conversations
from dragoman.engine.attempt.layout import kept_folders
from dragoman.engine.record import store_file
from dragoman.processes import Child, Command
from dragoman.schemas import ErrorCode, LLMError, LLMRequest, LLMResponse, Notice
from dragoman.store import TurnEnded
from dragoman.testing import FakeAdapter
from tests.engine.oracle import Oracle, Question, keeps_sessions
from tests.engine.virtual import FakeSpawner, line

pytestmark = pytest.mark.anyio

KEEPS = FakeAdapter(keeps_sessions=True)
FORKS = FakeAdapter(keeps_sessions=True, forks_sessions=True)
FORGETS = FakeAdapter("other")


@asynccontextmanager
async def engine(
    folder: Path, oracle: FakeSpawner, *adapters: FakeAdapter, configuration: dict[str, Any] | None = None
) -> AsyncGenerator[Engine]:
    (folder / "dragoman-fake").touch(mode=0o700)
    async with Engine(
        Configuration.model_validate({"retry": {"max_attempts": 1}, **(configuration or {})}),
        adapters={adapter.profile.name: adapter for adapter in adapters},
        environ={"PATH": str(folder), "HOME": str(folder)},
        folder=folder,
        spawner=oracle,
    ) as running:
        yield running


async def ask(running: Engine, prompt: str, conversation_id: str | None = "talk", **more: object) -> LLMResponse:
    fields = {"provider": "fake", **more, "prompt": prompt, "conversation_id": conversation_id}
    with anyio.fail_after(60):
        return await running.submit(LLMRequest.model_validate(fields)).outcome()


def session(question: Question) -> tuple[bool, bool, str | None]:
    asked = question["session"]
    return asked["is_new"], asked["fork"], asked["last_turn"]


async def test_a_conversation_without_a_name_gets_one_by_which_it_goes_on_in_the_providers_own_session(
    tmp_path: Path,
) -> None:
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, KEEPS) as running:
        first = await ask(running, "one", None)
        assert first.conversation_id is not None
        second = await ask(running, "two", first.conversation_id)
    assert (second.conversation_id, second.text, second.notices) == (first.conversation_id, "answer to two", ())
    one, two = oracle.asked
    assert (session(one), session(two)) == ((True, False, None), (False, False, "one"))
    assert one["session"]["id"] == two["session"]["id"]
    assert two["prompt"] == "two"


@pytest.mark.parametrize("form", ["natural", "json"])
async def test_a_provider_without_sessions_is_told_again_and_the_new_prompt_is_there_once(
    tmp_path: Path, form: str
) -> None:
    oracle = Oracle(keeps_sessions)
    configuration = {"conversations": {"transcript": form}}
    async with engine(tmp_path, oracle, FakeAdapter(), configuration=configuration) as running:
        await ask(running, "What is ONE?")
        await ask(running, "And TWO?")
    told = oracle.asked[1]["prompt"]
    assert (told.count("What is ONE?"), told.count("And TWO?"), told.count("PLAIN")) == (1, 1, 1)
    assert told.endswith("And TWO?")


async def test_a_provider_that_takes_messages_gets_messages(tmp_path: Path) -> None:
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, FakeAdapter(takes_history=True)) as running:
        await ask(running, "one")
        await ask(running, "two")
    assert oracle.asked[1]["prompt"] == "two"
    assert oracle.asked[1]["history"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "PLAIN"},
    ]


async def test_another_provider_goes_on_and_the_first_one_catches_up(tmp_path: Path) -> None:
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, KEEPS, FORGETS) as running:
        await ask(running, "one", provider="other")
        new_here = await ask(running, "two")
        assert "told the conversation again" in " ".join(new_here.notices)
        await ask(running, "two", provider="other")
        await ask(running, "three")
        await ask(running, "four")
    _, two, _, three, four = (question["prompt"] for question in oracle.asked)
    assert "one" in two
    assert ("one" in three, "two" in three, three.endswith("three")) == (False, True, True)
    assert four == "four"


@pytest.mark.parametrize(("messages", "others", "first"), [(2, 3, 4), (100, 52, 4)])
async def test_who_catches_up_with_more_than_is_sent_is_said_to_lack_the_rest(
    tmp_path: Path, messages: int, others: int, first: int
) -> None:
    oracle = Oracle(keeps_sessions)
    configuration = {"conversations": {"max_history": messages}}
    async with engine(tmp_path, oracle, KEEPS, FORGETS, configuration=configuration) as running:
        await ask(running, "mine")
        for number in range(others):
            await ask(running, f"question-{number + 2}", provider="other")
        reply = await ask(running, "last")
    assert reply.notices == (f"fake was not told what others answered before turn {first}",)
    prompt = oracle.asked[-1]["prompt"]
    assert (f"question-{first}\n" in prompt, f"question-{first - 1}\n" in prompt) == (True, False)


async def test_only_so_many_messages_are_sent_and_no_turn_is_split(tmp_path: Path) -> None:
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, FakeAdapter(takes_history=True)) as running:
        for number in range(6):
            await ask(running, f"p{number}", max_history=5)
        everything = await running.conversations.show("talk", None)
    assert [message["content"] for message in oracle.asked[5]["history"]] == ["p3", "PLAIN", "p4", "PLAIN"]
    assert [turn.prompt for turn in everything[1]] == [f"p{number}" for number in range(6)]


async def test_a_number_of_messages_forces_telling_again(tmp_path: Path) -> None:
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, KEEPS) as running:
        await ask(running, "one")
        await ask(running, "two", max_history=20)
    assert "session" not in oracle.asked[1]
    assert "one" in oracle.asked[1]["prompt"]


async def test_the_system_prompt_stays_and_a_new_one_replaces_it(tmp_path: Path) -> None:
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, KEEPS) as running:
        await ask(running, "one", system_prompt="Be brief.")
        await ask(running, "two")
        await ask(running, "three", system_prompt="Be long.")
        await ask(running, "four")
    assert [question["system"] for question in oracle.asked] == ["Be brief.", "Be brief.", "Be long.", "Be long."]
    assert [session(question)[0] for question in oracle.asked] == [True, False, True, False]


FAIL = line(bound="s", turn="bad") + line(error={"code": "auth", "message": "no"})


@pytest.mark.parametrize(
    ("adapter", "expected", "told"), [(KEEPS, (True, False, None), True), (FORKS, (False, True, "one"), False)]
)
async def test_what_failed_is_not_gone_on_with(
    tmp_path: Path, adapter: FakeAdapter, expected: tuple[bool, bool, str | None], told: bool
) -> None:
    """A copy from the last good turn where the CLI can make one, else a new session that is told again."""
    oracle = Oracle(lambda question: FAIL if question["prompt"] == "two" else keeps_sessions(question))
    async with engine(tmp_path, oracle, adapter) as running:
        await ask(running, "one")
        failed = await ask(running, "two")
        await ask(running, "three")
        after = await ask(running, "four")
        _, turns, _ = await running.conversations.show("talk")
    assert failed.conversation_id == "talk"
    assert session(oracle.asked[2]) == expected
    assert ("one" in oracle.asked[2]["prompt"], "two" in oracle.asked[2]["prompt"]) == (told, False)
    assert (session(oracle.asked[3])[:2], after.text) == ((False, False), "answer to four")
    assert [turn.status for turn in turns] == ["completed", "failed", "completed", "completed"]


@pytest.mark.parametrize("reason", ["lost", "busy"])
async def test_a_session_that_cannot_be_had_is_told_again_in_the_same_call(tmp_path: Path, reason: str) -> None:
    gone = line(error={"code": "bad_request", "message": "No conversation found", "session": reason})

    def answer(question: Question) -> bytes:
        return gone if not question["session"]["is_new"] else keeps_sessions(question)

    oracle = Oracle(answer)
    async with engine(tmp_path, oracle, KEEPS) as running:
        await ask(running, "one")
        reply = await ask(running, "two")
    assert (reply.status, reply.text) == ("completed", "answer to two")
    assert "own session" in " ".join(reply.notices)
    assert session(oracle.asked[2])[0] is True
    assert "one" in oracle.asked[2]["prompt"]


async def test_a_session_that_another_program_has_is_gone_on_with_in_a_copy(tmp_path: Path) -> None:
    busy = line(error={"code": "bad_request", "message": "already has an active writer", "session": "busy"})

    def answer(question: Question) -> bytes:
        is_resumed = not question["session"]["is_new"] and not question["session"]["fork"]
        return busy if is_resumed and question["prompt"] == "two" else keeps_sessions(question)

    oracle = Oracle(answer)
    async with engine(tmp_path, oracle, FORKS) as running:
        await ask(running, "one")
        await ask(running, "two")
        await ask(running, "three")
    assert session(oracle.asked[2]) == (False, True, "one")
    assert oracle.asked[3]["session"]["id"] == oracle.asked[1]["session"]["id"] + "+"


async def test_a_second_call_waits_for_the_first_or_fails_at_once(tmp_path: Path) -> None:
    gate = anyio.Event()

    class Slow(Oracle):
        async def spawn(self, command: Command) -> Child:
            process = await super().spawn(command)
            if len(self.processes) == 1:
                await gate.wait()
            return process

    oracle = Slow(keeps_sessions)
    async with engine(tmp_path, oracle, KEEPS) as running:
        first = running.submit(LLMRequest(prompt="one", provider="fake", conversation_id="talk"))
        with anyio.fail_after(60):
            await oracle.process()
        second = running.submit(LLMRequest(prompt="two", provider="fake", conversation_id="talk"))
        at_once = await ask(running, "three", if_busy="fail")
        assert at_once.error is not None
        assert at_once.error.code is ErrorCode.OVERLOADED
        assert second.reply is None
        why = "waits for conversation 'talk', which another call has"
        assert list(second.log.events) == [Notice(message=why)]
        job = await running.jobs.start(second.request, face="test")
        with anyio.fail_after(60):
            while job.reply().notices != (f"it {why}",):  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.01)
        await job.cancel()
        gate.set()
        with anyio.fail_after(60):
            assert (await first.outcome()).text == "answer to one"
            assert (await second.outcome()).text == "answer to two"
    assert [question["prompt"] for question in oracle.asked] == ["one", "two"]


async def test_another_engine_goes_on_where_the_first_one_stopped(tmp_path: Path) -> None:
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, KEEPS) as running:
        await ask(running, "one")
        async with engine(tmp_path, oracle, KEEPS) as other:
            await ask(other, "two")
        await ask(running, "three")
    assert [session(question)[0] for question in oracle.asked] == [True, False, False]


async def test_a_conversation_has_at_most_so_many_turns(tmp_path: Path) -> None:
    async with engine(tmp_path, Oracle(keeps_sessions), KEEPS) as running:
        await ask(running, "one", max_turns=1)
        full = await ask(running, "two", max_turns=1)
        assert full.error is not None
        assert (full.error.code, full.error.next_step is not None) == (ErrorCode.BAD_REQUEST, True)


async def test_a_turn_that_is_not_to_be_remembered_is_not(tmp_path: Path) -> None:
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, KEEPS) as running:
        reply = await ask(running, "one", None, remember=False)
        assert reply.conversation_id is None
        assert await running.conversations.list() == []
    assert "session" not in oracle.asked[0]


async def test_a_conversation_can_be_exported_taken_in_forked_reset_and_deleted(tmp_path: Path) -> None:
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, KEEPS) as running:
        talks = running.conversations
        await ask(running, "one", system_prompt="Be brief.")
        await ask(running, "two")
        document = await talks.export("talk")
        assert "answer to two" in await talks.export("talk", "markdown")
        assert await talks.take_in(document, "copy") == "copy"
        fork = await talks.fork("talk", upto=1)
        await ask(running, "three", fork)
        assert session(oracle.asked[2])[0] is True
        assert ("one" in oracle.asked[2]["prompt"], "two" in oracle.asked[2]["prompt"]) == (True, False)
        await talks.reset("talk")
        assert (await talks.show("talk"))[1] == []
        await ask(running, "four")
        assert (session(oracle.asked[3])[0], oracle.asked[3]["system"]) == (True, "Be brief.")
        await talks.delete("talk")
        with pytest.raises(LLMError, match="there is no conversation"):
            await talks.show("talk")
        assert {info.conversation_id for info in await talks.list()} == {"copy", fork}
        assert [found.conversation_id for found in (await talks.search("two"))[0]] == ["copy"]


@pytest.mark.parametrize("keeps", ["home", "file"])
async def test_what_a_cli_keeps_in_a_folder_of_ours_goes_with_its_conversation(
    tmp_path: Path, keeps: Literal["home", "file"]
) -> None:
    at_home = FakeAdapter(keeps_sessions=True, keeps=keeps)
    async with engine(tmp_path, Oracle(keeps_sessions), at_home) as running:
        for name in ("one", "two", "three"):
            await ask(running, "hello", name)
        assert len(list(kept_folders().glob("fake/*"))) == 3
        await running.conversations.delete("one")
        await running.conversations.reset("two")
        assert len(list(kept_folders().glob("fake/*"))) == 1
        assert (await ask(running, "again", "three")).notices == ()


@pytest.mark.parametrize("keeps", ["home", "file"])
async def test_what_a_cli_kept_goes_when_it_is_not_gone_on_with(tmp_path: Path, keeps: Literal["home", "file"]) -> None:
    at_home = FakeAdapter(keeps_sessions=True, keeps=keeps)
    async with engine(tmp_path, Oracle(keeps_sessions), at_home) as running:
        await ask(running, "hello")
        [first] = kept_folders().glob("fake/*")
        await ask(running, "hello", system_prompt="Be brief.")
        [second] = kept_folders().glob("fake/*")
    assert first != second


@pytest.mark.parametrize("keeps", ["home", "file"])
async def test_where_a_session_cannot_be_kept_the_conversation_is_told_again(
    tmp_path: Path, keeps: Literal["home", "file"]
) -> None:
    oracle = Oracle(keeps_sessions)
    at_home = FakeAdapter(keeps_sessions=True, keeps=keeps)
    async with engine(tmp_path, oracle, at_home) as running:
        kept_folders().touch()
        replies = [await ask(running, prompt) for prompt in ("one", "two")]
    assert [reply.status for reply in replies] == ["completed", "completed"]
    assert all("cannot be kept" in " ".join(reply.notices) for reply in replies)
    assert ["session" in question for question in oracle.asked] == [False, False]
    assert "one" in oracle.asked[1]["prompt"]


async def test_a_question_is_on_disk_while_the_cli_works_on_it(tmp_path: Path) -> None:
    spawner = FakeSpawner()
    async with engine(tmp_path, spawner, FakeAdapter()) as running:
        call = running.submit(LLMRequest(provider="fake", prompt="hello", conversation_id="talk"))
        with anyio.fail_after(60):
            process = await spawner.process()
            while (turns := _turns_on_disk()) == []:  # noqa: ASYNC110 - as another program sees it
                await anyio.sleep(0.01)
        assert turns == [("hello", "running")]
        process.feed(line(text="hi") + line(done={}))
        process.exit(0)
        assert (await call.outcome()).text == "hi"


def _turns_on_disk() -> list[tuple[str, str]]:
    with closing(sqlite3.connect(store_file())) as db:
        return db.execute("SELECT prompt, status FROM turns").fetchall()


async def test_an_answer_for_which_there_is_no_room_is_told_and_its_turn_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = TurnEnded.apply

    def too_much(self: TurnEnded, db: sqlite3.Connection, server_id: int) -> None:
        if "two" in self.text:
            raise sqlite3.OperationalError("database or disk is full")
        apply(self, db, server_id)

    monkeypatch.setattr(TurnEnded, "apply", too_much)
    oracle = Oracle(keeps_sessions)
    async with engine(tmp_path, oracle, FakeAdapter(keeps_sessions=True, forks_sessions=True)) as running:
        await ask(running, "one")
        reply = await ask(running, "two")
        assert (reply.text, reply.conversation_id) == ("answer to two", None)
        assert "disk is full" in " ".join(reply.notices)
        assert (await ask(running, "three")).conversation_id == "talk"
        _, turns, _ = await running.conversations.show("talk")
    assert [(turn.prompt, turn.status) for turn in turns] == [
        ("one", "completed"),
        ("two", "interrupted"),
        ("three", "completed"),
    ]
    # What it has of the turn that is not kept is not gone on with.
    assert session(oracle.asked[2]) == (False, True, "one")


async def test_a_store_that_cannot_be_written_costs_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path / "file"))
    async with engine(tmp_path, Oracle(keeps_sessions), KEEPS) as running:
        reply = await ask(running, "one", None)
        assert (reply.status, reply.conversation_id) == ("completed", None)
        assert "not kept" in " ".join(reply.notices)
        named = await ask(running, "two")
        assert named.error is not None
        assert named.error.next_step


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 129, "a/b"])
async def test_a_copy_gets_only_a_name_by_which_it_can_be_gone_on_with(tmp_path: Path, name: str) -> None:
    async with engine(tmp_path, Oracle(keeps_sessions), KEEPS) as running:
        await ask(running, "one")
        document = await running.conversations.export("talk")
        for copied in (running.conversations.fork("talk", new_id=name), running.conversations.take_in(document, name)):
            with pytest.raises(LLMError, match="an id has up to 128 letters") as refused:
                await copied
            assert refused.value.code is ErrorCode.BAD_REQUEST
        assert [info.conversation_id for info in await running.conversations.list()] == ["talk"]


async def test_who_cannot_have_a_conversation_can_fork_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "BUSY_S", 0.05)
    gate = anyio.Event()

    class Slow(Oracle):
        async def spawn(self, command: Command) -> Child:
            process = await super().spawn(command)
            if len(self.processes) == 2:
                await gate.wait()
            return process

    oracle = Slow(keeps_sessions)
    async with engine(tmp_path, oracle, KEEPS) as running:
        await ask(running, "one")
        second = running.submit(LLMRequest(prompt="two", provider="fake", conversation_id="talk"))
        with anyio.fail_after(60):
            while len(oracle.processes) < 2:  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.01)
            refused = await ask(running, "three", if_busy="fail")
            assert refused.error is not None
            assert "fork the conversation" in (refused.error.next_step or "")
            fork = await running.conversations.fork("talk")
            for change in (running.conversations.reset, running.conversations.delete):
                with pytest.raises(LLMError) as kept:
                    await change("talk")
                assert kept.value.code is ErrorCode.OVERLOADED
                assert "fork" not in (kept.value.info.next_step or "")
            gate.set()
            await second.outcome()
        assert [turn.prompt for turn in (await running.conversations.show(fork))[1]] == ["one"]


async def test_a_turn_for_whose_beginning_there_was_no_room_is_said_to_be_lost_for_that_reason(tmp_path: Path) -> None:
    async with engine(tmp_path, Oracle(keeps_sessions), KEEPS) as running:
        await ask(running, "one")
        async with running.conversations._store() as store:  # pyright: ignore[reportPrivateUsage] - to fill it
            await store.write(_Full())
        call = running.submit(LLMRequest(prompt="long " * 20_000, provider="fake", conversation_id="talk"))
        with anyio.fail_after(60):
            reply = await call.outcome()
    assert (reply.status, reply.text, reply.conversation_id) == ("completed", "answer to long", None)
    [notice] = reply.notices
    assert "full; free some space" in notice
    # Also whoever has read the answer as it came is told.
    assert call.log.events[-1] == Notice(message=notice)


@pytest.mark.parametrize("forget", ["reset", "delete"])
async def test_what_is_forgotten_is_nowhere_any_more(tmp_path: Path, forget: str) -> None:
    async with engine(tmp_path, Oracle(keeps_sessions), KEEPS) as running:
        jobs: dict[str, Job] = {}
        for name in ("other", "talk"):
            asked = LLMRequest(prompt=f"a secret of {name}", provider="fake", conversation_id=name)
            jobs[name] = await running.jobs.start(asked, face="test", scope="test")
            with anyio.fail_after(60):
                await jobs[name].wait()
        # At once, while the end of its job is not written yet.
        await getattr(running.conversations, forget)("talk")
        for there in (running, None):
            async with engine(tmp_path, Oracle(keeps_sessions), KEEPS) if there is None else nullcontext(there) as one:
                assert [info.job_id for info in await one.jobs.listed()] == [jobs["other"].id]
                with pytest.raises(LLMError, match="there is no job"):
                    await one.jobs.find(jobs["talk"].id)
                assert await one.jobs.logs.page(jobs["talk"].id, None, 1) == ([], None)
                with anyio.fail_after(60):
                    assert (await (await one.jobs.find(jobs["other"].id)).wait()).text == "answer to other"


class _Full:
    """As on a full disk, there is room only where there was some in the file."""

    def apply(self, db: sqlite3.Connection, server_id: int) -> None:
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without room for what is written with `Path.open`."""
    opened = Path.open

    def full(path: Path, mode: str, encoding: str) -> IO[str]:
        opened(path, mode).close()
        return opened(Path("/dev/full"), "w", encoding=encoding)

    if not Path("/dev/full").exists():
        pytest.skip("the system has no device that is always full")
    monkeypatch.setattr(Path, "open", full)


@pytest.mark.usefixtures("full")
def test_of_a_document_for_which_there_is_no_room_nothing_stays(tmp_path: Path) -> None:
    file = tmp_path / "talk.md"
    with pytest.raises(OSError, match="No space left on device") as refused:
        conversations.write_whole(file, "what was said")
    assert refused.value.filename == str(file)
    assert not file.exists()


@pytest.mark.usefixtures("full")
def test_a_document_stays_as_it_is_if_there_is_no_room_for_a_new_one(tmp_path: Path) -> None:
    file = tmp_path / "talk.md"
    os.close(os.open(file, os.O_CREAT))
    with pytest.raises(OSError, match="No space left on device") as refused:
        conversations.replace_whole(file, "what was said")
    assert refused.value.filename == str(file)
    assert list(tmp_path.iterdir()) == [file]


def test_a_document_is_replaced_where_a_link_leads(tmp_path: Path) -> None:
    file, link = tmp_path / "talk.md", tmp_path / "link.md"
    file.write_text("what was said", encoding="utf-8")
    link.symlink_to(file)
    conversations.replace_whole(link, "more")
    assert (link.is_symlink(), file.read_text(encoding="utf-8")) == (True, "more")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory") as refused:
        conversations.replace_whole(tmp_path / "folder", "more")
    assert refused.value.filename == str(tmp_path / "folder")
    assert {path.name for path in tmp_path.iterdir()} == {"talk.md", "link.md", "folder"}


@pytest.mark.skipif(os.name == "nt", reason="modes")
def test_a_document_that_is_replaced_is_for_the_same_eyes(tmp_path: Path) -> None:
    file, new, usual = tmp_path / "talk.md", tmp_path / "new.md", tmp_path / "usual"
    for mode in (0o600, 0o666):
        file.touch()
        file.chmod(mode)
        conversations.replace_whole(file, "more")
        assert (stat.S_IMODE(file.stat().st_mode), file.read_text(encoding="utf-8")) == (mode, "more")
    conversations.replace_whole(new, "first")
    usual.touch()
    assert new.stat().st_mode == usual.stat().st_mode


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="the system has no names for open files")
@pytest.mark.parametrize("streams", [Path("/dev/fd"), Path("/proc/self/fd")], ids=str)
def test_a_document_can_go_to_an_open_stream(tmp_path: Path, streams: Path) -> None:
    if not streams.exists():
        pytest.skip("the system has no such names")
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as heard:
        with os.fdopen(writing, "wb"):
            conversations.replace_whole(streams / str(writing), "what was said")
        assert heard.read() == b"what was said"
    with (tmp_path / "redirected").open("w+", encoding="utf-8") as redirected:
        conversations.replace_whole(streams / str(redirected.fileno()), "what was said")
        assert redirected.read() == "what was said"


@pytest.mark.parametrize(
    ("refused", "number"), [("touch", errno.EACCES), ("touch", errno.EROFS), ("replace", errno.EBUSY)]
)
def test_a_document_in_whose_place_nothing_can_be_put_is_written_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str, number: int
) -> None:
    def refuse(*_: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number), "another name")

    file = tmp_path / "talk.md"
    file.write_text("what was said before", encoding="utf-8")
    before = file.stat()
    monkeypatch.setattr(Path, refused, refuse)
    conversations.replace_whole(file, "more")
    assert (file.read_text(encoding="utf-8"), os.path.samestat(file.stat(), before)) == ("more", True)
    assert list(tmp_path.iterdir()) == [file]


def test_a_document_that_cannot_be_written_is_the_only_one_named(tmp_path: Path) -> None:
    (tmp_path / "loop.md").symlink_to(tmp_path / "loop.md")
    (tmp_path / "file").touch()
    for name in ("loop.md", "missing/talk.md", "file/talk.md", "n" * 300):
        with pytest.raises(OSError, match=r"^\[Errno") as refused:
            conversations.replace_whole(tmp_path / name, "more")
        assert str(refused.value).endswith(f": {str(tmp_path / name)!r}")
    assert {path.name for path in tmp_path.iterdir()} == {"loop.md", "file"}


@pytest.mark.parametrize("wrong", ["1e300", "-1e12", "NaN", "Infinity", "1e12"])
async def test_a_document_with_a_time_that_no_calendar_knows_is_not_taken_in(tmp_path: Path, wrong: str) -> None:
    async with engine(tmp_path, Oracle(keeps_sessions), KEEPS) as running:
        await ask(running, "one")
        document = await running.conversations.export("talk")
        for field in ("started_at", "ended_at"):
            broken = re.sub(rf'"{field}": [\d.]+', f'"{field}": {wrong}', document)
            assert broken != document
            with pytest.raises(LLMError, match="turn has a time that cannot be") as refused:
                await running.conversations.take_in(broken, "copy")
            assert refused.value.code is ErrorCode.BAD_REQUEST
        assert [info.conversation_id for info in await running.conversations.list()] == ["talk"]
