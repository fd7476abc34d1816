"""``dragoman install`` and ``dragoman uninstall``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dragoman.cli import output
from dragoman.cli.exits import FAILURE, OK, USAGE

if TYPE_CHECKING:
    from dragoman.clients import Change, Client

NAME = "dragoman"


@dataclass(frozen=True)
class Asked:
    """What was asked for."""

    client: str
    name: str
    project: bool
    show: bool
    as_json: bool


def install(asked: Asked) -> int:
    """Register Dragoman with a client."""
    from dragoman.clients import compile_bytecode, install, own_command

    def change(client: Client, file: Path) -> Change:
        return install(client, file, asked.name, own_command(), write=not asked.show)

    words = Words("is registered with", "is registered already with")
    code = _changed(asked, change, words)
    if code == OK and not asked.show:
        compile_bytecode()
    return code


def uninstall(asked: Asked) -> int:
    """Take Dragoman out of a client's configuration."""
    from dragoman.clients import uninstall

    def change(client: Client, file: Path) -> Change:
        return uninstall(client, file, asked.name, write=not asked.show)

    rest = "sessions that are open keep the tools until they end"
    return _changed(asked, change, Words("is no longer registered with", "is not registered with", rest))


@dataclass(frozen=True, slots=True)
class Words:
    """How it is told what was done, or that there was nothing to do."""

    done: str
    known: str
    then: str | None = None
    """What follows from it; None: what the client's hint says."""


def _changed(asked: Asked, make: Callable[[Client, Path], Change], words: Words) -> int:
    from dragoman.clients import CLIENTS, NameRefusedError, SetupError, config_file, here

    client = CLIENTS.get(asked.client)
    if client is None:
        output.complain(f"there is no client {asked.client!r}")
        output.suggest(f"choose one of: {', '.join(CLIENTS)}")
        return USAGE
    try:
        change = make(client, config_file(client, here(), Path.cwd() if asked.project else None))
    except SetupError as error:
        output.complain(str(error))
        output.suggest(error.next_step)
        return USAGE if isinstance(error, NameRefusedError) else FAILURE
    if asked.as_json:
        output.say_json(_described(change))
    elif asked.show:
        output.remark(f"{change.file} would be:" if change.changed else f"{change.file} stays as it is:")
        output.write(change.text)
    elif change.changed:
        output.say(f"{asked.name} {words.done} {client.title}: {change.file}")
        if change.backup is not None:
            output.remark(f"the file as it was: {change.backup}")
        if words.then is None:
            output.suggest(client.hint)
        else:
            output.remark(words.then)
    else:
        output.say(f"{asked.name} {words.known} {client.title}: {change.file}")
    return OK


def _described(change: Change) -> dict[str, object]:
    return {
        "client": change.client.name,
        "file": str(change.file),
        "changed": change.changed,
        "backup": None if change.backup is None else str(change.backup),
        "entry": json.loads(json.dumps(change.entry, default=str)),
    }
