"""Jobs that go on when their server is gone: what is written down for whoever comes next, and how it is taken up again.

The child of such a job has a folder of its own, with its streams as files (see `dragoman.processes.detached`) and
``turn.json``: what is needed to go on listening to it with a new dialogue, from its first byte.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from pydantic import TypeAdapter, ValidationError

from dragoman.adapters.base import Adapter, Close, Installed, Plan, Turn, Write
from dragoman.config import state_folder
from dragoman.processes import Detached, adopt, remains

if TYPE_CHECKING:
    from dragoman.processes.detached import AdoptedChild

TURN = "turn.json"
PRIVATE = "private"
STALE_S = 3600.0
"""A folder of no job is removed when it is older: one may just be being made."""


@dataclass(frozen=True)
class Heard:
    """What a child was asked, and how it was set up."""

    provider: str
    turn: Turn
    installed: Installed
    mark: str = ""
    """What all that it starts is known by, and nothing that another attempt of its call starts: the id of its call, and
    something random behind a dot."""
    until: float = 0.0
    """When it is stopped at the latest, in seconds since 1970."""


@dataclass(frozen=True)
class Adopted:
    """A child of an earlier server, to be listened to instead of starting one."""

    heard: Heard
    child: AdoptedChild
    folder: Path


_HEARD = TypeAdapter(Heard)


def jobs_folder() -> Path:
    """Where the folders of detached jobs are, by job id.

    Raises:
        OSError: there is no place for them.
    """
    return state_folder() / "jobs"


def last_folder(job_id: str) -> Path:
    """Where the last child of a job writes; if it never had one, where the first one would.

    Which one that is, is written down a moment after its start, and its server may not have lived to see it.

    Raises:
        OSError: there is no place for them.
    """
    return _numbered(job_id, max(_numbers(job_id), default=0))


def next_folder(job_id: str) -> Path:
    """One for its next child: those of others, also of an earlier server's, may still be in use.

    Raises:
        OSError: there is no place for them.
    """
    return _numbered(job_id, max(_numbers(job_id), default=-1) + 1)


def _numbered(job_id: str, number: int) -> Path:
    return jobs_folder() / (f"{job_id}-{number}" if number else job_id)


def _numbers(job_id: str) -> list[int]:
    names = (folder.name.partition("-") for folder in jobs_folder().glob(f"{job_id}*"))
    return [int(number or 0) for name, _, number in names if name == job_id]


def set_up(folder: Path, heard: Heard, adapter: Adapter, plan: Plan, deadline: float) -> Detached:
    """Make the folder of a child that is about to start. `deadline`: on the event loop's clock.

    Raises:
        OSError: it could not be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    until = time.time() + deadline - anyio.current_time()
    file = folder / TURN
    file.touch(mode=0o600)
    file.write_bytes(_HEARD.dump_json(replace(heard, until=until)))
    return Detached(folder, _input(adapter, plan, heard.turn), until)


async def take_up(folder: Path) -> Adopted | None:
    """The child of this folder, alive, ended or lost; None: it was never started, or nobody knows what it was to do."""
    try:
        heard = _HEARD.validate_json((folder / TURN).read_bytes())
        child = await adopt(folder) or remains(folder)
    except (OSError, ValidationError):
        return None
    return None if child is None else Adopted(heard, child, folder)


def forget(folder: Path) -> None:
    """Remove the folder of a child that is gone and was heard."""
    shutil.rmtree(folder, ignore_errors=True)


def forget_old(is_wanted: Callable[[str], bool]) -> None:
    """Remove folders that are old and of no job that is wanted."""
    with suppress(OSError):
        for folder in jobs_folder().iterdir():
            if folder.stat().st_mtime < time.time() - STALE_S and not is_wanted(folder.name.partition("-")[0]):
                forget(folder)


def _input(adapter: Adapter, plan: Plan, turn: Turn) -> bytes:
    """All that its dialogue would write, up to the end of its input."""
    dialogue, written = adapter.dialogue(plan), bytearray()
    for act in (*dialogue.start(), *dialogue.begin(turn)):
        if isinstance(act, Write):
            written += act.data
        elif isinstance(act, Close):
            break
    return bytes(written)
