"""The codex adapter, from messages as codex 0.169.0 sends them; no process."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.base import (
    Act,
    Close,
    Completed,
    Dialogue,
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
    Write,
)
from dragoman.adapters.codex import adapter
from dragoman.adapters.codex.app_server import AppServerDialogue
from dragoman.adapters.codex.errors import error_code, error_info
from dragoman.adapters.codex.exec import ExecDialogue
from dragoman.schemas import ErrorCode, Retrying, Text, Thought, Tool, Usage

NEW = Installed(Path("/bin/codex"), (0, 169, 0), "0.169.0")
TURN = Turn("t", "What is the capital of France?")


def say(dialogue: Dialogue, *messages: dict[str, Any]) -> list[Act]:
    return list(dialogue.receive(Stream.STDOUT, [json.dumps(message).encode() for message in messages]))


def sent(acts: Iterable[Act]) -> list[dict[str, Any]]:
    return [json.loads(act.data) for act in acts if isinstance(act, Write)]


def events(acts: Iterable[Act]) -> list[object]:
    return [act.event for act in acts if isinstance(act, Emit)]


def outcome(acts: Iterable[Act]) -> Completed | Failed:
    (done,) = [act for act in acts if isinstance(act, Done)]
    return done.outcome


def failed(acts: Iterable[Act]) -> ErrorCode:
    end = outcome(acts)
    assert isinstance(end, Failed)
    assert end.error.message
    return end.error.code


def note(method: str, thread: str = "th-t", **params: object) -> dict[str, Any]:
    return {"method": method, "params": {"threadId": thread, **params}}


class Server:
    """Plays codex up to the start of a turn."""

    def __init__(self, account: dict[str, Any] | None = None) -> None:
        self.dialogue = AppServerDialogue()
        (initialize,) = sent(self.dialogue.start())
        initialized, account_read = sent(say(self.dialogue, {"id": initialize["id"], "result": {}}))
        assert (initialize["method"], initialized["method"]) == ("initialize", "initialized")
        found = {"account": {"type": "chatgpt"}, "requiresOpenaiAuth": True} if account is None else account
        assert say(self.dialogue, {"id": account_read["id"], "result": found}) == [Ready()]

    def begin(self, turn: Turn = TURN, servers: Iterable[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the thread and the turn were started with."""
        (config,) = sent(self.dialogue.begin(turn))
        assert config["method"] == "config/read"
        known = {name: {"command": "x"} for name in servers}
        (thread,) = sent(say(self.dialogue, {"id": config["id"], "result": {"config": {"mcp_servers": known}}}))
        (start,) = sent(say(self.dialogue, {"id": thread["id"], "result": {"thread": {"id": f"th-{turn.id}"}}}))
        assert say(self.dialogue, {"id": start["id"], "result": {"turn": {"id": f"tu-{turn.id}"}}}) == []
        return thread["params"], start["params"]


def begun() -> AppServerDialogue:
    server = Server()
    server.begin()
    return server.dialogue


MESSAGE = {"type": "agentMessage", "id": "m1", "text": "The capital is Paris."}
COMPLETED = note("turn/completed", turn={"id": "tu-t", "status": "completed", "error": None})


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


@pytest.mark.parametrize(
    ("info", "words", "code"),
    [
        ({"httpConnectionFailed": {"httpStatusCode": 401}}, "", ErrorCode.AUTH),
        ({"httpConnectionFailed": {"httpStatusCode": 403}}, "", ErrorCode.AUTH),
        ({"responseTooManyFailedAttempts": {"httpStatusCode": 429}}, "", ErrorCode.RATE_LIMITED),
        ("rateLimitExceeded", "", ErrorCode.RATE_LIMITED),
        ("usageLimitExceeded", "try again at 3:42 AM", ErrorCode.QUOTA),
        ("internalServerError", "", ErrorCode.OVERLOADED),
        ("serverOverloaded", "", ErrorCode.OVERLOADED),
        ("modelNotFound", "", ErrorCode.BAD_REQUEST),
        ("contextWindowExceeded", "", ErrorCode.CONTEXT_LENGTH),
        ("cyberPolicy", "", ErrorCode.REFUSED),
        (
            {"responseStreamDisconnected": {"httpStatusCode": None}},
            "currently experiencing high demand",
            ErrorCode.OVERLOADED,
        ),
        (
            {"responseStreamDisconnected": {"httpStatusCode": None}},
            "Connection refused (os error 111)",
            ErrorCode.NETWORK,
        ),
        ({"responseStreamDisconnected": {"httpStatusCode": None}}, "what is this", ErrorCode.NETWORK),
        ("other", "Incomplete response returned, reason: max_output_tokens", ErrorCode.OUTPUT_LIMIT),
        ("other", "stream disconnected before completion: x", ErrorCode.NETWORK),
        ("aNewName", "nobody knows", ErrorCode.INTERNAL),
        (None, "", ErrorCode.INTERNAL),
    ],
)
def test_each_failure_gets_its_code(info: object, words: str, code: ErrorCode) -> None:
    assert error_code(info, words) is code
    error = {"message": words, "codexErrorInfo": info, "additionalDetails": None}
    assert failed(say(begun(), note("error", error=error, willRetry=False))) is code
    assert failed(say(begun(), note("turn/completed", turn={"status": "failed", "error": error}))) is code


def retry(number: int, status: int | None, cause: str) -> dict[str, Any]:
    info = {"responseStreamDisconnected": {"httpStatusCode": status}}
    error = {"message": f"Reconnecting... {number}/5", "codexErrorInfo": info, "additionalDetails": cause}
    return note("error", error=error, willRetry=True)


def broken_off(acts: Iterable[Act]) -> int:
    """How many retries were sat through before the turn was given up, and codex told so."""
    acts = list(acts)
    (stop,) = sent(acts)
    assert stop["method"] == "turn/interrupt"
    assert stop["params"] == {"threadId": "th-t", "turnId": "tu-t"}
    return len([event for event in events(acts) if isinstance(event, Retrying)])


REFUSED = "stream disconnected before completion: Connection refused (os error 111)"
BUSY = "We're currently experiencing high demand, which may cause temporary errors."


@pytest.mark.parametrize("first", [1, 2], ids=["over HTTPS", "over a WebSocket"])
@pytest.mark.parametrize(
    ("status", "cause", "code", "sat_through"),
    [
        (401, "unexpected status 401 Unauthorized: x, url: ws", ErrorCode.AUTH, 0),
        (429, "exceeded retry limit, last status: 429 Too Many Requests", ErrorCode.RATE_LIMITED, 0),
        (None, REFUSED, ErrorCode.NETWORK, 1),
        (None, "stream disconnected before completion: failed to lookup address", ErrorCode.NETWORK, 1),
    ],
)
def test_what_another_try_cannot_cure_is_told_at_once(
    first: int, status: int | None, cause: str, code: ErrorCode, sat_through: int
) -> None:
    acts = say(begun(), *(retry(number, status, cause) for number in range(first, first + sat_through + 1)))
    assert failed(acts) is code
    assert broken_off(acts) == sat_through


@pytest.mark.parametrize(
    ("status", "cause", "code"),
    [
        (None, BUSY, ErrorCode.OVERLOADED),
        (502, "unexpected status 502 Bad Gateway: x, url: http://h/v1/responses", ErrorCode.OVERLOADED),
        (403, "unexpected status 403 Forbidden: x, url: http://h/v1/responses", ErrorCode.AUTH),
        (None, "Connection failed: error sending request", ErrorCode.NETWORK),
    ],
)
def test_over_https_a_failed_request_is_told_at_its_first_retry(
    status: int | None, cause: str, code: ErrorCode
) -> None:
    acts = say(begun(), retry(1, status, cause))
    assert failed(acts) is code
    assert broken_off(acts) == 0


@pytest.mark.parametrize("status", [403, 404, 407, 500, 502, 503, None])
def test_a_blocked_websocket_is_sat_through_and_what_https_says_counts(status: int | None) -> None:
    cause = f"unexpected status {status} Blocked, url: ws://h/v1/responses" if status else BUSY
    warning = note("warning", message=f"Falling back from WebSockets to HTTPS transport. {cause}")
    dialogue = begun()
    waiting = say(dialogue, *(retry(number, status, cause) for number in range(2, 6)), warning)
    assert not [act for act in waiting if isinstance(act, Done)]
    answered = say(dialogue, note("item/completed", item=MESSAGE), COMPLETED)
    assert isinstance(outcome(answered), Completed)
    other = begun()
    assert (
        broken_off([*say(other, *(retry(n, status, cause) for n in range(2, 6)), warning, retry(1, None, BUSY))]) == 4
    )


def test_a_message_that_breaks_off_begins_anew_in_its_own_paragraph() -> None:
    broken = retry(1, None, "stream disconnected before completion: stream closed before response.completed")
    piece = note("item/agentMessage/delta", itemId="m1", delta="The cap")
    acts = say(begun(), piece, broken, piece, note("item/completed", item=MESSAGE), COMPLETED)
    assert [event.text for event in events(acts) if isinstance(event, Text)] == ["The cap", "\n\nThe cap"]
    end = outcome(acts)
    assert isinstance(end, Completed)
    assert end.text == "The capital is Paris."


def test_the_body_of_a_refused_request_is_told_by_its_message() -> None:
    body = json.dumps({"error": {"message": "the request is not valid", "code": None}})
    assert error_code("other", body) is ErrorCode.BAD_REQUEST
    assert error_info(ErrorCode.BAD_REQUEST, body).message == "the request is not valid"


def test_an_end_in_mid_turn_says_why_and_an_empty_turn_is_no_answer() -> None:
    dialogue = begun()
    noise = b"\x1b[2m2026-11-21T06:23:11Z\x1b[0m \x1b[31mERROR\x1b[0m codex_app_server: no bubblewrap on PATH"
    list(dialogue.receive(Stream.STDERR, [b"\x1b[31mError\x1b[0m: no space left", noise]))
    end = outcome(dialogue.closed(Exit(1)))
    assert isinstance(end, Failed)
    assert end.error.code is ErrorCode.CRASHED
    assert end.error.message == "codex ended in mid-turn (exit 1): Error: no space left"
    blank = note("item/completed", item={**MESSAGE, "text": " "})
    for nothing in ([COMPLETED], [blank, COMPLETED]):
        assert failed(say(begun(), *nothing)) is ErrorCode.MALFORMED_OUTPUT


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


def test_exec_answers_and_fails_in_its_own_words() -> None:
    dialogue = ExecDialogue()
    assert list(dialogue.start()) == [Ready()]
    assert list(dialogue.begin(TURN)) == [Write(TURN.prompt.encode()), Close()]
    acts = say(
        dialogue,
        {"type": "thread.started", "thread_id": "x"},
        {"type": "item.completed", "item": {"type": "reasoning", "text": "hm"}},
        {"type": "item.started", "item": {"type": "command_execution", "command": "ls"}},
        {"type": "item.completed", "item": {"type": "agent_message", "text": "Paris."}},
        {"type": "turn.completed", "usage": {"input_tokens": 5, "cached_input_tokens": 0, "output_tokens": 2}},
    )
    assert events(acts) == [
        Thought(text="hm"),
        Tool(name="shell", detail="ls", reads_only=True),
        Text(text="Paris."),
    ]
    usage = Usage(input_tokens=5, cached_input_tokens=0, output_tokens=2)
    assert outcome(acts) == Completed(text="Paris.", usage=usage)
    assert list(dialogue.closed(Exit(0))) == []


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "turn.failed", "error": {"message": "unexpected status 401 Unauthorized: x"}}, ErrorCode.AUTH),
        (
            {"type": "turn.failed", "error": {"message": "exceeded retry limit, last status: 429"}},
            ErrorCode.RATE_LIMITED,
        ),
        ({"type": "turn.failed", "error": {"message": "Quota exceeded. Check your plan"}}, ErrorCode.QUOTA),
        ({"type": "error", "message": "Reconnecting... 1/5 (unexpected status 401 Unauthorized)"}, ErrorCode.AUTH),
        ({"type": "turn.completed", "usage": {}}, ErrorCode.MALFORMED_OUTPUT),
    ],
)
def test_exec_failures_get_their_code(message: dict[str, Any], code: ErrorCode) -> None:
    dialogue = ExecDialogue()
    list(dialogue.begin(TURN))
    assert failed(say(dialogue, message)) is code


def test_exec_sits_through_a_blocked_websocket_too() -> None:
    dialogue = ExecDialogue()
    list(dialogue.begin(TURN))
    blocked = "unexpected status 403 Forbidden: x, url: ws://h/v1/responses"
    retries = [{"type": "error", "message": f"Reconnecting... {number}/5 ({blocked})"} for number in range(2, 6)]
    fallen = {"type": "error", "message": f"Falling back from WebSockets to HTTPS transport. {blocked}"}
    waiting = say(dialogue, *retries, {"type": "item.completed", "item": fallen})
    assert events(waiting) == [Retrying(attempt=number, cause=blocked) for number in range(1, 5)]
    over_https = "unexpected status 403 Forbidden: x, url: http://h/v1/responses"
    assert failed(say(dialogue, {"type": "error", "message": f"Reconnecting... 1/5 ({over_https})"})) is ErrorCode.AUTH


def test_exec_that_ends_without_an_event_is_told_by_its_stderr() -> None:
    dialogue = ExecDialogue()
    list(dialogue.begin(TURN))
    list(dialogue.receive(Stream.STDERR, [b"Reading prompt from stdin...", b"Error: input is not valid UTF-8"]))
    assert failed(dialogue.closed(Exit(1))) in (ErrorCode.BAD_REQUEST, ErrorCode.CRASHED)


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
