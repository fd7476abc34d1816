"""A conversation that goes on from call to call, and the tool that shows what is kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from dragoman.server.pages import json_bytes
from dragoman.testing import FakeCli, Liveness
from tests.server.conftest import Connect
from tests.server.results import DONE, answer, failure, structured, texts

pytestmark = pytest.mark.anyio

ECHO = ({"read": "all"}, {"echo_stdin": True, "as": "text", "pick": "prompt"}, DONE)


async def test_a_conversation_goes_on_by_its_id_and_a_call_without_one_knows_nothing(
    connect: Connect, cli: FakeCli
) -> None:
    cli.script(*ECHO)
    async with connect() as client:
        first = await client.call_tool("ask_fake", {"prompt": "My name is Ada."})
        assert answer(first) == ["My name is Ada."]
        conversation_id = structured(first)["conversation_id"]
        second = structured(
            await client.call_tool("ask_fake", {"prompt": "What is it?", "conversation_id": conversation_id})
        )
        assert second["conversation_id"] == conversation_id
        assert "My name is Ada." in second["text"]
        assert second["text"].count("What is it?") == 1
        other = structured(await client.call_tool("ask_fake", {"prompt": "What is it?"}))
        assert (other["text"], other["conversation_id"] != conversation_id) == ("What is it?", True)


async def test_the_caller_may_choose_the_id_and_a_running_call_tells_it(connect: Connect, cli: FakeCli) -> None:
    async with Liveness() as live, connect() as client:
        cli.script(live.connect(), {"wait": "gate"}, *ECHO)
        running = structured(
            await client.call_tool("ask_fake", {"prompt": "hi", "conversation_id": "mine", "max_wait_s": 0})
        )
        assert (running["status"], running["conversation_id"]) == ("running", "mine")
        await live.connected()
        await live.release()
        done = structured(await client.call_tool("job", {"action": "wait", "job_id": running["job_id"]}))
        assert (done["text"], done["conversation_id"]) == ("hi", "mine")


async def test_a_failure_names_its_conversation_too(connect: Connect, cli: FakeCli) -> None:
    cli.script({"read": "all"}, {"line": {"error": {"code": "overloaded", "message": "busy"}}})
    async with connect() as client:
        failed = await client.call_tool("ask_fake", {"prompt": "hi", "conversation_id": "mine"})
    failure(failed)
    assert structured(failed)["conversation_id"] == "mine"
    assert texts(failed)[-1] == "Note: conversation_id mine"


async def test_conversations_are_listed_shown_forked_reset_and_deleted(connect: Connect, cli: FakeCli) -> None:
    cli.script(*ECHO)

    async with connect() as client:

        async def do(action: str, **arguments: object) -> dict[str, Any]:
            return structured(await client.call_tool("conversation", {"action": action, **arguments}))

        assert texts(await client.call_tool("conversation", {"action": "list"})) == ["There are no conversations."]
        for prompt in ("one", "two"):
            await client.call_tool("ask_fake", {"prompt": prompt, "conversation_id": "mine"})
        [listed] = (await do("list"))["conversations"]
        assert (listed["conversation_id"], listed["turn_count"], listed["provider"]) == ("mine", 2, "fake")
        shown = await client.call_tool("conversation", {"action": "show", "conversation_id": "mine"})
        turns = structured(shown)["turns"]
        assert [(turn["number"], turn["prompt"], turn["status"]) for turn in turns] == [
            (1, "one", "completed"),
            (2, "two", "completed"),
        ]
        for said in ("[1] user: one", "[1] fake: one", "[2] user: two"):
            assert said in texts(shown)[0]
        fork = (await do("fork", conversation_id="mine"))["conversation_id"]
        assert (await do("reset", conversation_id="mine"))["conversation_id"] == "mine"
        assert (await do("show", conversation_id="mine"))["turns"] == []
        assert len((await do("show", conversation_id=fork))["turns"]) == 2
        await do("delete", conversation_id="mine")
        gone = failure(await client.call_tool("conversation", {"action": "show", "conversation_id": "mine"}))
        assert (gone["code"], "'mine'" in gone["message"]) == ("not_found", True)


async def test_an_export_is_the_whole_text_or_a_new_file_in_a_workspace(
    connect: Connect, cli: FakeCli, tmp_path: Path
) -> None:
    cli.script(*ECHO)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    async with connect(workspaces=[str(folder)]) as client:
        await client.call_tool("ask_fake", {"prompt": "one", "conversation_id": "mine"})
        export = {"action": "export", "conversation_id": "mine"}
        told = await client.call_tool("conversation", export)
        assert texts(told) == [structured(told)["text"]]
        assert "one" in texts(told)[0]
        for name in ("kept.json", "again.JSON"):
            written = structured(await client.call_tool("conversation", {**export, "path": str(folder / name)}))
            assert written["path"] == str(folder / name)
            assert json.loads((folder / name).read_text("utf-8"))["turns"][0]["prompt"] == "one"
        await client.call_tool("conversation", {**export, "path": str(folder / "kept.md")})
        assert (folder / "kept.md").read_text("utf-8") == texts(told)[0]
        again = failure(await client.call_tool("conversation", {**export, "path": str(folder / "kept.md")}))
        assert (again["code"], "already" in again["message"]) == ("bad_request", True)
        for outside in (str(tmp_path / "kept.md"), str(folder / ".." / "kept.md"), str(folder / "out" / "kept.md")):
            refused = failure(await client.call_tool("conversation", {**export, "path": outside}))
            assert refused["code"] == "policy"
        assert not (tmp_path / "kept.md").exists()
        misplaced = failure(await client.call_tool("conversation", {"action": "list", "path": "x"}))
        assert "takes no 'path'" in misplaced["message"]


async def test_turns_too_long_to_show_are_marked_and_the_export_has_them_in_pages(
    connect: Connect, cli: FakeCli
) -> None:
    cli.script(*ECHO)
    words = " ".join(f"word{number}" for number in range(2000))
    async with connect(server={"answer_bytes": 6000}) as client:
        await client.call_tool("ask_fake", {"prompt": words, "conversation_id": "mine"})
        shown = await client.call_tool("conversation", {"action": "show", "conversation_id": "mine"})
        assert len(json.dumps(structured(shown))) <= 6000
        [turn] = structured(shown)["turns"]
        assert turn["text"].endswith(" […]")
        assert "export has all" in structured(shown)["notices"][0]
        parts, page = list[str](), 1
        while page:
            export = {"action": "export", "conversation_id": "mine", "page": page}
            part = structured(await client.call_tool("conversation", export))
            parts.append(part["text"])
            page = part.get("next_page", 0)
        assert len(parts) > 5
        assert "".join(parts).count(words) == 2


@pytest.mark.parametrize(("mode", "transport"), [("auto", "streamable-http")])
async def test_lists_and_turns_come_in_pages_none_of_which_is_too_large(connect: Connect, cli: FakeCli) -> None:
    cli.script(*ECHO)
    said = [f"{number} {letter * 400}" for number, letter in enumerate("x日🦉\x01x")]
    found: dict[str, list[Any]] = {"list": [], "show": []}
    async with connect(server={"answer_bytes": 2000}) as client:
        for number, prompt in enumerate(said):
            asked = {"prompt": prompt, "system_prompt": "Be brief. " * 300}
            await client.call_tool("ask_fake", {**asked, "conversation_id": f"{number}{'c' * 127}"})
            await client.call_tool("ask_fake", {**asked, "conversation_id": "long"})
        for action in found:
            page = 1
            while page:
                given = {"action": action, "page": page} | ({"conversation_id": "long"} if action == "show" else {})
                told = structured(await client.call_tool("conversation", given))
                assert json_bytes(told) <= 2000
                assert told.get("system_prompt", " […]").endswith(" […]")
                entries = told["conversations" if action == "list" else "turns"]
                assert entries, "a full page is followed by none that is empty"
                found[action] += entries
                page = told.get("next_page", 0)
    assert [each["conversation_id"][0] for each in found["list"]] == ["l", "4", "3", "2", "1", "0"]
    assert [turn["number"] for turn in found["show"]] == [1, 2, 3, 4, 5]
    assert [turn["prompt"].split()[0] for turn in found["show"]] == ["0", "1", "2", "3", "4"]
