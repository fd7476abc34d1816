"""Sessions over ACP: any agent's, and gemini's, whose own way of loading them has traps; no process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dragoman.adapters import acp, gemini
from dragoman.adapters.acp.dialogue import AcpDialogue, Agent
from dragoman.adapters.base import (
    FLUSH_S,
    STOP_BY_SIGNAL,
    Act,
    Adapter,
    Close,
    Completed,
    Done,
    Emit,
    Exit,
    Failed,
    Installed,
    Launch,
    Outcome,
    Refused,
    Session,
    Stdout,
    Stream,
    Turn,
    Value,
    Write,
)
from dragoman.adapters.gemini.lean import SETTINGS
from dragoman.schemas import Bound, ErrorCode, Event, Text
from dragoman.testing.conformance import Move, play

FOLDER = Path(__file__).with_name("transcripts") / "gemini"
CAN: dict[str, Any] = {"protocolVersion": 1, "agentCapabilities": {"loadSession": True}}
CANNOT: dict[str, Any] = {"protocolVersion": 1, "agentCapabilities": {}}
END: dict[str, Any] = {"stopReason": "end_turn"}
UNKNOWN: dict[str, Any] = {"jsonrpc": "2.0", "id": 3, "error": {"code": -32601, "message": "Method not found"}}
NEW = Turn("t", "hi", session=Session("ours"), runs_in=Path("/w"))
AGAIN = Turn("t", "hi", session=Session("s1", is_new=False), runs_in=Path("/w"))


def reply(number: int, result: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def failure(number: int, code: int, details: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": "x", "data": {"details": details}}}


def said(text: str, session: str = "s1") -> dict[str, Any]:
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
    return {"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": session, "update": update}}


def talk(turn: Turn, *messages: object, agent: Agent | None = None) -> list[Act]:
    dialogue = AcpDialogue(agent or Agent())
    frames = [json.dumps(message).encode() for message in messages]
    heard = (act for frame in frames for act in dialogue.receive(Stream.STDOUT, [frame]))
    return [*dialogue.start(), *dialogue.begin(turn), *heard]


def asked(acts: Iterable[Act]) -> list[tuple[str, dict[str, Any]]]:
    messages = [json.loads(act.data) for act in acts if isinstance(act, Write)]
    return [(message["method"], message["params"]) for message in messages]


def events(acts: Iterable[Act]) -> list[Event]:
    return [act.event for act in acts if isinstance(act, Emit)]


def outcome(acts: Iterable[Act]) -> Outcome:
    [done] = [act for act in acts if isinstance(act, Done)]
    return done.outcome


def lost(acts: Sequence[Act]) -> bool:
    failed = outcome(acts)
    return isinstance(failed, Failed) and failed.session == "lost"


class TestAnyAgent:
    def test_a_new_session_is_told_as_soon_as_it_has_a_name(self) -> None:
        assert events(talk(NEW, reply(1, CAN), reply(2, {"sessionId": "s1"}))) == [Bound(native_session="s1")]

    def test_one_that_could_not_be_gone_on_with_is_not_told(self) -> None:
        acts = talk(NEW, reply(1, CANNOT), reply(2, {"sessionId": "s1"}), said("Paris"), reply(3, END))
        assert events(acts) == [Text(text="Paris")]

    def test_without_a_session_none_is_told(self) -> None:
        assert events(talk(Turn("t", "hi"), reply(1, CAN), reply(2, {"sessionId": "s1"}))) == []

    def test_it_is_gone_on_with_by_its_name_and_what_was_said_before_is_no_answer(self) -> None:
        late = said("Before.")
        acts = talk(AGAIN, reply(1, CAN), late, reply(2, {}), late, UNKNOWN, said("Paris"), reply(4, END))
        _, (load, params), (fence, _), (prompt, question) = asked(acts)
        assert fence.startswith("_"), "what is not of the protocol"
        assert (load, params) == ("session/load", {"cwd": "/w", "mcpServers": [], "sessionId": "s1"})
        assert (prompt, question["sessionId"]) == ("session/prompt", "s1")
        assert events(acts) == [Bound(native_session="s1"), Text(text="Paris")]
        assert outcome(acts) == Completed(text="Paris")

    def test_the_model_is_chosen_from_what_the_loaded_session_offers(self) -> None:
        turn = Turn("t", "hi", model="m", session=AGAIN.session)
        offered = {"models": {"availableModels": [{"modelId": "m"}]}}
        acts = talk(turn, reply(1, CAN), reply(2, offered), UNKNOWN, reply(4, {}))
        assert [method for method, _ in asked(acts)][3:] == ["session/set_model", "session/prompt"]

    @pytest.mark.parametrize("details", ["No previous sessions found", "anything at all"])
    def test_one_that_is_not_there_is_lost_before_the_model_is_asked(self, details: str) -> None:
        acts = talk(AGAIN, reply(1, CAN), failure(2, -32603, details))
        assert lost(acts)
        assert "session/prompt" not in [method for method, _ in asked(acts)]

    def test_a_login_that_is_missing_is_no_lost_session(self) -> None:
        failed = outcome(talk(AGAIN, reply(1, CAN), failure(2, -32000, "log in")))
        assert isinstance(failed, Failed)
        assert (failed.session, failed.error.code) == (None, ErrorCode.AUTH)

    @pytest.mark.parametrize(
        ("hello", "session"),
        [(CANNOT, Session("s1", is_new=False)), (CAN, Session("s1", is_new=False, fork=True))],
        ids=["cannot load", "cannot copy"],
    )
    def test_what_it_cannot_do_with_sessions_loses_them(self, hello: dict[str, Any], session: Session) -> None:
        acts = talk(Turn("t", "hi", session=session), reply(1, hello))
        assert lost(acts)
        assert [method for method, _ in asked(acts)] == ["initialize"]

    def test_an_interrupt_while_it_is_loaded_ends_the_turn(self) -> None:
        dialogue = AcpDialogue(Agent())
        list(dialogue.start())
        list(dialogue.begin(AGAIN))
        list(dialogue.receive(Stream.STDOUT, [json.dumps(reply(1, CAN)).encode()]))
        assert list(dialogue.interrupt("t") or ()) == []
        later = [json.dumps(message).encode() for message in (reply(2, {}), UNKNOWN)]
        failed = outcome(list(dialogue.receive(Stream.STDOUT, later)))
        assert isinstance(failed, Failed)
        assert failed.error.code is ErrorCode.CANCELLED

    @pytest.mark.parametrize("adapter", [acp.adapter, gemini.adapter], ids=["acp", "gemini"])
    def test_it_may_write_its_session_down(self, adapter: Adapter) -> None:
        assert adapter.plan(NEW, CURRENT).channel.finish_s == FLUSH_S
        assert adapter.plan(Turn("t", "hi"), CURRENT).channel.finish_s < FLUSH_S


CURRENT = Installed(Path("gemini"), (0, 61, 0), "0.61.0")
OLD = Installed(Path("gemini"), (0, 30, 0), "0.30.0")
OURS = "3b241101-e2bb-4255-8caf-4136c566a962"
THEIRS = "08ad5adb-a9eb-4450-878a-d3146e42508c"
KEPT = Session(f"{OURS}/{THEIRS}", is_new=False)


class TestGemini:
    def test_a_session_has_a_home_and_a_folder_of_its_own_that_are_found_again(self) -> None:
        new = adapter_plan(Turn("t", "hi", session=Session(OURS)))
        again = adapter_plan(Turn("t", "hi", session=KEPT))
        assert new.keeps == again.keeps == OURS
        assert adapter_plan(Turn("t", "hi")).keeps is None
        assert settings(again.files)["general"]["sessionRetention"] == {"enabled": False}

    def test_its_name_tells_both(self) -> None:
        acts = self.heard(Turn("t", "hi", session=Session(OURS)), reply(1, CAN), reply(2, {"sessionId": THEIRS}))
        assert events(acts) == [Bound(native_session=KEPT.id)]

    def test_it_is_not_loaded_under_its_plain_name(self) -> None:
        own, turn = f" {THEIRS}", Turn("t", "hi", session=KEPT)
        acts = self.heard(turn, reply(1, CAN), reply(2, {}), UNKNOWN, said("Paris", own), reply(4, END))
        steps = asked(acts)
        assert steps[1][1]["sessionId"] == steps[3][1]["sessionId"] == own
        assert events(acts) == [Bound(native_session=KEPT.id), Text(text="Paris")]

    @pytest.mark.parametrize("name", ["latest", "1", f"../../x/{THEIRS}", OURS, f"{OURS}/latest", f"{OURS}/5", ""])
    def test_only_a_whole_name_is_gone_on_with(self, name: str) -> None:
        with pytest.raises(Refused):
            adapter_plan(Turn("t", "hi", session=Session(name, is_new=False)))

    def test_an_old_version_keeps_none_and_does_not_answer_as_if_it_did(self) -> None:
        launch = adapter_plan(Turn("t", "hi", session=Session(OURS)), OLD)
        assert launch.keeps is None
        with pytest.raises(Refused, match="cannot go on"):
            adapter_plan(Turn("t", "hi", session=KEPT), OLD)

    def test_a_temperature_is_a_setting(self) -> None:
        [override] = settings(adapter_plan(Turn("t", "hi", temperature=0.0)).files)["modelConfigs"]["customOverrides"]
        assert override["modelConfig"] == {"generateContentConfig": {"temperature": 0.0}}
        assert "modelConfigs" not in settings(adapter_plan(Turn("t", "hi")).files)

    @staticmethod
    def heard(turn: Turn, *messages: object) -> list[Act]:
        dialogue = gemini.adapter.dialogue(gemini.adapter.plan(turn, CURRENT))
        moves: list[Move] = [("out", json.dumps(message).encode() + b"\n") for message in messages]
        return play(dialogue, moves, turn)


class TestGeminiAlone:
    """A detached turn: all of it on stdin, the answer into a file."""

    ANSWER = (FOLDER / "old-answer.jsonl").read_bytes()

    @pytest.mark.parametrize(
        ("session", "resumes"), [(Session(OURS), None), (KEPT, Value("--resume=", THEIRS))], ids=["new", "gone on with"]
    )
    def test_it_is_told_everything_at_once_and_keeps_its_session(self, session: Session, resumes: Value | None) -> None:
        turn = Turn("t", "mail bob@x.com", session=session, detached=True)
        launch = adapter_plan(turn)
        assert (launch.stdout, launch.stop, launch.keeps) == (Stdout.FILE, STOP_BY_SIGNAL, OURS)
        assert [word for word in launch.argv if isinstance(word, Value) and "resume" in word.prefix] == (
            [resumes] if resumes else []
        )
        acts = self.heard(turn, {"type": "init", "session_id": THEIRS})
        assert Close() in acts
        assert events(acts)[0] == Bound(native_session=KEPT.id)
        done = outcome(acts)
        assert isinstance(done, Completed)
        assert done.text == "The capital is Paris."

    def test_another_session_than_the_one_asked_for_is_lost(self) -> None:
        acts = self.heard(Turn("t", "hi", session=KEPT, detached=True), {"type": "init", "session_id": OURS})
        assert lost(acts)

    def test_one_that_is_gone_is_lost(self) -> None:
        turn = Turn("t", "hi", session=KEPT, detached=True)
        dialogue = gemini.adapter.dialogue(gemini.adapter.plan(turn, CURRENT))
        words = f'Error resuming session: Invalid session identifier "{THEIRS}".'
        assert lost(play(dialogue, [("err", words.encode() + b"\n"), ("exit", 42)], turn))

    def test_it_may_look_at_a_folder_since_no_name_of_a_file_stays_one(self) -> None:
        turn = Turn("t", "@a \\@b @\\@c", cwd=Path("/project"), detached=True)
        assert Value("--include-directories=", "/project") in adapter_plan(turn).argv
        [prompt] = [act.data for act in self.heard(turn) if isinstance(act, Write)]
        assert prompt == b"\\@a \\@b \\@\\@c"

    def test_what_it_would_cut_off_is_refused(self) -> None:
        with pytest.raises(Refused) as caught:
            adapter_plan(Turn("t", "x" * (gemini.STDIN_BYTES + 1), detached=True))
        assert caught.value.error.code is ErrorCode.PROMPT_TOO_LARGE

    @classmethod
    def heard(cls, turn: Turn, *first: dict[str, Any]) -> list[Act]:
        dialogue = gemini.adapter.dialogue(gemini.adapter.plan(turn, CURRENT))
        head = b"".join(json.dumps(line).encode() + b"\n" for line in first)
        rest = b"".join(line for line in cls.ANSWER.splitlines(keepends=True) if b'"init"' not in line)
        return play(dialogue, [("out", head + rest), ("exit", Exit(0).code)], turn)


def adapter_plan(turn: Turn, found: Installed = CURRENT) -> Launch:
    return gemini.adapter.plan(turn, found).channel


def settings(files: Mapping[str, object]) -> dict[str, Any]:
    content = files[SETTINGS]
    assert isinstance(content, bytes)
    return json.loads(content)
