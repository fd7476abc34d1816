"""``dragoman conversations …``: the commands with their options and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dragoman.cli.declaring import (
    SHOWN,
    AsJson,
    Conversation,
    Limit,
    Page,
    WholeId,
    conversation_ids,
    ended,
    examples,
    provider_names,
)

app = typer.Typer(no_args_is_help=True, help="Read, search, take along and forget conversations.")


@app.command("list", epilog=examples("dragoman conversations list", "dragoman conversations list -n 5 --json"))
def list_them(
    context: typer.Context,
    limit: Limit = SHOWN,
    page: Page = 1,
    provider: Annotated[
        str | None,
        typer.Option(metavar="PROVIDER", autocompletion=provider_names, help="Only those that it answered last."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List conversations, the one that was gone on with last first."""
    from dragoman.cli.conversations import list_them

    ended(lambda: list_them(context.obj, limit, page, provider, as_json=as_json))


@app.command(epilog=examples("dragoman conversations show c4f1", "dragoman conversations show c4f1 --page 2"))
def show(context: typer.Context, conversation: Conversation, page: Page = 1, as_json: AsJson = False) -> None:
    """Show what was said in a conversation, also in turns that failed. A page has 50 turns."""
    from dragoman.cli.conversations import show

    ended(lambda: show(context.obj, conversation, page, as_json=as_json))


@app.command(epilog=examples("dragoman conversations search retry loop"))
def search(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORD…", help="Words that one turn has, all of them.")],
    limit: Limit = SHOWN,
    as_json: AsJson = False,
) -> None:
    """Find conversations by what was said in them, the newest first."""
    from dragoman.cli.conversations import search

    ended(lambda: search(context.obj, " ".join(words), limit, as_json=as_json))


@app.command(
    epilog=examples(
        "dragoman conversations export c4f1 > talk.md", "dragoman conversations export c4f1 --output talk.json"
    )
)
def export(
    context: typer.Context,
    conversation: Conversation,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="markdown|json", help="Markdown to read, JSON to import; else as FILE is named."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write a new file instead of stdout."),
    ] = None,
) -> None:
    """Write a whole conversation as one document."""
    from dragoman.cli.conversations import export

    ended(lambda: export(context.obj, conversation, form, output))


@app.command("import", epilog=examples("dragoman conversations import talk.json --as talk"))
def import_it(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A JSON document of `export`; - reads it from stdin.")],
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="ID", help="The id of the new conversation; without it, the document's."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a conversation of an exported document. One that is there already is never changed."""
    from dragoman.cli.conversations import import_it

    ended(lambda: import_it(context.obj, file, name, as_json=as_json))


@app.command(
    epilog=examples("dragoman conversations fork c4f1", "dragoman conversations fork c4f1 --upto 3 --as other")
)
def fork(
    context: typer.Context,
    conversation: Conversation,
    upto: Annotated[int | None, typer.Option(metavar="NUMBER", help="Up to this turn; without it, all.")] = None,
    name: Annotated[
        str | None, typer.Option("--as", metavar="ID", help="The id of the copy; without it, one is made.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy a conversation, to go on another way."""
    from dragoman.cli.conversations import fork

    ended(lambda: fork(context.obj, conversation, upto, name, as_json=as_json))


@app.command(epilog=examples("dragoman conversations reset plans"))
def reset(context: typer.Context, conversation: WholeId, as_json: AsJson = False) -> None:
    """Forget every turn of a conversation. Its id and its system prompt stay."""
    from dragoman.cli.conversations import reset

    ended(lambda: reset(context.obj, conversation, as_json=as_json))


@app.command(epilog=examples("dragoman conversations rm plans c4f1a2b3c4d5e6f70"))
def rm(
    context: typer.Context,
    conversations: Annotated[
        list[str],
        typer.Argument(metavar="ID…", autocompletion=conversation_ids, help="Conversations, by their whole ids."),
    ],
    as_json: AsJson = False,
) -> None:
    """Forget conversations. It does not ask whether you are sure; `export` one first to keep it."""
    from dragoman.cli.conversations import remove

    ended(lambda: remove(context.obj, conversations, as_json=as_json))
