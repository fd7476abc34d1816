"""Many calls at once, in a process of their own: ``python -m benchmarks.many FOLDER CALLS``. Linux.

Prints JSON: how long they took, and the memory they needed while all were in flight.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path

import anyio

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.processes.tree import children, descendants
from dragoman.schemas import LLMRequest

SLEEP_S = 1
LONG_S = 4
LOOK_S = 3
"""Memory is looked at when all have started for certain and none has ended, so the program sleeps longer then."""


def pss_kib(*pids: int) -> int:
    """What these processes hold, shared pages counted in parts."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def guardian_of(pid: int) -> int:
    """The guardian among the children of a server."""
    return next(child for child in children(pid) if b"guardian.py" in Path(f"/proc/{child}/cmdline").read_bytes())


async def measure(folder: Path, calls: int) -> dict[str, float]:
    """Ask `calls` questions at once of a program that sleeps for a second."""
    program = folder / "llm"
    looks = "--memory" in sys.argv
    program.write_text(f"#!/bin/sh\nsleep {LONG_S if looks else SLEEP_S}\necho Paris\n", encoding="utf-8")
    program.chmod(0o755)
    configuration = Configuration.model_validate(
        {"limits": {"max_concurrency": calls, "queue": calls}, "providers": {"llm": {"max_concurrency": calls}}}
    )
    environ = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder)}
    # As the server does: what was loaded by now is no garbage.
    gc.freeze()
    async with Engine(configuration, environ=environ, store_file=folder / "many.db") as engine:
        first = engine.submit(LLMRequest(prompt="hi", provider="llm"))
        assert (await first.outcome()).status == "completed"
        guardian = guardian_of(os.getpid())
        before = pss_kib(os.getpid(), guardian)
        started = time.perf_counter()
        asked = [engine.submit(LLMRequest(prompt="hi", provider="llm")) for _ in range(calls)]
        used = 0
        if looks:
            await anyio.sleep(LOOK_S)
            shepherds = children(guardian)
            assert len(list(descendants(guardian))) > 2 * calls
            used = pss_kib(os.getpid(), guardian, *shepherds) - before
        for call in asked:
            reply = await call.outcome()
            assert reply.status == "completed", reply.error
        return {"seconds": time.perf_counter() - started, "kib_per_call": used / calls}


if __name__ == "__main__":
    os.environ["DRAGOMAN_HOME"] = str(Path(sys.argv[1]) / "many")
    sys.stdout.write(json.dumps(anyio.run(measure, Path(sys.argv[1]), int(sys.argv[2]))))
