"""The codex adapter on what codex 0.169.0 wrote: trimmed to the fields that matter, without its ids and addresses."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dragoman.adapters.base import Act, Completed, Done, Emit, Exit, Failed, Outcome, Ready, Stream, Turn, Write
from dragoman.adapters.codex.app_server import AppServerDialogue
from dragoman.schemas import ErrorCode, Retrying, Text, Usage

FOLDER = Path(__file__).with_name("transcripts") / "codex"


@dataclass
class Played:
    """What became of the turns of one transcript."""

    texts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    outcomes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    retries: int = 0
    methods: list[str] = field(default_factory=list[str])

    def take(self, acts: Iterable[Act]) -> bool:
        """Whether the channel has become ready."""
        ready = False
        for act in acts:
            match act:
                case Ready():
                    ready = True
                case Write(data):
                    self.methods.append(json.loads(data)["method"])
                case Emit(turn, Text(text=text)):
                    self.texts.setdefault(turn, []).append(text)
                case Emit(_, Retrying()):
                    self.retries += 1
                case Done(turn, outcome):
                    assert turn not in self.outcomes
                    self.outcomes[turn] = outcome
                case _:
                    pass
        return ready


def play(name: str, *, turns: int = 1, at_once: bool = False) -> Played:
    """The transcript, line by line or all that comes after the handshake in one piece."""
    dialogue, played = AppServerDialogue(), Played()
    lines = (FOLDER / f"{name}.jsonl").read_bytes().splitlines()
    played.take(dialogue.start())
    while not played.take(dialogue.receive(Stream.STDOUT, [lines.pop(0)])):
        pass
    for number in range(turns):
        played.take(dialogue.begin(Turn(f"t{number}", "hello")))
    for frames in [lines] if at_once else [[line] for line in lines]:
        played.take(dialogue.receive(Stream.STDOUT, frames))
    played.take(dialogue.closed(Exit(0)))
    return played


@pytest.mark.parametrize("at_once", [False, True])
def test_an_answer(at_once: bool) -> None:
    played = play("answer", at_once=at_once)
    assert played.texts == {"t0": ["The cap", "ital is", " Paris."]}
    usage = Usage(input_tokens=12, cached_input_tokens=0, output_tokens=3)
    answer = Completed(text="The capital is Paris.", model="gpt-6.1-sol", usage=usage, billing="metered")
    assert played.outcomes == {"t0": answer}
    assert played.methods == [
        *("initialize", "initialized", "account/read", "config/read", "thread/start", "turn/start"),
    ]


def test_two_turns_of_one_process_each_get_their_own_answer() -> None:
    played = play("two-turns", turns=2)
    assert {turn: "".join(texts) for turn, texts in played.texts.items()} == {
        "t0": "The capital is Paris.",
        "t1": "The capital is Paris.",
    }
    assert [type(played.outcomes[turn]) for turn in ("t0", "t1")] == [Completed, Completed]


def test_a_network_that_blocks_websockets_only_costs_time() -> None:
    played = play("websocket-blocked")
    assert played.retries == 4
    outcome = played.outcomes["t0"]
    assert isinstance(outcome, Completed)
    assert outcome.text == "".join(played.texts["t0"]) == "The capital is Paris."


@pytest.mark.parametrize(
    ("name", "code", "retries", "given_up"),
    [
        ("websocket-401", ErrorCode.AUTH, 0, True),
        ("websocket-500-then-https-500", ErrorCode.OVERLOADED, 4, True),
        ("refused-custom-provider", ErrorCode.NETWORK, 0, True),
        ("stream-cut", ErrorCode.NETWORK, 5, False),
        ("usage-limit", ErrorCode.QUOTA, 0, False),
        ("refusal", ErrorCode.MALFORMED_OUTPUT, 0, False),
        ("max-tokens", ErrorCode.OUTPUT_LIMIT, 0, False),
    ],
)
def test_a_failure_is_told_by_its_cause(name: str, code: ErrorCode, retries: int, given_up: bool) -> None:
    played = play(name)
    outcome = played.outcomes["t0"]
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, played.retries) == (code, retries)
    assert ("turn/interrupt" in played.methods) is given_up


def test_a_stream_that_broke_off_begins_each_time_in_a_paragraph_of_its_own() -> None:
    assert "".join(play("stream-cut").texts["t0"]).split("\n\n") == ["Par"] * 6


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.jsonl")), ids=lambda path: path.stem)
def test_a_transcript_that_ends_anywhere_ends_its_turn(path: Path) -> None:
    lines = path.read_bytes().splitlines()
    for length in range(len(lines) + 1):
        dialogue, played, waiting = AppServerDialogue(), Played(), True
        played.take(dialogue.start())
        for line in lines[:length]:
            if played.take(dialogue.receive(Stream.STDOUT, [line])):
                played.take(dialogue.begin(Turn("t0", "hello")))
                waiting = False
        played.take(dialogue.closed(Exit(-9)))
        assert list(played.outcomes) == ([] if waiting else ["t0"])
