"""The MCP bundle: judged and packed by the vendor's tool, unpacked, started by its own words, asked for its tools."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.real import toolchain
from tests.real.environments import base_env
from tests.real.required import required
from tests.server.wire import served

pytestmark = [pytest.mark.anyio, pytest.mark.real]

ROOT = Path(__file__).parents[2]
LARGEST_BYTES = 1_000_000
INSTALL_S = 600


def bundler(folder: Path, *words: str) -> None:
    tool, node = required(toolchain.bundler), required(toolchain.node)
    done = subprocess.run(
        [node, tool, *words], cwd=folder, env=base_env(folder, node), capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


async def test_the_bundle_is_valid_small_and_answers_when_it_is_unpacked(tmp_path: Path) -> None:
    source = tmp_path / "source"
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT).decode().split("\0")  # noqa: ASYNC221 - nothing else runs
    for name in filter(None, tracked):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    bundler(tmp_path, "validate", str(source / "manifest.json"))
    packed = tmp_path / "dragoman.mcpb"
    bundler(tmp_path, "pack", str(source), str(packed))
    assert packed.stat().st_size < LARGEST_BYTES
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        archive.extractall(unpacked)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "docs/", "."))]
    manifest: dict[str, Any] = json.loads((unpacked / "manifest.json").read_bytes())
    told = manifest["server"]["mcp_config"]
    command = (told["command"], *(word.replace("${__dirname}", str(unpacked)) for word in told["args"]))
    # uv installs what the bundle needs, so it gets what a package index needs of this environment; the server that it
    # starts has a home that is nobody's.
    variables = {
        **{
            name: value
            for name, value in os.environ.items()
            if name.startswith(("UV_", "PIP_", "SSL_", "HTTPS_", "HTTP_"))
        },
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(tmp_path),
        "DRAGOMAN_HOME": str(tmp_path / "state"),
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_PYTHON": sys.executable,
        **told["env"],
    }
    async with served(tmp_path, variables, "legacy", command) as wire:
        with anyio.fail_after(INSTALL_S):
            await wire.open()
            tools = await wire.request("tools/list", {})
    assert {"providers", "job"} <= {tool["name"] for tool in tools["tools"]}
