"""From the words on the command line to a request."""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dragoman.schemas import LLMRequest

STDIN = "-"
MAX_PATH = 1000
"""Characters; what is longer is no file's name."""


class UsageError(Exception):
    """The words on the command line make no question."""


@dataclass(frozen=True)
class Question:
    """What was typed after ``ask``. `options` are fields of the request; `last`: in the newest conversation."""

    words: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    last: bool = False

    def request(self, providers: Container[str]) -> LLMRequest:
        """The request; stdin is read when it holds the prompt.

        Raises:
            UsageError: there is no prompt, or more than one, or it is not text, or it has two conversations.
            pydantic.ValidationError: a value cannot be used.
        """
        one_conversation(self.options, last=self.last)
        provider, prompt = self._split(providers)
        text = _read_stdin() if prompt == STDIN else prompt
        return LLMRequest.model_validate({"provider": provider, "prompt": text, **self.options})

    def overrides(self) -> dict[str, Any]:
        """What goes on top of the configuration."""
        return shown_folder(self.options)

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
                raise UsageError(f"{len(self.words)} words are too many; put the prompt in quotes")


def one_conversation(options: Mapping[str, Any], *, last: bool) -> None:
    """Check that there is at most one way to say which conversation it is.

    Raises:
        UsageError: there are two.
    """
    if last and "conversation_id" in options:
        raise UsageError("--last and --conversation name two conversations; give one of them")


def shown_folder(options: Mapping[str, Any]) -> dict[str, Any]:
    """The layer of the configuration for a folder that a person types: it is one they want to be looked at."""
    return {"workspaces": [str(options["cwd"])]} if "cwd" in options else {}


def read_schema(schema: str) -> str:
    """The schema that was typed, or the content of the file that it names.

    Raises:
        UsageError: that file is not there, or cannot be read as text.
    """
    if len(schema) > MAX_PATH or any(mark in schema for mark in "{\n"):
        return schema
    file = Path(schema)
    looks_like_a_file = not any(mark in schema for mark in " ,") and (file.suffix or os.sep in schema)
    if not looks_like_a_file and not file.is_file():
        return schema
    try:
        return file.read_text("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"--schema: there is no file {schema!r}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--schema: {schema!r} cannot be read: {error}") from error


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
