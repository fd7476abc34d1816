"""What a flood of JSON lines costs: ``python -m benchmarks.ndjson FOLDER LINE_BYTES``. Linux.

A process of its own, so that its memory has grown by nothing else. Prints JSON: megabytes of output, megabytes a second
through a call and of a bare reader, and by how many MiB the most memory it had has grown, all that a first call loads
included. The speed is that of the second call.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import anyio

from dragoman.config import Configuration, ProviderSettings
from dragoman.engine import Engine
from dragoman.schemas import ErrorCode, LLMRequest

MB = 100
SCRIPT = """#!/bin/sh
[ "$1" = --version ] && exec echo 2.1.329
read prompt
cat {source}
cat >/dev/null
"""


def measure(folder: Path, line_bytes: int) -> dict[str, float]:
    """Nothing but the pieces tells the answer, so all of it is kept that there is room for: the dearest case."""
    line = stream_line(line_bytes)
    one = spewing(folder / "one", line, 1)
    many = spewing(folder / f"lines-{line_bytes}", line, MB * 1_000_000 // len(line))
    source = folder / f"lines-{line_bytes}"
    size = source.stat().st_size / 1e6
    before = time.perf_counter()
    with subprocess.Popen(["/bin/cat", str(source)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for received in process.stdout:
            json.loads(received)
    floor = size / (time.perf_counter() - before)
    peak_before = peak_mib()
    anyio.run(ask_seconds, one, None)
    taken = anyio.run(ask_seconds, many, ErrorCode.OUTPUT_LIMIT)
    return {"mb": size, "ours": size / taken, "floor": floor, "grown_mib": peak_mib() - peak_before}


def spewing(source: Path, line: bytes, count: int) -> Path:
    """A program that says this line so often, and then its result."""
    with source.open("wb") as file:
        for _ in range(count):
            file.write(line)
        file.write(b'{"type":"result","subtype":"success","is_error":false,"result":""}\n')
    program = source.with_suffix(".sh")
    program.write_text(SCRIPT.format(source=source), encoding="utf-8")
    program.chmod(0o755)
    return program


def stream_line(line_bytes: int) -> bytes:
    """A text delta in the protocol of claude."""
    event = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ""}}
    empty = json.dumps({"type": "stream_event", "event": event})
    event["delta"] = {"type": "text_delta", "text": "x" * (line_bytes - len(empty) - 1)}
    return json.dumps({"type": "stream_event", "event": event}).encode() + b"\n"


async def ask_seconds(program: Path, code: ErrorCode | None) -> float:
    """How long one call of the claude adapter takes with this program in claude's place; `code` is how it must end."""
    configuration = Configuration.model_validate({"providers": {"claude": ProviderSettings(command=(str(program),))}})
    environ = {"PATH": "/usr/bin:/bin"}
    async with Engine(configuration, environ=environ, store_file=program.with_suffix(".db")) as engine:
        before = time.perf_counter()
        reply = await engine.submit(LLMRequest(prompt="hi", provider="claude")).outcome()
        taken = time.perf_counter() - before
    assert (reply.error and reply.error.code) == code, reply.error
    assert reply.truncated == (code is not None)
    assert code is None or len(reply.text) == configuration.limits.capture_bytes
    return taken


def peak_mib() -> float:
    """The highest resident memory of this process so far."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    os.environ["DRAGOMAN_HOME"] = str(Path(sys.argv[1]) / f"ndjson-{sys.argv[2]}")
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]))))
