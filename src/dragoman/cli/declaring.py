"""What the declarations of commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dragoman.cli.guard import guarded

SHOWN = 20
"""How many lines a list has unless it is told otherwise."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
Limit = Annotated[int, typer.Option("--limit", "-n", metavar="NUMBER", min=1, max=1000, help="At most so many.")]
Page = Annotated[int, typer.Option("--page", metavar="NUMBER", min=1, help="Which page.")]


def examples(*lines: str) -> str:
    """The epilog of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def ended(command: Callable[[], int]) -> None:
    """Run what a command does, and end with its exit code."""
    raise typer.Exit(guarded(command))


def given(timeout: float | None, **fields: object) -> dict[str, object]:
    """The fields of a request for which there was an option."""
    timeouts = None if timeout is None else {"call": timeout}
    return {name: value for name, value in {**fields, "timeouts": timeouts}.items() if value is not None}


def provider_names(incomplete: str) -> list[str]:
    """Completes a provider."""
    from importlib.metadata import entry_points

    return [point.name for point in entry_points(group="dragoman.adapters") if point.name.startswith(incomplete)]


def conversation_ids(incomplete: str) -> list[tuple[str, str]]:
    """Completes a conversation, with how it begins."""
    from dragoman.cli.completing import conversations

    return [(name, title) for name, title in conversations() if name.startswith(incomplete)]


def job_ids(incomplete: str) -> list[tuple[str, str]]:
    """Completes a job, with how its question begins."""
    from dragoman.cli.completing import jobs

    return [(name, prompt) for name, prompt in jobs() if name.startswith(incomplete)]


def folder(name: str) -> Path:
    """The folder of this name. No name is none: a variable that is not set would give away the current folder.

    Raises:
        typer.BadParameter: there is none.
    """
    if not name:
        raise typer.BadParameter("it is empty; name a folder, or leave the option out")
    found = Path(name).resolve()
    if not found.is_dir():
        raise typer.BadParameter(f"there is no folder {name!r}; name one that is there")
    if not os.access(found, os.R_OK):
        raise typer.BadParameter(f"the folder {name!r} cannot be read; name another one")
    return found


Conversation = Annotated[
    str,
    typer.Argument(
        metavar="ID", autocompletion=conversation_ids, help="A conversation, or how its id begins; `list` shows them."
    ),
]
WholeId = Annotated[
    str, typer.Argument(metavar="ID", autocompletion=conversation_ids, help="A conversation, by its whole id.")
]
JobId = Annotated[
    str, typer.Argument(metavar="ID", autocompletion=job_ids, help="A job, or how its id begins; `list` shows them.")
]

Provider = Annotated[
    str | None,
    typer.Argument(
        metavar="PROVIDER", autocompletion=provider_names, help="Who is asked; without it, the first one ready."
    ),
]
Prompt = Annotated[str | None, typer.Argument(metavar="PROMPT", help="The question, in quotes; - reads it from stdin.")]
Validators = Annotated[
    list[str] | None,
    typer.Option(
        "--validator",
        metavar="SPEC",
        help="What the answer must pass, such as json, regex:^ok or length:..200; may be given again.",
    ),
]
MaxAttempts = Annotated[
    int | None,
    typer.Option(metavar="NUMBER", help="How many times to ask for an answer that passes; 3 unless configured."),
]
Model = Annotated[
    str | None, typer.Option("--model", "-m", metavar="MODEL", help="The model, as the provider names it.")
]
System = Annotated[str | None, typer.Option("--system", "-s", metavar="TEXT", help="Instructions above the prompt.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--cwd",
        metavar="DIR",
        parser=folder,
        help="Let the provider look at this folder. Without it, it sees no files.",
    ),
]
ConversationId = Annotated[
    str | None,
    typer.Option(
        "--conversation",
        "-c",
        metavar="ID",
        autocompletion=conversation_ids,
        help="Go on with this conversation, or begin one of this name.",
    ),
]
Last = Annotated[bool, typer.Option("--last", help="Go on with the conversation that was gone on with last.")]
Effort = Annotated[
    str | None, typer.Option(metavar="LEVEL", help="How hard to think, such as low or high, where there are levels.")
]
Temperature = Annotated[float | None, typer.Option(metavar="NUMBER", help="From 0 to 2, where the provider takes one.")]
MaxTokens = Annotated[
    int | None, typer.Option(metavar="NUMBER", help="The longest answer, where the provider takes that.")
]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="Give the call up after this long.")]
