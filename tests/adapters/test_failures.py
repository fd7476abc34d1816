"""Of every adapter: whatever a CLI says at its end, the failure has a code of the list and a next step."""

import json
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.adapters.acp import adapter as acp
from dragoman.adapters.acp.dialogue import AcpDialogue, Agent
from dragoman.adapters.acp.errors import explain
from dragoman.adapters.base import Completed, Dialogue, Done, Framing
from dragoman.adapters.claude import ClaudeDialogue
from dragoman.adapters.claude import errors as claude
from dragoman.adapters.codex import errors as codex
from dragoman.adapters.codex.app_server import AppServerDialogue
from dragoman.adapters.codex.exec import ExecDialogue
from dragoman.adapters.gemini import Gemini
from dragoman.adapters.gemini import errors as gemini
from dragoman.adapters.gemini.headless import HeadlessDialogue
from dragoman.adapters.llm import LlmDialogue
from dragoman.adapters.local import LocalDialogue
from dragoman.adapters.registry import load_adapters
from dragoman.schemas import RULES, ErrorCode, ErrorInfo
from dragoman.testing.conformance import play

DIALOGUES: Mapping[str, Callable[[], Dialogue]] = {
    "claude": ClaudeDialogue,
    "codex": AppServerDialogue,
    "codex exec": ExecDialogue,
    "gemini": lambda: AcpDialogue(Gemini(None)),
    "gemini, old": HeadlessDialogue,
    "acp": lambda: AcpDialogue(Agent()),
    "llm": LlmDialogue,
    "local": LocalDialogue,
}
every_dialogue = pytest.mark.parametrize("name", DIALOGUES)
ENDS = st.integers(-64, 255)
WORDS = st.text() | st.sampled_from(
    (
        *("rate limit", "429", "quota", "Not logged in", "error: unknown option '--x'", "Unknown argument: x"),
        *("Error: Error code: 503 - x", "No key found", "Settings file not found", "Aborted!", "prompt is too long"),
        *(
            "Error: unexpected argument '--x' found",
            "Error loading config.toml: x",
            "Traceback (most recent call last):",
        ),
    )
)


def is_whole(error: ErrorInfo) -> bool:
    return error.code in RULES and bool(error.next_step)


@every_dialogue
@settings(deadline=None)
@given(said=st.lists(WORDS, max_size=3), end=ENDS)
def test_however_it_ends_the_failure_is_named_and_has_a_next_step(name: str, said: list[str], end: int) -> None:
    dialogue = DIALOGUES[name]()
    lines = [("err", words.encode("utf-8", "replace") + b"\n") for words in said]
    framing = Framing.RAW if name in ("llm", "local") else Framing.LINES
    acts = play(dialogue, [*lines, ("exit", end)], framing=framing)  # pyright: ignore[reportArgumentType] - pairs of a stream and bytes, or the exit
    outcomes = [act.outcome for act in acts if isinstance(act, Done)]
    for outcome in outcomes:
        assert not isinstance(outcome, Completed)
        assert is_whole(outcome.error)


STATUSES = st.integers(100, 599) | st.none()


@given(STATUSES, WORDS, st.text(max_size=20) | st.sampled_from(("api_error", "max_turns", "aborted_tools")))
def test_whatever_claude_says_of_a_failure_it_has_a_code(status: int | None, words: str, reason: str) -> None:
    line = {"api_error_status": status, "terminal_reason": reason}
    assert is_whole(claude.failure(claude.told_by(line, words), words))


@given(STATUSES, WORDS, st.text(max_size=20) | st.sampled_from(("other", "unauthorized", "badRequest")))
def test_whatever_codex_says_of_a_failure_it_has_a_code(status: int | None, words: str, name: str) -> None:
    for info in (name, {name: {"httpStatusCode": status}}, None, [name]):
        assert is_whole(codex.error_info(codex.error_code(info, words), words))


@given(st.integers(-40_000, 1000) | st.none(), WORDS)
def test_whatever_gemini_or_another_agent_says_of_a_failure_it_has_a_code(number: int | None, words: str) -> None:
    assert is_whole(gemini.failure(number, words))
    body = json.dumps({"error": {"message": words, "code": number, "status": "X"}})
    for message in (words, body):
        assert is_whole(explain("the agent", {"code": number, "message": message}))


def test_every_adapter_of_ours_is_looked_at() -> None:
    ours, _ = load_adapters()
    assert acp in ours.values()
    assert {name.split(",")[0].split()[0] for name in DIALOGUES} == set(ours)


@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        (500, "fetch failed sending request", ErrorCode.NETWORK),
        (500, "models/x is not found for API version v1beta", ErrorCode.BAD_REQUEST),
        (500, "what is this", ErrorCode.OVERLOADED),
        (400, "API key not valid. Please pass a valid API key.", ErrorCode.AUTH),
        (400, "The input token count (9) exceeds the maximum", ErrorCode.CONTEXT_LENGTH),
        (429, "you exceeded your current quota", ErrorCode.QUOTA),
        (-32000, "", ErrorCode.AUTH),
        (-32603, "Rate limit reached", ErrorCode.RATE_LIMITED),
        (None, "", ErrorCode.INTERNAL),
    ],
)
def test_an_error_of_acp_is_told_by_its_number_and_then_its_words(
    number: int | None, words: str, code: ErrorCode
) -> None:
    assert explain("the agent", {"code": number, "message": words}).code is code
    wrapped = {"code": -32603, "message": "Internal error", "data": {"details": words}}
    if words and number in (None, -32603):
        assert explain("the agent", wrapped).code is code
