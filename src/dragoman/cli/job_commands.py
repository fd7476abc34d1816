"""``dragoman jobs …``: the commands with their options and their help."""

from __future__ import annotations

from typing import Annotated

import typer

from dragoman.cli.declaring import SHOWN, AsJson, JobId, Limit, Page, ended, examples

app = typer.Typer(no_args_is_help=True, help="Find calls by their id, whichever Dragoman runs them.")


@app.command("list", epilog=examples("dragoman jobs list", "dragoman jobs list -n 5 --json"))
def list_them(context: typer.Context, limit: Limit = SHOWN, page: Page = 1, as_json: AsJson = False) -> None:
    """List jobs, the newest first."""
    from dragoman.cli.jobs import list_them

    ended(lambda: list_them(context.obj, limit, page, as_json=as_json))


@app.command(epilog=examples("dragoman jobs show 51b2", "dragoman jobs show 51b2 --json"))
def show(context: typer.Context, job: JobId, as_json: AsJson = False) -> None:
    """Show how a job stands now, and its answer as far as it is there. The exit code is 0 for a failed one, too."""
    from dragoman.cli.jobs import show

    ended(lambda: show(context.obj, job, as_json=as_json))


@app.command(epilog=examples("dragoman jobs wait 51b2", "dragoman jobs wait 51b2 --timeout 60 --json"))
def wait(
    context: typer.Context,
    job: JobId,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Give up waiting, with exit code 6, and leave the job alone."),
    ] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")] = False,
) -> None:
    """Wait for a job, print its answer and end as `ask` would have. Ctrl-C gives up the wait, not the job."""
    from dragoman.cli.jobs import wait

    ended(lambda: wait(context.obj, job, timeout, as_json=as_json, quiet=quiet))


@app.command(epilog=examples("dragoman jobs cancel 51b2"))
def cancel(context: typer.Context, job: JobId, as_json: AsJson = False) -> None:
    """End a job and every process it started, wherever it runs. What was answered so far stays."""
    from dragoman.cli.jobs import cancel

    ended(lambda: cancel(context.obj, job, as_json=as_json))


@app.command(epilog=examples("dragoman jobs log 51b2", "dragoman jobs log 51b2 --page 2 --json"))
def log(context: typer.Context, job: JobId, page: Page = 1, as_json: AsJson = False) -> None:
    """Show what happened in a job: tools, notices, retries, tokens. The answer itself is in `show`."""
    from dragoman.cli.jobs import log

    ended(lambda: log(context.obj, job, page, as_json=as_json))
