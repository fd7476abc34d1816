"""From the words on the command line to a request."""

from __future__ import annotations

import sys
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dragoman.schemas import LLMRequest

STDIN = "-"


class UsageError(Exception):
    """The words on the command line make no question."""


@dataclass(frozen=True, slots=True)
class Question:
    """What was typed after ``ask``."""

    words: tuple[str, ...]
    model: str | None = None
    system: str | None = None
    cwd: Path | None = None
    timeout_s: float | None = None

    def request(self, providers: Container[str]) -> LLMRequest:
        """The request; stdin is read when it holds the prompt.

        Raises:
            UsageError: there is no prompt, or more than one, or it is not text.
            pydantic.ValidationError: a value cannot be used.
        """
        provider, prompt = self._split(providers)
        fields: dict[str, Any] = {
            "provider": provider,
            "prompt": _read_stdin() if prompt == STDIN else prompt,
            "model": self.model,
            "system_prompt": self.system,
            "cwd": self.cwd,
        }
        if self.timeout_s is not None:
            fields["timeouts"] = {"call": self.timeout_s}
        return LLMRequest.model_validate(fields)

    def overrides(self) -> dict[str, Any]:
        """What goes on top of the configuration: a folder that a person types is one they want to be looked at."""
        return {} if self.cwd is None else {"workspaces": [str(self.cwd)]}

    def _split(self, providers: Container[str]) -> tuple[str | None, str]:
        """The provider, if one is named, and the prompt, which may be `STDIN`."""
        match self.words:
            case ():
                return None, _piped("there is no prompt")
            case (word,) if word in providers:
                return word, _piped(f"{word!r} is a provider, and there is no prompt for it")
            case (word,):
                return None, word
            case (provider, prompt):
                return provider, prompt
            case _:
                raise UsageError(f"{len(self.words)} words after ask are too many; put the prompt in quotes")


def _piped(lacking: str) -> str:
    if sys.stdin.isatty():
        raise UsageError(f"{lacking}; give one in quotes, or pipe it in")
    return STDIN


def _read_stdin() -> str:
    content = sys.stdin.buffer.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"stdin is not UTF-8 text: {error.reason} at byte {error.start}") from error
