"""Fake processes that answer what they are asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from dragoman.testing import FakeProcess
from tests.engine.virtual import FakeSpawner, line

Question = dict[str, Any]


class Oracle(FakeSpawner):
    """Each process answers its question with the lines that `answer` gives; `asked` has the questions."""

    def __init__(self, answer: Callable[[Question], bytes]) -> None:
        self.asked: list[Question] = []
        self._answer = answer
        super().__init__(lambda: _Answering(self))

    def ask(self, question: Question) -> bytes:
        self.asked.append(question)
        return self._answer(question)


class _Answering(FakeProcess):
    def __init__(self, oracle: Oracle) -> None:
        super().__init__()
        self._oracle = oracle

    def close_stdin(self) -> None:
        if self.written:
            self.feed(self._oracle.ask(json.loads(self.written)))
            self.exit(0)
        super().close_stdin()


def keeps_sessions(question: Question) -> bytes:
    """An answer of a CLI that keeps sessions. A copy has its source's name with a plus, a turn that of its prompt."""
    session = question.get("session")
    if session is None:
        return line(text="PLAIN") + line(done={})
    name = session["id"] + "+" if session["fork"] else session["id"]
    turn = question["prompt"].split()[-1]
    return line(bound=name, turn=turn) + line(text=f"answer to {turn}") + line(done={})
