"""The environment of a child: built from an allowlist, never inherited.

Variables that only tell a program how to run here pass (`BASE`), then what the adapter names as configuration of its
CLI, then what the user's configuration names. Keys that are billed per token are held back unless
``credentials = "inherit"``. How deep one Dragoman runs inside another travels along, so that a chain of agents that
ask agents ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from dragoman.adapters.base import Profile
from dragoman.config import ProviderSettings
from dragoman.config.paths import absolute
from dragoman.processes import LINEAGE
from dragoman.schemas import ErrorCode, error_of

DEPTH = "DRAGOMAN_DEPTH"

BASE = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "TMPDIR", "TMP", "TEMP"),
    *("XDG_*", "DBUS_SESSION_BUS_ADDRESS"),  # the keyring that holds a CLI's login is reached over the session bus
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    *("SYSTEMROOT", "SystemRoot", "COMSPEC", "PATHEXT", "WINDIR", "APPDATA", "LOCALAPPDATA", "USERPROFILE"),
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Lineage:
    """Where this process stands in a chain of Dragomans: its depth, and the calls that led here."""

    depth: int = 0
    calls: tuple[str, ...] = ()

    @classmethod
    def read(cls, environ: Mapping[str, str], max_depth: int) -> Lineage:
        """The lineage that the environment tells of.

        Raises:
            LLMError: too deep, or garbled; a chain whose depth is unknown must not grow (code ``policy``).
        """
        text = environ.get(DEPTH, "0")
        if not (text.isascii() and text.isdigit()):
            raise error_of(
                ErrorCode.POLICY,
                f"{DEPTH} is {text!r}, not a number, so it is unknown how deep this Dragoman is nested",
                next_step=f"unset {DEPTH} in the environment that starts Dragoman",
            )
        depth = int(text)
        if depth >= max_depth:
            raise error_of(
                ErrorCode.POLICY,
                f"nested too deep: this Dragoman already runs at depth {depth}, the limit is {max_depth}",
                next_step="let the outermost agent ask, or raise max_depth under [limits]",
            )
        return cls(depth, tuple(filter(None, environ.get(LINEAGE, "").split(","))))

    @staticmethod
    def told(environ: Mapping[str, str]) -> int:
        """The depth that the environment tells of, 0 when it is garbled; for the record only."""
        text = environ.get(DEPTH, "0")
        return int(text) if text.isascii() and text.isdigit() else 0

    def child(self, mark: str) -> Mapping[str, str]:
        """The variables that tell a child with this mark, see `Heard`, where it stands."""
        return {DEPTH: str(self.depth + 1), LINEAGE: ",".join((*self.calls, mark))}


@dataclass(frozen=True)
class Environment:
    """A child's environment, and the names of the metered keys that were kept from it."""

    variables: Mapping[str, str]
    held_back: tuple[str, ...]


def build_environment(profile: Profile, settings: ProviderSettings, environ: Mapping[str, str]) -> Environment:
    """The environment for a provider's processes, without what belongs to one call.

    Raises:
        LLMError: nobody has the home that ``DRAGOMAN_HOME`` begins with (code ``bad_request``).
    """
    inherits = settings.credentials == "inherit"
    patterns = (*BASE, *profile.pass_env, *settings.pass_env, *(profile.metered_env if inherits else ()))
    named = frozenset(settings.pass_env) | settings.env.keys()
    metered = [
        name for name in _matching(environ, profile.metered_env) if not inherits and name not in named and environ[name]
    ]
    variables = {name: environ[name] for name in _matching(environ, patterns) if name not in metered}
    variables.setdefault("HOME", str(Path.home()))
    if home := variables.get("DRAGOMAN_HOME"):
        # The child starts in another folder, where a relative one would be another one.
        variables["DRAGOMAN_HOME"] = _absolute(home)
    if any(variables.get(name) for name in _PROXIES):
        for name in ("NO_PROXY", "no_proxy"):
            # A proxy that also catches loopback would break every local model.
            listed = [item for item in variables.get(name, "").split(",") if item]
            variables[name] = ",".join((*listed, *(host for host in _LOOPBACK if host not in listed)))
    variables.update(settings.env)
    return Environment(variables, tuple(metered))


def _absolute(home: str) -> str:
    try:
        return str(absolute(Path(home)))
    except ValueError as error:
        raise error_of(ErrorCode.BAD_REQUEST, f"DRAGOMAN_HOME is {home!r}", next_step=str(error)) from None


def _matching(environ: Mapping[str, str], patterns: Iterable[str]) -> Iterator[str]:
    exact = frozenset(pattern for pattern in patterns if "*" not in pattern)
    globs = tuple(pattern for pattern in patterns if "*" in pattern)
    return (name for name in environ if name in exact or any(fnmatchcase(name, glob) for glob in globs))
