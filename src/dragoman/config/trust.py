"""Which project files may run programs and widen what is allowed: those whose very content a person has trusted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from dragoman.config.documents import read_regular
from dragoman.config.keys import Key
from dragoman.config.paths import state_folder
from dragoman.config.settings import Configuration

_FILE = "trusted.json"
_OF_A_PROVIDER = frozenset(
    {
        *("command", "args", "env", "pass_env", "credentials", "access", "workspaces"),
        *("fallback", "start_gap_s"),  # who else gets to see the question; what keeps logins whole
    }
)


def needs_trust(key: Key, value: object, lower: Configuration) -> bool:
    """Whether a setting runs something, names variables, or widens what the layers below (`lower`) allow."""
    match key:
        case ("workspaces" | "declared", *_):
            return True
        case ("providers", _, str(name), *_) if name in _OF_A_PROVIDER:
            return True
        case ("providers", str(provider), "requests_per_minute" | "tokens_per_minute" as name):
            most = getattr(lower.provider(provider), name)
            return most is not None and not (isinstance(value, int) and value <= most)
        case ("providers", str(provider), "max_concurrency"):
            return isinstance(value, int) and value > lower.provider(provider).max_concurrency
        case ("limits", str(name)):
            return isinstance(value, int) and value > getattr(lower.limits, name)
        # A port that is opened; text that is kept or, by a shorter term, thrown away outside the project.
        case ("server", "host" | "transport") | ("log", "file") | ("conversations", "keep_days" | "keep_mb"):
            return True
        case ("log", "content"):
            return bool(value)
        case _:
            return False


def trust(path: Path) -> None:
    """Let this file say everything, as long as neither its content nor its place changes.

    Raises:
        ConfigurationError: it cannot be read, is a link, or is larger than 1 MiB.
        OSError: the list of trusted files cannot be written.
    """
    content = read_regular(path, follow=False)
    _save({**_load(), _name(path): _digest(content)})


def untrust(path: Path) -> bool:
    """Take the trust back; False when there was none.

    Raises:
        OSError: the list of trusted files cannot be written.
    """
    trusted = _load()
    if trusted.pop(_name(path), None) is None:
        return False
    _save(trusted)
    return True


def is_trusted(path: Path, content: bytes | None = None) -> bool:
    """Whether a file is trusted as it stands now, or with the `content` that was read from it.

    Raises:
        ConfigurationError: no `content` was given, and the file cannot be read.
    """
    if content is None:
        content = read_regular(path, follow=False)
    return _load().get(_name(path)) == _digest(content)


def _name(path: Path) -> str:
    # The place counts too: "./tool" in a copy of a trusted file is another program.
    return os.path.realpath(path)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _load() -> dict[str, str]:
    """The trusted files and the hashes of their content. A list that cannot be read trusts nothing."""
    try:
        found: object = json.loads((state_folder() / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    sha256 = cast("dict[str, object]", found).get("sha256") if isinstance(found, dict) else None
    if not isinstance(sha256, dict):
        return {}
    return {str(name): str(digest) for name, digest in cast("dict[object, object]", sha256).items()}


def _save(trusted: Mapping[str, str]) -> None:
    folder = state_folder()
    text = json.dumps({"sha256": dict(sorted(trusted.items()))}, indent=2) + "\n"
    # mkstemp makes the file for the user alone; the rename keeps that.
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=f".{_FILE}-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(folder / _FILE)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
