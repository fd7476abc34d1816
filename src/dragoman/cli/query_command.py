"""``dragoman query``: the command with its options and its help."""

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
)

EPILOG = examples(
    "dragoman query 'Who wrote Dune?' --schema 'name, born int'",
    "git diff | dragoman query claude - --schema review.json | jq .problems",
    "dragoman query 'Name a city.' --schema name --validator no-placeholder --json",
)


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
