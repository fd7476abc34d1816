"""The codex adapter, from messages as codex 0.169.0 sends them; no process."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.base import (
    Completed,
    Done,
    Emit,
    Exit,
    Failed,
    Installed,
    Poison,
    PrivateFile,
    Ready,
    Refused,
    Stream,
    Turn,
    Value,
)
from dragoman.adapters.codex import adapter
from dragoman.adapters.codex.app_server import AppServerDialogue
from dragoman.adapters.codex.exec import ExecDialogue
from dragoman.schemas import ErrorCode, Text, Thought, Tool, Usage
from tests.adapters.codex_server import (
    COMPLETED,
    MESSAGE,
    NEW,
    TURN,
    Server,
    begun,
    events,
    failed,
    note,
    outcome,
    say,
    sent,
)


def test_a_question_is_streamed_and_ends_with_its_tokens() -> None:
    total = {"inputTokens": 12, "cachedInputTokens": 2, "outputTokens": 3}
    acts = say(
        begun(),
        note("item/agentMessage/delta", itemId="m1", delta="The capital"),
        note("item/agentMessage/delta", itemId="m1", delta=" is Paris."),
        note("item/completed", item=MESSAGE),
        note("thread/tokenUsage/updated", tokenUsage={"total": total}),
        COMPLETED,
    )
    usage = Usage(input_tokens=12, cached_input_tokens=2, output_tokens=3)
    assert events(acts) == [Text(text="The capital"), Text(text=" is Paris."), usage]
    assert outcome(acts) == Completed(text="The capital is Paris.", usage=usage, billing="subscription")


def test_the_turn_is_held_to_reading_and_starts_none_of_the_users_servers() -> None:
    thread, turn = Server().begin(Turn("t", "hi", system="Be brief.", model="gpt"), ["a", "odd.name x"])
    assert (thread["sandbox"], thread["approvalPolicy"], thread["ephemeral"]) == ("read-only", "never", True)
    assert thread["config"] == {
        "mcp_servers": {"a": {"enabled": False}, "odd.name x": {"enabled": False}},
        "projects": {},
    }
    assert (thread["baseInstructions"], thread["model"]) == ("Be brief.", "gpt")
    assert turn["input"] == [{"type": "text", "text": "hi"}]
    looking, _ = Server().begin(Turn("t", "hi", system="Be brief.", cwd=Path("/p")))
    assert (looking["cwd"], looking["developerInstructions"]) == ("/p", "Be brief.")
    untrusted = {"trust_level": "untrusted"}
    assert looking["config"]["projects"] == {"/p": untrusted, "/": untrusted}
    assert "baseInstructions" not in looking


def test_several_turns_share_a_channel_without_mixing() -> None:
    server = Server()
    server.begin(Turn("a", "first"))
    server.begin(Turn("b", "second"))
    acts = say(
        server.dialogue,
        note("item/agentMessage/delta", "th-b", itemId="m", delta="B"),
        note("item/agentMessage/delta", "th-a", itemId="m", delta="A"),
        note("turn/completed", "th-b", turn={"status": "completed"}),
    )
    assert [act.turn for act in acts if isinstance(act, (Emit, Done))] == ["b", "a", "b"]
    assert [act.turn for act in server.dialogue.closed(Exit(1)) if isinstance(act, Done)] == ["a"]


def test_a_second_message_begins_a_paragraph_and_the_last_one_is_the_answer() -> None:
    acts = say(
        begun(),
        note("item/agentMessage/delta", itemId="m0", delta="I look."),
        note("item/completed", item={"type": "agentMessage", "id": "m0", "text": "I look."}),
        note("item/started", item={"type": "commandExecution", "command": "ls"}),
        note("item/reasoning/summaryTextDelta", delta="hm"),
        note("item/completed", item=MESSAGE),
        COMPLETED,
    )
    assert events(acts) == [
        Text(text="I look."),
        Tool(name="shell", detail="ls", reads_only=True),
        Thought(text="hm"),
        Text(text="\n\nThe capital is Paris."),
    ]
    end = outcome(acts)
    assert isinstance(end, Completed)
    assert end.text == "The capital is Paris."


def test_nobody_logged_in_is_known_before_anything_is_asked() -> None:
    server = Server({"account": None, "requiresOpenaiAuth": True})
    assert failed(server.dialogue.begin(TURN)) is ErrorCode.AUTH
    assert sent(Server({"account": None, "requiresOpenaiAuth": False}).dialogue.begin(TURN))


def test_requests_of_codex_are_refused_so_that_nothing_waits() -> None:
    (reply,) = sent(say(begun(), {"id": 0, "method": "item/commandExecution/requestApproval", "params": {}}))
    assert reply["id"] == 0
    assert reply["error"]["code"] == -32601


def test_a_configuration_that_is_not_told_starts_nothing() -> None:
    server = Server()
    (config,) = sent(server.dialogue.begin(TURN))
    error = {"id": config["id"], "error": {"code": -32600, "message": "no"}}
    assert failed(say(server.dialogue, error)) is ErrorCode.POLICY


def test_an_interrupt_names_the_turn_and_one_that_is_over_needs_none() -> None:
    dialogue = begun()
    (interrupt,) = sent(dialogue.interrupt("t") or ())
    assert interrupt["params"] == {"threadId": "th-t", "turnId": "tu-t"}
    assert failed(say(dialogue, note("turn/completed", turn={"status": "interrupted"}))) is ErrorCode.CANCELLED
    assert dialogue.interrupt("t") == ()


def test_an_interrupt_before_the_thread_has_a_name_starts_nothing_more() -> None:
    server = Server()
    (config,) = sent(server.dialogue.begin(TURN))
    assert server.dialogue.interrupt("t") == ()
    acts = say(server.dialogue, {"id": config["id"], "result": {"config": {}}})
    assert failed(acts) is ErrorCode.CANCELLED
    assert sent(acts) == []


def test_an_interrupt_before_the_turn_has_a_name_waits_for_it() -> None:
    server = Server()
    (config,) = sent(server.dialogue.begin(TURN))
    (thread,) = sent(say(server.dialogue, {"id": config["id"], "result": {"config": {}}}))
    (start,) = sent(say(server.dialogue, {"id": thread["id"], "result": {"thread": {"id": "th-t"}}}))
    assert server.dialogue.interrupt("t") == ()
    (interrupt,) = sent(say(server.dialogue, {"id": start["id"], "result": {"turn": {"id": "tu-t"}}}))
    assert interrupt["params"] == {"threadId": "th-t", "turnId": "tu-t"}


def test_a_late_refusal_of_a_turn_that_is_over_ends_no_other() -> None:
    server = Server()
    server.begin(Turn("u", "other"))
    (config,) = sent(server.dialogue.begin(TURN))
    (thread,) = sent(say(server.dialogue, {"id": config["id"], "result": {"config": {}}}))
    (start,) = sent(say(server.dialogue, {"id": thread["id"], "result": {"thread": {"id": "th-t"}}}))
    error = {"message": "x", "codexErrorInfo": "serverOverloaded"}
    assert failed(say(server.dialogue, note("error", error=error, willRetry=False))) is ErrorCode.OVERLOADED
    assert say(server.dialogue, {"id": start["id"], "error": {"message": "late"}}) == []
    assert [act.turn for act in server.dialogue.closed(Exit(0)) if isinstance(act, Done)] == ["u"]


def test_a_handshake_that_is_refused_fails_the_turn_and_does_not_let_it_wait() -> None:
    dialogue = AppServerDialogue()
    (initialize,) = sent(dialogue.start())
    acts = say(dialogue, {"id": initialize["id"], "error": {"code": -32600, "message": "no such client"}})
    assert [type(act) for act in acts] == [Poison, Ready]
    end = outcome(dialogue.begin(TURN))
    assert isinstance(end, Failed)
    assert "no such client" in end.error.message


def test_the_model_that_codex_chose_is_told() -> None:
    server = Server()
    (config,) = sent(server.dialogue.begin(TURN))
    (thread,) = sent(say(server.dialogue, {"id": config["id"], "result": {"config": {}}}))
    say(server.dialogue, {"id": thread["id"], "result": {"thread": {"id": "th-t"}, "model": "gpt-x"}})
    end = outcome(say(server.dialogue, note("item/completed", item=MESSAGE), COMPLETED))
    assert isinstance(end, Completed)
    assert end.model == "gpt-x"


def words_of(turn: Turn, found: Installed) -> list[str]:
    return [word for word in adapter.plan(turn, found).channel.argv if isinstance(word, str)]


def test_the_transport_follows_the_version_and_the_login() -> None:
    for found in (NEW, Installed(Path("/bin/codex"))):
        assert "app-server" in words_of(TURN, found)
    for found in (
        Installed(Path("/bin/codex"), (0, 150, 0), "0.150.0"),
        Installed(Path("/bin/codex"), (0, 169, 0), environment=frozenset({"CODEX_API_KEY"})),
    ):
        argv = words_of(TURN, found)
        assert argv[argv.index("-s") + 1] == "read-only"
        assert {"exec", "--json", "--skip-git-repo-check", "--ephemeral", "--ignore-user-config"} <= set(argv)
        assert argv[-1] == "-"


def test_a_plain_question_has_no_shell_and_shares_its_process_and_a_look_does_neither() -> None:
    looking = Turn("t", "hi", cwd=Path("/p"))
    assert "features.shell_tool=false" in words_of(TURN, NEW)
    assert "features.shell_tool=false" not in words_of(looking, NEW)
    assert 'shell_environment_policy.inherit="core"' in words_of(looking, NEW)
    assert (adapter.plan(TURN, NEW).capacity, adapter.plan(looking, NEW).capacity) == (None, 1)
    assert adapter.plan(TURN, NEW).host_key == adapter.plan(Turn("u", "other"), NEW).host_key


def test_nothing_a_caller_wrote_stands_in_the_arguments_but_the_model() -> None:
    old = Installed(Path("/bin/codex"), (0, 150, 0), "0.150.0")
    turn = Turn("t", "PROMPT", system="SYSTEM", model="gpt")
    argv = adapter.plan(turn, old).channel.argv
    assert Value("--model=", "gpt") in argv
    assert PrivateFile("model_instructions_file=", "system.txt", b"SYSTEM") in argv
    assert not any("PROMPT" in word or "SYSTEM" in word for word in words_of(turn, old) + words_of(turn, NEW))


def test_a_prompt_over_its_limit_is_refused_before_anything_starts() -> None:
    with pytest.raises(Refused) as caught:
        adapter.plan(Turn("t", "x" * 1_048_577), NEW)
    assert caught.value.error.code is ErrorCode.PROMPT_TOO_LARGE


def test_the_login_is_what_the_cli_says() -> None:
    assert adapter.logged_in(0, "Logged in using ChatGPT", "") is True
    assert adapter.logged_in(1, "", "Not logged in") is False
    assert adapter.logged_in(2, "", "unknown command") is None


NAMES = ["method", "params", "id", "result", "error", "item", "type", "turn", "threadId", "delta", "itemId", "usage"]
VALUES = ["th-t", "error", "item/completed", "turn/completed", "agentMessage", "turn.completed", "item.completed"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5) | st.sampled_from(VALUES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=20,
)


@given(st.lists(st.binary(max_size=20) | JSON.map(lambda value: json.dumps(value).encode()), min_size=1))
def test_whatever_comes_nothing_is_raised(frames: list[bytes]) -> None:
    exec_dialogue = ExecDialogue()
    list(exec_dialogue.begin(TURN))
    for dialogue in (begun(), exec_dialogue):
        list(dialogue.receive(Stream.STDOUT, frames))
        list(dialogue.receive(Stream.STDERR, frames))
        list(dialogue.closed(Exit(1)))
