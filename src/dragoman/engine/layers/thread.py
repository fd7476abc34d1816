"""What was said before in a conversation, as one call carries it, and the words in which it is told again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from dragoman.schemas import Message

Format = Literal["natural", "json"]

_NATURAL = (
    "This conversation is going on. What was said before:\n\n{said}\n\n"
    "That is all that was said before. Now answer the next message:\n\n{prompt}"
)
_JSON = (
    "This conversation is going on. What was said before, as JSON, oldest first:\n\n{said}\n\n"
    "Now answer the next message:\n\n{prompt}"
)
_CAUGHT_UP = "(Meanwhile, in this conversation, another assistant was asked.)\n\n"
_SPEAKERS = {"user": "User", "assistant": "Assistant", "system": "System"}


@dataclass(frozen=True)
class Said:
    """A turn that went well."""

    number: int
    prompt: str
    answer: str

    @property
    def size(self) -> int:
        """Characters."""
        return len(self.prompt) + len(self.answer)

    def messages(self) -> tuple[Message, Message]:
        """The two messages."""
        return Message(role="user", content=self.prompt), Message(role="assistant", content=self.answer)


@dataclass(slots=True)
class Known:
    """A provider's own session of the conversation."""

    native_id: str
    knows: int
    """The number of the last turn that it has seen."""
    native_turn: str | None = None
    """The provider's name for that turn."""
    cwd: str | None = None
    dirty: bool = False
    """It has more than the turns that went well, or others may go on with it: only a copy of it can be gone on with."""


@dataclass(slots=True)
class Thread:
    """See the module. `turns` has the last ones, oldest first; feedback to an answer that did not pass adds to them."""

    conversation_id: str | None = None
    system_prompt: str | None = None
    turns: list[Said] = field(default_factory=list[Said])
    sessions: dict[tuple[str, str], Known] = field(default_factory=dict[tuple[str, str], Known])
    """By provider and account."""
    count: int = 0
    """How many turns went well, with those that are not in `turns`."""

    @property
    def last(self) -> int:
        """The number of the last turn; 0 before the first."""
        return self.turns[-1].number if self.turns else 0

    def lacks(self, number: int) -> bool:
        """Whether turns from that number on went well that are not in `turns`."""
        return self.count > len(self.turns) and bool(self.turns) and self.turns[0].number > number

    def since(self, number: int) -> list[Said]:
        """The turns after number `number`."""
        return [said for said in self.turns if said.number > number]


def recent(turns: Sequence[Said], messages: int, characters: int) -> list[Said]:
    """The last turns of at most so many messages and characters. No turn is split."""
    kept: list[Said] = []
    for said in reversed(turns[max(0, len(turns) - messages // 2) :]):
        characters -= said.size
        if characters < 0:
            break
        kept.append(said)
    return kept[::-1]


def told_again(turns: Sequence[Said], prompt: str, form: Format, *, caught_up: bool = False) -> str:
    """A prompt that has these turns before it. `caught_up`: whoever reads it knows those before them."""
    if not turns:
        return prompt
    messages = [message for said in turns for message in said.messages()]
    if form == "json":
        said = json.dumps([{"role": each.role, "content": each.content} for each in messages], ensure_ascii=False)
        words = _JSON.format(said=said, prompt=prompt)
    else:
        said = "\n\n".join(f"{_SPEAKERS[each.role]}: {each.content}" for each in messages)
        words = _NATURAL.format(said=said, prompt=prompt)
    return f"{_CAUGHT_UP}{words}" if caught_up else words
