"""Finding a provider's program on this machine, without starting it, and asking it its version when that matters."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dragoman.adapters.base import Installed, Profile
from dragoman.config import ProviderSettings
from dragoman.engine.providers.launchers import Hollow, Real, real_program
from dragoman.log import logger
from dragoman.processes import Captured, Command, Spawner, SpawnError, capture
from dragoman.schemas.text import plain

PROBE_TIMEOUT_S = 15.0
SHOWN_CHARS = 60


@dataclass(frozen=True)
class Program:
    """A program that is there, as the start of an argv."""

    argv: tuple[str, ...]
    path: Path
    """What was found; the program that is started can stand elsewhere, behind a launcher."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """What that launcher would set for it."""


@dataclass(frozen=True)
class Missing:
    """A program that is not there."""

    reason: str
    next_step: str


def find_program(profile: Profile, settings: ProviderSettings, environ: Mapping[str, str]) -> Program | Missing:
    """The program of a provider: what the configuration names, else the first of the profile's names on PATH."""
    if settings.command:
        program, *always = settings.command
        found = shutil.which(program, path=environ.get("PATH", os.defpath))
        if found is None:
            return Missing(
                f"the configured command {program!r} was not found, or is not executable",
                f"correct `command` under [providers.{profile.name}]",
            )
        return _behind(Path(found), always, profile)
    if profile.module is not None:
        absent = [module for module in profile.needs_modules if importlib.util.find_spec(module) is None]
        if absent:
            return Missing(f"the Python package {absent[0]!r} is not installed", profile.install_hint)
        return Program((sys.executable, "-m", profile.module), Path(sys.executable))
    for name in profile.executables:
        if found := shutil.which(name, path=environ.get("PATH", os.defpath)):
            return _behind(Path(found), (), profile)
    return Missing(f"{' or '.join(map(repr, profile.executables))} was not found on PATH", profile.install_hint)


def _behind(found: Path, always: Sequence[str], profile: Profile) -> Program | Missing:
    match real_program(found, profile.npm) if profile.npm else None:
        case Real(path=path, env=env):
            return Program((str(path), *always), found, env)
        case Hollow(reason=reason, next_step=next_step):
            return Missing(reason, next_step)
        case None:
            return Program((str(found), *always), found)


class Versions:
    """Versions of programs, asked once per file and remembered until the file changes."""

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner
        self._known: dict[tuple[str, int, int], Installed | Missing] = {}

    async def ask(self, profile: Profile, program: Program, environ: Mapping[str, str]) -> Installed | Missing:
        """What `program` says of itself; `Missing` when it does not work, such as a package's stub."""
        try:
            key = identity_of(program)
        except OSError as error:
            return Missing(f"{program.path}: {error.strerror}", profile.install_hint)
        if key not in self._known:
            self._known[key] = await _probe(self._spawner, profile, program, environ)
        known = self._known[key]
        return known if isinstance(known, Missing) else replace(known, environment=frozenset(environ))

    def remembered(self, program: Program, environ: Mapping[str, str]) -> Installed | None:
        """What `program` said when it was asked before; None: it was not, or does not work. Starts nothing."""
        try:
            known = self._known.get(identity_of(program))
        except OSError:
            return None
        return replace(known, environment=frozenset(environ)) if isinstance(known, Installed) else None


def identity_of(program: Program) -> tuple[str, int, int]:
    """Another one when the program was updated.

    Raises:
        OSError: it is gone.
    """
    stat = os.stat(program.argv[0])  # noqa: PTH116 - it is no Path, and a stat does not block for long
    return (" ".join(program.argv), stat.st_mtime_ns, stat.st_size)


async def inquire(
    spawner: Spawner, program: Program, argv: tuple[str, ...], environ: Mapping[str, str], timeout_s: float
) -> Captured:
    """What a program answers to a short question about itself.

    Raises:
        SpawnError: it could not be started.
    """
    before = time.monotonic()
    code: int | str | None = "not started"
    try:
        said = await capture(spawner, Command((*program.argv, *argv), {**program.env, **environ}, Path("/")), timeout_s)
        code = said.code
        return said
    finally:
        words = (program.path.name, *argv)
        # Its arguments are the adapter's own, but one can be a whole script.
        shape = " ".join(word if len(word) <= SHOWN_CHARS else "…" for word in words)
        logger.bind(argv=shape, seconds=round(time.monotonic() - before, 3), ended=code).info("asked about itself")


async def _probe(
    spawner: Spawner, profile: Profile, program: Program, environ: Mapping[str, str]
) -> Installed | Missing:
    try:
        environ = {**environ, **profile.version_env}
        said = await inquire(spawner, program, profile.version_argv, environ, PROBE_TIMEOUT_S)
    except SpawnError as error:
        return Missing(str(error), profile.install_hint)
    if said.code is None:
        return Missing(f"{program.path} did not answer within {PROBE_TIMEOUT_S:.0f} s", profile.install_hint)
    if said.code != 0:
        words = plain(said.stderr.strip() or said.stdout.strip()).splitlines()
        told = words[0] if words else f"exit {said.code}"
        step = f"correct what it says, or install it anew: {profile.install_hint}"
        return Missing(f"{program.path} does not work: {told}", step)
    text = said.stdout.strip() or said.stderr.strip()
    match = re.search(r"\d+(?:\.\d+)+", text)
    version = tuple(int(part) for part in match[0].split(".")) if match else None
    if version and profile.minimum_version and version < profile.minimum_version:
        wanted = ".".join(map(str, profile.minimum_version))
        return Missing(
            f"{program.path} is version {match[0] if match else text}; {wanted} or newer is needed",
            profile.install_hint,
        )
    return Installed(program.path, version, match[0] if match else "")
