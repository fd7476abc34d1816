"""``docs/cli.md`` names everything there is."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.core
import typer.main

from dragoman.cli.app import app
from dragoman.cli.exits import explain

PAGE = Path(__file__).parents[2].joinpath("docs", "cli.md").read_text(encoding="utf-8")


def commands(group: typer.core.TyperGroup, name: str) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every command by its whole name, groups left out."""
    for word, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, f"{name} {word}")
        elif isinstance(command, typer.core.TyperCommand):
            yield f"{name} {word}", command


def tree() -> dict[str, typer.core.TyperCommand | typer.core.TyperGroup]:
    root = typer.main.get_group(app)
    return {"dragoman": root, **dict(commands(root, "dragoman"))}


TREE = tree()


@pytest.mark.parametrize("name", [name for name in TREE if name != "dragoman"])
def test_every_command_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE or f"`{name} " in PAGE


@pytest.mark.parametrize("name", TREE)
def test_every_option_is_on_the_page(name: str) -> None:
    spellings = [spelling for option in TREE[name].params for spelling in option.opts if spelling.startswith("-")]
    assert [spelling for spelling in spellings if spelling not in PAGE] == []


@pytest.mark.parametrize("name", TREE)
def test_every_command_has_help_and_an_example(name: str) -> None:
    command = TREE[name]
    assert command.help
    assert name == "dragoman" or name in (command.epilog or "")
    assert all(option.help for option in command.params if isinstance(option, typer.core.TyperOption))


def test_every_exit_code_is_on_the_page_with_what_it_means() -> None:
    for code, meaning in explain():
        assert f"| {code} | {meaning}" in PAGE
