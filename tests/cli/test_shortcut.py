"""A plain `serve` is read without the parser, and read as the parser reads it."""

from collections.abc import Sequence
from dataclasses import fields

import pytest
import typer.main

from dragoman.cli import main, serving, shortcut
from dragoman.cli.app import app
from dragoman.cli.common import Common, Transport

PLAIN = [
    ["serve"],
    ["--config", "a.toml", "--config=b.toml", "--log-json", "--log-level=debug", "serve"],
    ["serve", "--transport", "stdio", "--host=::1", "--port", "80"],
    ["--log-level", "info", "serve", "--port=0"],
    ["serve", "--host", "--port"],
]
NOT_PLAIN = [
    [],
    ["ask", "serve"],
    ["serve", "--help"],
    ["serve", "more"],
    ["serve", "--port"],
    ["serve", "--log-json"],
    ["--log-json=yes", "serve"],
    ["--log_json", "serve"],
    ["-", "serve"],
    ["--", "serve"],
    ["--version"],
]


def leave_it(words: Sequence[str]) -> None:
    """Read nothing."""


@pytest.mark.parametrize("words", PLAIN, ids=" ".join)
def test_a_plain_serve_means_the_same_with_and_without_the_parser(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[tuple[Common, Transport]] = []

    def serve(common: Common, transport: Transport) -> int:
        served.append((common, transport))
        return 0

    monkeypatch.setattr(serving, "serve", serve)
    assert main(words) == 0
    monkeypatch.setattr(shortcut, "read", leave_it)
    assert main(words) == 0
    assert served[0] == served[1]


@pytest.mark.parametrize("words", NOT_PLAIN, ids=" ".join)
def test_everything_else_is_left_to_the_parser(words: list[str]) -> None:
    assert shortcut.read(words) is None


def test_the_shortcut_knows_exactly_the_options_of_the_parser() -> None:
    root = typer.main.get_group(app)
    serve = root.commands["serve"]
    own = {"install_completion", "show_completion", "version", "help"}
    assert {field.name for field in fields(Common)} == {parameter.name for parameter in root.params} - own
    assert {field.name for field in fields(Transport)} == {parameter.name for parameter in serve.params}
