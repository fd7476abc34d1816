"""``dragoman serve`` over HTTP as a process of its own."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import Process

SERVE = (sys.executable, "-m", "dragoman", "serve")


def variables(folder: Path) -> dict[str, str]:
    """An environment from nothing, with what is in `bin` as the only CLIs.

    `llm` may take long to start, and very long to end: whoever waited for that would hang.
    """
    return {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "HOME": str(folder / "home"),
        "DRAGOMAN_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "DRAGOMAN_PROVIDERS__LOCAL__ENABLED": "false",
        "DRAGOMAN_PROVIDERS__LLM__TIMEOUTS__GRACE": "600",
        "DRAGOMAN_PROVIDERS__LLM__TIMEOUTS__SPAWN": "60",
    }


@asynccontextmanager
async def served(folder: Path, *options: str) -> AsyncGenerator[tuple[Process, str]]:
    """The server, and the URL it told; killed if it is still there at the end."""
    process = await anyio.open_process(
        (*SERVE, "--port", "0", *options), cwd=folder / "work", env=variables(folder), stdin=subprocess.DEVNULL
    )
    try:
        assert process.stderr is not None
        told = b""
        while b"\n" not in told:
            told += await process.stderr.receive()
        words = told.decode().split()
        assert words[:4] == ["dragoman", "serves", "MCP", "at"], told
        yield process, words[4].removesuffix(";")
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()
