"""Whose login a provider uses, as a name that tells nothing of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import PurePath

from dragoman.adapters.base import Profile
from dragoman.config import ProviderSettings

_HOME = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "USERPROFILE", "APPDATA")


def account_of(profile: Profile, settings: ProviderSettings, variables: Mapping[str, str]) -> str:
    """A name for the account that a child with these variables uses; the same in every process of this machine.

    Logins are found by the home and by what configures the CLI. Variables with keys have no part in it, nor does where
    the program was found.
    """
    patterns = profile.pass_env if profile.account_env is None else profile.account_env
    telling = {
        name: value
        for name, value in variables.items()
        if name not in profile.metered_env
        and (name in _HOME or any(fnmatchcase(name, pattern) for pattern in patterns))
    }
    command = settings.command
    if len(command) == 1 and PurePath(command[0]).stem in profile.executables:
        command = ()
    known = (profile.name, settings.credentials, command, sorted(telling.items()))
    return f"{profile.name}-{hashlib.blake2b(repr(known).encode(), digest_size=6).hexdigest()}"
