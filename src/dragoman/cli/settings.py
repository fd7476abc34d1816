"""``dragoman config`` and ``dragoman trust``."""

from __future__ import annotations

import json
from pathlib import Path

from dragoman.cli import output
from dragoman.cli.common import Common
from dragoman.cli.exits import FAILURE, OK

MASK = "********"


def show(common: Common, *, as_json: bool) -> int:
    """Every value in force and its source."""
    loaded = common.load()
    settings = [
        {"key": setting.key, "value": MASK if setting.secret else setting.value, "source": setting.source}
        for setting in loaded.settings()
    ]
    if as_json:
        files = [str(path) for path in loaded.files]
        output.say_json({"files": files, "warnings": loaded.warnings, "settings": settings})
        return OK
    rows = [(entry["key"], _spelled(entry["value"]), entry["source"]) for entry in settings]
    output.say_table(("key", "value", "from"), rows)
    common.warn(loaded)
    return OK


def path() -> int:
    """Where the person's own file is, or belongs."""
    from dragoman.config import user_config_file

    output.say(str(user_config_file()))
    return OK


def trust(file: Path, *, remove: bool) -> int:
    """Trust a file as it stands, or no longer."""
    from dragoman.config import trust, untrust

    if not remove:
        trust(file)
        output.say(f"{file} is trusted until its content or its place changes")
        return OK
    if untrust(file):
        output.say(f"{file} is no longer trusted")
        return OK
    output.complain(f"{file} was not trusted")
    return FAILURE


def _spelled(value: object) -> str:
    """A value on one line, as a configuration file spells it."""
    return "none" if value is None else json.dumps(value, ensure_ascii=False, default=str)
