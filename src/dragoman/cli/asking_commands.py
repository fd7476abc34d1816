"""``dragoman ask``, ``query`` and ``chat``: the commands that ask somebody, with their options and their help."""

from __future__ import annotations

from typing import Annotated

import typer

from dragoman.cli.declaring import (
    ConversationId,
    Effort,
    Folder,
    Last,
    MaxAttempts,
    MaxTokens,
    Model,
    Prompt,
    Provider,
    System,
    Temperature,
    Timeout,
    Validators,
    ended,
    examples,
    given,
    provider_names,
)

ASK_EXAMPLES = examples(
    "dragoman ask 'What is a dragoman?'",
    "dragoman ask claude 'What does this project do?' --cwd .",
    "git diff | dragoman ask codex -",
    "dragoman ask --last 'And in one sentence?'",
)
QUERY_EXAMPLES = examples(
    "dragoman query 'Who wrote Dune?' --schema 'name, born int'",
    "git diff | dragoman query claude - --schema review.json | jq .problems",
    "dragoman query 'Name a city.' --schema name --validator no-placeholder --json",
)
CHAT_EXAMPLES = examples("dragoman chat", "dragoman chat claude --cwd .", "dragoman chat --last")


def ask(
    context: typer.Context,
    provider: Provider = None,
    prompt: Prompt = None,
    model: Model = None,
    system: System = None,
    cwd: Folder = None,
    conversation: ConversationId = None,
    last: Last = False,
    no_remember: Annotated[
        bool, typer.Option("--no-remember", help="Keep nothing of this question, not even in the CLI's own session.")
    ] = False,
    max_history: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Send so many earlier messages as text, not the provider's own session."),
    ] = None,
    effort: Effort = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    validators: Validators = None,
    max_attempts: MaxAttempts = None,
    timeout: Timeout = None,
    background: Annotated[
        bool,
        typer.Option("--background", help="Print a job's id and let it work on; `jobs wait ID` has the answer."),
    ] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Asked again with the same key, take the answer of the first time."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, also for a failure.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")] = False,
) -> None:
    """Ask one question and print the answer as it comes.

    With --validator it is printed once it has passed. A missing PROMPT is read from stdin too when something is piped
    in. Put -- before a prompt that begins with a dash.
    """
    from dragoman.cli.ask import ask
    from dragoman.cli.question import Question

    words = tuple(word for word in (provider, prompt, *context.args) if word is not None)
    options = given(
        timeout,
        model=model,
        system_prompt=system,
        cwd=cwd,
        conversation_id=conversation,
        remember=False if no_remember else None,
        max_history=max_history,
        effort=effort,
        temperature=temperature,
        max_tokens=max_tokens,
        validators=validators,
        max_attempts=max_attempts,
        background=background or None,
        idempotency_key=idempotency_key,
    )
    question = Question(words, options, last=last)
    ended(lambda: ask(context.obj, question, as_json=as_json, quiet=quiet))


def query(
    context: typer.Context,
    schema: Annotated[
        str,
        typer.Option(
            metavar="SCHEMA", help="A file with a JSON Schema, the schema itself, or 'name, age int, tags list[str]'."
        ),
    ],
    provider: Provider = None,
    prompt: Prompt = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Take no JSON out of words or code fences around it.")
    ] = False,
    max_attempts: MaxAttempts = None,
    validators: Validators = None,
    model: Model = None,
    system: System = None,
    cwd: Folder = None,
    conversation: ConversationId = None,
    last: Last = False,
    effort: Effort = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    timeout: Timeout = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole reply, with the value as `data`; also for a failure.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")] = False,
) -> None:
    """Ask for JSON that matches a schema, and print it.

    A model whose answer does not match is told what is wrong, and asked again. What is printed is valid; when no answer
    is, nothing is printed, and the exit code is 10. A missing PROMPT is read from stdin when something is piped in.
    """
    from dragoman.cli.ask import query
    from dragoman.cli.question import Question

    words = tuple(word for word in (provider, prompt, *context.args) if word is not None)
    options = given(
        timeout,
        strict=strict or None,
        max_attempts=max_attempts,
        validators=validators,
        model=model,
        system_prompt=system,
        cwd=cwd,
        conversation_id=conversation,
        effort=effort,
        temperature=temperature,
        max_tokens=max_tokens,
    )
    question = Question(words, options, last=last)
    ended(lambda: query(context.obj, question, schema, as_json=as_json, quiet=quiet))


def chat(
    context: typer.Context,
    provider: Annotated[
        str | None,
        typer.Argument(
            metavar="PROVIDER", autocompletion=provider_names, help="Who answers; without it, the first one ready."
        ),
    ] = None,
    model: Model = None,
    system: System = None,
    cwd: Folder = None,
    conversation: ConversationId = None,
    last: Last = False,
    effort: Effort = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    timeout: Timeout = None,
) -> None:
    """Talk with a provider, or with several in one conversation. /help shows what can be done besides.

    Ctrl-C stops an answer, Ctrl-D leaves. When something is piped in, every line of it is a message.
    """
    from dragoman.cli.chat import chat

    options = given(
        timeout,
        model=model,
        system_prompt=system,
        cwd=cwd,
        conversation_id=conversation,
        effort=effort,
        temperature=temperature,
        max_tokens=max_tokens,
    )
    ended(lambda: chat(context.obj, provider, options, last=last))
