"""What every adapter of lines of JSON survives: noise, colours, glued and cut lines, strange ends; no process."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.adapters.acp.dialogue import AcpDialogue, Agent
from dragoman.adapters.base import Act, Completed, Dialogue, Done, Emit, Failed, Outcome
from dragoman.adapters.claude import ClaudeDialogue
from dragoman.adapters.codex.app_server import AppServerDialogue
from dragoman.adapters.codex.exec import ExecDialogue
from dragoman.adapters.gemini.headless import HeadlessDialogue
from dragoman.schemas import ErrorCode, Event, Notice, Text
from dragoman.testing.conformance import Move, play

FOLDER = Path(__file__).with_name("transcripts")
ANSWER = "The capital is Par\u2028is."


@dataclass(frozen=True)
class Tool:
    """One adapter's dialogue and all that its tool writes for an answer."""

    dialogue: Callable[[], Dialogue]
    handshake: int
    """So many lines come before it takes a question, or answer a request that has to be made first."""
    lines: Sequence[dict[str, Any]]
    serves: bool = False
    """It stays when a turn has ended."""


def delta(text: str) -> dict[str, Any]:
    event = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}
    return {"type": "stream_event", "event": event}


def recorded(name: str) -> list[dict[str, Any]]:
    words = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").replace("Paris", "Par\\u2028is")
    return [json.loads(line) for line in words.splitlines()]


TOOLS: Mapping[str, Tool] = {
    "claude": Tool(
        ClaudeDialogue,
        0,
        (
            {"type": "system", "subtype": "init", "model": "m", "apiKeySource": "none"},
            *map(delta, ("The cap", "ital is", " Par\u2028is.")),
            {"type": "system", "subtype": "api_retry", "attempt": 1, "retry_delay_ms": 619, "error_status": 529},
            {
                "type": "result",
                "subtype": "success",
                "is_error": False,
                "result": ANSWER,
                "total_cost_usd": 1,
                "usage": {"input_tokens": 12, "output_tokens": 3},
            },
        ),
    ),
    "codex exec": Tool(
        ExecDialogue,
        0,
        (
            {"type": "thread.started", "thread_id": "x"},
            {"type": "item.completed", "item": {"type": "agent_message", "text": ANSWER}},
            {"type": "turn.completed", "usage": {"input_tokens": 12, "output_tokens": 3}},
        ),
    ),
    "codex app-server": Tool(AppServerDialogue, 3, recorded("codex/answer"), serves=True),
    "gemini": Tool(HeadlessDialogue, 0, recorded("gemini/old-answer")),
    "acp": Tool(lambda: AcpDialogue(Agent()), 0, recorded("gemini/answer"), serves=True),
}
every_tool = pytest.mark.parametrize("name", TOOLS)


def spelled(line: object) -> bytes:
    return json.dumps(line, ensure_ascii=False).encode()


SPOILT: Mapping[str, Callable[[Sequence[bytes]], Iterable[bytes]]] = {
    "as it is": lambda lines: (line + b"\n" for line in lines),
    "CRLF": lambda lines: (line + b"\r\n" for line in lines),
    "glued": lambda lines: (b"".join(lines) + b"\n",),
    "glued with blanks": lambda lines: (b" ".join(lines) + b"\n",),
    "a byte order mark": lambda lines: (b"\xef\xbb\xbf" + b"\n".join(lines) + b"\n",),
    "colours": lambda lines: (b"\x1b[2K\x1b[32m" + line + b"\x1b[0m\n" for line in lines),
    "noise on lines of its own": lambda lines: (b"(node:7) Warning {\n\n\xff\xfe\n" + line + b"\n" for line in lines),
    "noise on the same lines": lambda lines: (b"Loading {x} [1/2]: " + line + b" ok\n" for line in lines),
    "noise without JSON's end": lambda lines: (b'{"type": "cut", ' + line + b"\n" for line in lines),
    "unknown events": lambda lines: (
        b'{"type": "zq", "method": "zq", "params": {"x": [{}]}}\n{"type": 7}\n[1]\n"text"\n' + line + b"\n"
        for line in lines
    ),
}


def answered(tool: Tool, output: Iterable[bytes], *, exit_code: int = 0) -> list[Act]:
    """What the dialogue makes of its handshake and then this output."""
    opening = [spelled(line) + b"\n" for line in tool.lines[: tool.handshake]]
    moves: list[Move] = [("out", piece) for piece in (*opening, *output)]
    return play(tool.dialogue(), [*moves, ("exit", exit_code)])


def frames(tool: Tool) -> list[bytes]:
    return [spelled(line) for line in tool.lines[tool.handshake :]]


def events(acts: Iterable[Act]) -> list[Event]:
    return [act.event for act in acts if isinstance(act, Emit)]


def text(acts: Iterable[Act]) -> str:
    return "".join(event.text for event in events(acts) if isinstance(event, Text))


def outcome(acts: Iterable[Act]) -> Outcome:
    [done] = [act for act in acts if isinstance(act, Done)]
    return done.outcome


@every_tool
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_an_answer_comes_through_whatever_stands_around_it(
    name: str, spoil: Callable[[Sequence[bytes]], Iterable[bytes]]
) -> None:
    tool = TOOLS[name]
    acts = answered(tool, spoil(frames(tool)))
    done = outcome(acts)
    assert isinstance(done, Completed)
    assert (done.text, text(acts)) == (ANSWER, ANSWER)


@every_tool
def test_an_answer_cut_between_any_two_bytes_is_the_same(name: str) -> None:
    tool = TOOLS[name]
    output = b"\n".join(frames(tool)) + b"\n"
    acts = answered(tool, (output[at : at + 1] for at in range(len(output))))
    assert (outcome(acts), text(acts)) == (outcome(answered(tool, [output])), ANSWER)


@every_tool
@pytest.mark.parametrize("cut", [0, 1, 20, -1], ids=["missing", "its first byte", "its beginning", "all but its end"])
def test_an_end_that_is_missing_or_cut_is_no_success_and_has_the_text_before_it(name: str, cut: int) -> None:
    tool = TOOLS[name]
    *lines, last = frames(tool)
    while b'"turn/completed"' not in last and name == "codex app-server":
        *lines, last = lines
    acts = answered(tool, [*(line + b"\n" for line in lines), last[:cut]])
    done = outcome(acts)
    assert isinstance(done, Failed)
    # Of a program that ends with its turn, the words may have been lost; one that was to stay has crashed.
    code = ErrorCode.CRASHED if tool.serves else ErrorCode.MALFORMED_OUTPUT
    assert (done.error.code, text(acts)) == (code, ANSWER)


@every_tool
def test_noise_and_unknown_events_are_told_and_end_nothing(name: str) -> None:
    tool = TOOLS[name]
    acts = answered(tool, (b"some words\n" + line + b"\n" for line in frames(tool)))
    told = [event.message for event in events(acts) if isinstance(event, Notice)]
    assert "not understood: some words" in told


@every_tool
@pytest.mark.parametrize("absurd", ["1" + "0" * 400, "1e999", "NaN", "-1"])
def test_an_absurd_number_costs_no_answer(name: str, absurd: str) -> None:
    tool = TOOLS[name]
    spoilt = [
        re.sub(rb'("(?!(?:id|protocolVersion)")\w+": )\d+\b', rb"\g<1>" + absurd.encode(), line)
        for line in frames(tool)
    ]
    assert spoilt != frames(tool)
    acts = answered(tool, (line + b"\n" for line in spoilt))
    done = outcome(acts)
    assert isinstance(done, Completed)
    assert (done.text, text(acts)) == (ANSWER, ANSWER)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@every_tool
@settings(deadline=None)
@given(data=st.data())
def test_no_output_whatever_makes_a_dialogue_raise_or_end_a_turn_twice(name: str, data: st.DataObject) -> None:
    tool = TOOLS[name]
    keys = sorted({key for line in tool.lines for key in _keys(line)})
    known = sorted({value for line in tool.lines for value in _words(line)})
    shaped = st.recursive(
        VALUES | st.sampled_from(known),
        lambda inner: st.dictionaries(st.sampled_from(keys), inner, max_size=6) | st.lists(inner, max_size=2),
        max_leaves=12,
    )
    piece = (
        st.sampled_from(frames(tool)).map(lambda line: line + b"\n")
        | shaped.map(lambda value: json.dumps(value).encode() + b"\n")
        | st.binary(max_size=40)
    )
    acts = answered(tool, data.draw(st.lists(piece, max_size=12)), exit_code=data.draw(st.sampled_from([0, 1, -9])))
    assert len([act for act in acts if isinstance(act, Done)]) == 1


def _keys(value: object) -> Iterable[str]:
    if isinstance(value, dict):
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType] - JSON
            yield str(key)  # pyright: ignore[reportUnknownArgumentType] - JSON
            yield from _keys(inner)  # pyright: ignore[reportUnknownArgumentType] - JSON


def _words(value: object) -> Iterable[str]:
    match value:
        case dict():
            for inner in value.values():  # pyright: ignore[reportUnknownVariableType] - JSON
                yield from _words(inner)  # pyright: ignore[reportUnknownArgumentType] - JSON
        case str() if len(value) < 40:
            yield value
        case _:
            pass
