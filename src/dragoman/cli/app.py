"""Every command with its options and its help. What a command does is in the module it names."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dragoman import __version__
from dragoman.cli import asking_commands, conversation_commands, job_commands
from dragoman.cli.common import Common, Transport
from dragoman.cli.declaring import AsJson, ended, examples
from dragoman.cli.exits import explain
from dragoman.cli.output import say, utf8

PROGRAM = "dragoman"


def run(words: Sequence[str]) -> int:
    """Parse and run a command; its exit code."""
    utf8()
    try:
        app(list(words), prog_name=PROGRAM)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except OSError as error:
        # Help that could not be written, which no command is in charge of.
        from dragoman.cli.guard import failed

        return failed(error)
    return 0


def _exit_codes() -> str:
    return "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in explain())


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"{PROGRAM} {__version__}")
        raise typer.Exit


# Boxes and colours are for people; help that is piped is plain.
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich" if sys.stdout.isatty() and sys.stderr.isatty() else None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(no_args_is_help=True, help="Show the configuration and where it comes from.")
app.add_typer(conversation_commands.app, name="conversations")
app.add_typer(job_commands.app, name="jobs")
app.add_typer(config_app, name="config")


@app.callback(epilog=_exit_codes())
def root(
    context: typer.Context,
    config: Annotated[
        list[str] | None,
        typer.Option("--config", metavar="FILE", help="Read this configuration file too; may be given again."),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="What to log on stderr: debug, info, warning, error …")
    ] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log one JSON object a line.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Ask the LLM command-line tools you already have, here or as tools of an MCP client."""
    context.obj = Common(tuple(config or ()), log_level, log_json)


# Further words are taken too, to say that quotes are missing.
_ASKING = {"allow_extra_args": True}
app.command(context_settings=_ASKING, epilog=asking_commands.ASK_EXAMPLES)(asking_commands.ask)
app.command(context_settings=_ASKING, epilog=asking_commands.QUERY_EXAMPLES)(asking_commands.query)
app.command(epilog=asking_commands.CHAT_EXAMPLES)(asking_commands.chat)


@app.command(epilog=examples("dragoman many questions.jsonl", "dragoman many questions.jsonl --retry-failed"))
def many(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The questions; - reads them from stdin."),
    ],
    answers: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The answers; FILE.answers.jsonl beside the questions."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many at once; never more than is configured.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.001, help="Stop after this long. Run it again to go on.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask those again, too, whose answer is a failure.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Ask every question of a file and write down the answers.

    Both files have a JSON object in each line. A question has a prompt, and may have id, provider, model,
    system_prompt, schema, timeout_s and more. Stopped or killed, it goes on where it was when it is run again.
    """
    from dragoman.cli.many import Batch, many

    batch = Batch(file, answers, concurrency, timeout, retry_failed, as_json)
    ended(lambda: many(context.obj, batch))


@app.command(epilog=examples("dragoman providers", "dragoman providers --deep --json"))
def providers(
    context: typer.Context,
    as_json: AsJson = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Run each one to learn its version and check its login.")
    ] = False,
) -> None:
    """List every provider: whether it can answer, and why not.

    It also tells what to do about it.
    """
    from dragoman.cli.providers import providers

    ended(lambda: providers(context.obj, as_json=as_json, deep=deep))


@app.command(epilog=examples("dragoman doctor", "dragoman doctor --deep"))
def doctor(
    context: typer.Context,
    as_json: AsJson = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Ask each ready provider for one word as well. This uses tokens.")
    ] = False,
) -> None:
    """Check every provider, the configuration and this machine. Exit code 0 when a provider can answer, else 1."""
    from dragoman.cli.doctor import doctor

    ended(lambda: doctor(context.obj, as_json=as_json, deep=deep))


@app.command(epilog=examples("dragoman serve", "dragoman serve --transport streamable-http --port 0"))
def serve(
    context: typer.Context,
    transport: Annotated[
        str | None, typer.Option(metavar="stdio|sse|streamable-http", help="How clients connect; stdio is the default.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help="The address to listen on; of this machine only.")
    ] = None,
    port: Annotated[str | None, typer.Option(metavar="PORT", help="The port to listen on; 0: any free one.")] = None,
) -> None:
    """Run the MCP server. MCP clients start this by themselves; register it with them once."""
    from dragoman.cli.serving import serve

    ended(lambda: serve(context.obj, Transport(transport, host, port)))


@app.command(epilog=examples("dragoman stats", "dragoman stats --since 7d --json"))
def stats(
    context: typer.Context,
    as_json: AsJson = False,
    since: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only calls not older than this, such as 90m, 12h or 7d.")
    ] = None,
) -> None:
    """Show calls, failures, times and tokens by provider."""
    from dragoman.cli.stats import stats

    ended(lambda: stats(context.obj, as_json=as_json, since=since))


def _client_names(incomplete: str) -> list[str]:
    from dragoman.clients import CLIENTS

    return [name for name in CLIENTS if name.startswith(incomplete)]


ClientName = Annotated[
    str,
    typer.Argument(
        metavar="CLIENT",
        autocompletion=_client_names,
        help="claude-code, claude-desktop, codex, cursor, gemini, vscode, windsurf or zed.",
    ),
]
ServerName = Annotated[str, typer.Option("--name", metavar="NAME", help="What the client calls the server.")]
InProject = Annotated[
    bool, typer.Option("--project", help="In the current folder's configuration instead of your own.")
]
Show = Annotated[bool, typer.Option("--print", help="Print what the file would be, and write nothing.")]


@app.command(epilog=examples("dragoman install claude-code", "dragoman install codex --print"))
def install(
    client: ClientName,
    name: ServerName = PROGRAM,
    project: InProject = False,
    show: Show = False,
    as_json: AsJson = False,
) -> None:
    """Register Dragoman with an MCP client. Comments and everything else in its file stay; the old file is kept."""
    from dragoman.cli.setup import Asked, install

    ended(lambda: install(Asked(client, name, project, show, as_json)))


@app.command(epilog=examples("dragoman uninstall claude-code"))
def uninstall(
    client: ClientName,
    name: ServerName = PROGRAM,
    project: InProject = False,
    show: Show = False,
    as_json: AsJson = False,
) -> None:
    """Take Dragoman out of an MCP client's configuration. Nothing else in its file changes."""
    from dragoman.cli.setup import Asked, uninstall

    ended(lambda: uninstall(Asked(client, name, project, show, as_json)))


@config_app.command("show", epilog=examples("dragoman config show", "dragoman --config my.toml config show --json"))
def config_show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show every value in force and where it came from. Values that may be secrets are masked."""
    from dragoman.cli.settings import show

    ended(lambda: show(context.obj, as_json=as_json))


@config_app.command("path", epilog=examples('$EDITOR "$(dragoman config path)"'))
def config_path() -> None:
    """Print the path of your own configuration file. It need not exist."""
    from dragoman.cli.settings import path

    ended(path)


@app.command(epilog=examples("dragoman trust dragoman.toml", "dragoman trust --remove dragoman.toml"))
def trust(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A project's configuration file.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take the trust back.")] = False,
) -> None:
    """Let a project's file run programs and widen limits.

    Trust holds as long as the file's content and its place stay the same.
    """
    from dragoman.cli.settings import trust

    ended(lambda: trust(file, remove=remove))
