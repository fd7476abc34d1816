"""The real CLIs at the versions of ``package.json``, installed once into ``.cache/real-clis`` of the repository.

Install scripts are not left to npm, whose rules about them differ from version to version; the two that matter are run
here: one puts the native claude in place, the other fetches Node. ``python -m tests.real.toolchain`` installs ahead.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

_PACKAGE = Path(__file__).with_name("package.json")
_OLD_PACKAGE = Path(__file__).with_name("old") / "package.json"
_COPILOT_PACKAGE = Path(__file__).with_name("copilot") / "package.json"
_MCP_PACKAGE = Path(__file__).with_name("mcp") / "package.json"
_CACHE = Path(__file__).parents[2] / ".cache" / "real-clis"
_NODE_NEEDED = (22, 19)
_INSTALL_LIMIT = 900.0
_VERSION_LIMIT = 120.0


class UnavailableError(Exception):
    """A real CLI cannot be had on this machine; the message says why and what to do."""


def claude() -> Path:
    """The pinned ``claude``, a native program.

    Raises:
        UnavailableError: it cannot be installed here.
    """
    return _installed() / "node_modules" / ".bin" / "claude"


def codex() -> Path:
    """The pinned ``codex`` as npm puts it on the path: a script that needs :func:`node` as ``node`` on the path.

    Raises:
        UnavailableError: it cannot be installed here.
    """
    return _installed() / "node_modules" / ".bin" / "codex"


def codex_native() -> Path:
    """The native program behind :func:`codex`.

    Raises:
        UnavailableError: it cannot be installed here.
    """
    return _native_codex(_installed())


def gemini() -> Path:
    """The pinned ``gemini``, a script that needs :func:`node` as ``node`` on the path.

    Raises:
        UnavailableError: it cannot be installed here.
    """
    return _installed() / "node_modules" / ".bin" / "gemini"


def old_gemini() -> Path:
    """A ``gemini`` from before ACP; half a gigabyte, so it is only for the long runs.

    Raises:
        UnavailableError: it cannot be installed here.
    """
    return _cached(_OLD_PACKAGE, partial(_install_only, _OLD_PACKAGE)) / "node_modules" / ".bin" / "gemini"


def copilot() -> Path:
    """The native program behind the pinned ``copilot``; 190 MB, so it is only for the long runs.

    Raises:
        UnavailableError: it cannot be installed here.
    """
    return _native_copilot(_cached(_COPILOT_PACKAGE, _install_copilot))


def copilot_unpacked(program: Path) -> dict[str, str]:
    """The variable with which :func:`copilot` finds itself unpacked, and does not put 235 MB into each new home."""
    return {"COPILOT_PKG_CACHE_HOME": str(program.parents[3] / "unpacked")}


def inspector() -> Path:
    """The pinned MCP Inspector, a script for :func:`node`.

    Raises:
        UnavailableError: it cannot be installed here.
    """
    return _cached(_MCP_PACKAGE, partial(_install_only, _MCP_PACKAGE)) / "node_modules" / ".bin" / "mcp-inspector"


def conformance() -> Path:
    """The pinned conformance suite of MCP, a script for :func:`node`.

    Raises:
        UnavailableError: it cannot be installed here.
    """
    return inspector().with_name("conformance")


def bundler() -> Path:
    """The pinned tool that checks and packs MCP bundles, a script for :func:`node`.

    Raises:
        UnavailableError: it cannot be installed here.
    """
    return inspector().with_name("mcpb")


def node() -> Path:
    """The machine's Node when it is new enough for all CLIs, else the pinned one.

    Raises:
        UnavailableError: it cannot be installed here.
    """
    found = shutil.which("node")
    if found and _node_version(Path(found)) >= _NODE_NEEDED:
        return Path(found)
    return _pinned_node(_installed())


def llm() -> Path:
    """The ``llm`` of this Python.

    Raises:
        UnavailableError: it is not installed beside this Python.
    """
    found = Path(sys.executable).with_name("llm")
    if not found.exists():
        raise UnavailableError(f"no 'llm' beside {sys.executable!r}; install dragoman[dev] there")
    return found


def pinned(package: str) -> str:
    """The version of an npm package that the tests are written for."""
    listed = (json.loads(file.read_text("utf-8"))["dependencies"] for file in (_PACKAGE, _COPILOT_PACKAGE))
    return next(each[package] for each in listed if package in each)


def forget() -> None:
    """Look into the cache again at the next call."""
    _installed.cache_clear()


@cache
def _installed() -> Path:
    return _cached(_PACKAGE, _install)


def _cached(package: Path, install: Callable[[Path], None]) -> Path:
    home = _CACHE / _fingerprint(package)
    with _lock(home.with_suffix(".lock")):
        if not home.exists():
            install(home)
    return home


def _fingerprint(package: Path) -> str:
    machine = f"{platform.system()} {platform.machine()} {platform.libc_ver()[0]}"
    return hashlib.sha256(package.read_bytes() + machine.encode()).hexdigest()[:16]


@contextmanager
def _lock(path: Path) -> Generator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _install(home: Path) -> None:
    """Install beside ``home``, check what came, and only then give it its name: a run that is killed leaves no half."""
    made, machine_node = _packages(home, _PACKAGE)
    modules = made / "node_modules"
    _run_installer([machine_node, "install.cjs"], modules / "@anthropic-ai" / "claude-code")
    _run_installer([machine_node, "installArchSpecificPackage.js"], modules / "node")
    _check(made)
    made.rename(home)


def _install_only(package: Path, home: Path) -> None:
    made, _ = _packages(home, package)
    made.rename(home)


def _install_copilot(home: Path) -> None:
    """Install it, and have it unpack itself."""
    made, _ = _packages(home, _COPILOT_PACKAGE)
    program, version = _native_copilot(made), pinned("@github/copilot")
    told = _version_text(program, made, **copilot_unpacked(program), COPILOT_AUTO_UPDATE="false")
    if version not in told:
        raise RuntimeError(f"{str(program)!r} says it is {told!r}, expected {version!r}")
    made.rename(home)


def _packages(home: Path, package: Path) -> tuple[Path, str]:
    """The packages, in a folder beside ``home``, and the machine's Node."""
    npm, machine_node = shutil.which("npm"), shutil.which("node")
    if npm is None or machine_node is None:
        raise UnavailableError("the real CLIs come from npm, which is not on the PATH; install Node.js")
    made = home.with_suffix(".partial")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    shutil.copy(package, made)
    lenient = ("--ignore-scripts", "--include=optional", "--engine-strict=false")  # against a user's npm settings
    quiet = ("--no-package-lock", "--no-audit", "--no-fund")
    _run_installer([npm, "install", *lenient, *quiet], made)
    return made, machine_node


def _run_installer(argv: list[str], folder: Path) -> None:
    """Run with this process's environment, for npm's own settings; its output, which may tell of them, is not shown."""
    try:
        done = subprocess.run(
            argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_INSTALL_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{argv[1]!r} in {str(folder)!r} did not end within {_INSTALL_LIMIT:.0f} s") from None
    if done.returncode != 0:
        code = re.search(rb"npm (?:error|ERR!) code (\w+)", done.stderr)
        reason = f" ({code[1].decode()})" if code else ""
        raise UnavailableError(
            f"{argv[1]!r} exited with {done.returncode}{reason}; to see why, run {argv!r} in {str(folder)!r}"
        )


def _check(home: Path) -> None:
    """Start each program.

    Raises:
        RuntimeError: one is not the version asked for.
    """
    expected = {
        home / "node_modules" / ".bin" / "claude": pinned("@anthropic-ai/claude-code"),
        _native_codex(home): pinned("@openai/codex"),
        _pinned_node(home): pinned("node"),
        home / "node_modules" / ".bin" / "gemini": pinned("@google/gemini-cli"),
    }
    for program, version in expected.items():
        told = _version_text(program, home)
        if version not in re.split(r"[\s v]+", told):
            raise RuntimeError(f"{str(program)!r} says it is {told!r}, expected {version!r}; see {_PACKAGE.name!r}")


def _native_codex(home: Path) -> Path:
    [native] = (home / "node_modules" / "@openai").glob("codex-*/vendor/*/bin/codex")
    return native


def _native_copilot(home: Path) -> Path:
    [native] = (home / "node_modules" / "@github").glob("copilot-*/copilot")
    return native


def _pinned_node(home: Path) -> Path:
    return home / "node_modules" / "node" / "bin" / "node"


def _node_version(program: Path) -> tuple[int, ...]:
    numbers = re.match(r"v(\d+)\.(\d+)", _version_text(program, _CACHE))
    return tuple(map(int, numbers.groups())) if numbers else ()


def _version_text(program: Path, home: Path, **env: str) -> str:
    done = subprocess.run(
        [program, "--version"],
        env={"HOME": str(home), "PATH": f"{home}/node_modules/node/bin:{os.defpath}", **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_VERSION_LIMIT,
        check=False,
    )
    return (done.stdout or done.stderr).decode(errors="replace").strip()


if __name__ == "__main__":
    for each in (claude, codex, codex_native, gemini, node, llm):
        print(each())
