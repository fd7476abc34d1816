"""From words to a request."""

import io
import sys
from pathlib import Path

import pytest

from dragoman.cli.question import Question, UsageError

PROVIDERS = ("claude", "llm")


class Piped(io.TextIOWrapper):
    """A stdin that holds some bytes."""

    def __init__(self, content: bytes, *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content), encoding="ascii")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("words", "provider", "prompt"),
    [
        (("why?",), None, "why?"),
        (("claude is a provider",), None, "claude is a provider"),
        (("claude", "why?"), "claude", "why?"),
        (("claude", "llm"), "claude", "llm"),
        (("unknown", "why?"), "unknown", "why?"),
        (("-",), None, "pïped\n"),
        (("claude",), "claude", "pïped\n"),
        ((), None, "pïped\n"),
    ],
)
def test_words_become_provider_and_prompt(
    words: tuple[str, ...], provider: str | None, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Piped("\ufeffpïped\n".encode()))
    request = Question(words).request(PROVIDERS)
    assert (request.provider, request.prompt) == (provider, prompt)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "there is no prompt; give one in quotes, or pipe it in"),
        (("llm",), "'llm' is a provider, and there is no prompt for it; give one in quotes, or pipe it in"),
        (("a", "b", "c"), "3 words are too many; put the prompt in quotes"),
    ],
)
def test_at_a_terminal_a_missing_prompt_is_explained_and_not_waited_for(
    words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Piped(b"", terminal=True))
    with pytest.raises(UsageError) as raised:
        Question(words).request(PROVIDERS)
    assert str(raised.value) == message


def test_options_become_fields_of_the_request() -> None:
    folder = Path("/some/folder")
    question = Question(("llm", "why?"), {"model": "m", "system_prompt": "s", "cwd": folder, "timeouts": {"call": 7}})
    request = question.request(PROVIDERS)
    assert (request.model, request.system_prompt, request.cwd, request.timeouts.call) == ("m", "s", folder, 7)
    assert question.overrides() == {"workspaces": ["/some/folder"]}


def test_without_a_folder_the_workspaces_stay_as_configured() -> None:
    assert Question(("why?",)).overrides() == {}
