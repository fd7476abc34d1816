"""What Dragoman costs, each figure beside its floor, measured in one run. Linux.

python -m benchmarks             prints a table
python -m benchmarks --write     also writes it to docs/benchmarks.md
"""

from __future__ import annotations

import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.many import guardian_of, pss_kib
from benchmarks.stdio import Server
from benchmarks.web import Era, WebClient, WebServer
from dragoman.processes.tree import children

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
STARTS = 12
CALLS = 200
PAUSE_S = 0.05
"""Before a call that is measured by itself: what is written behind a reply is gathered for 20 ms."""
NDJSON_TARGETS = {300: 20, 4096: 80, 65536: 150}
"""Bytes of a line, and the MB/s wanted."""
IN_FLIGHT = 200
MANY_RUNS = 5
NOOP_MS = 0.92
"""What the no-op tool of an empty server took where the targets in milliseconds were set."""
EMPTY = (sys.executable, str(HERE / "empty_server.py"))
OURS = (sys.executable, "-m", "dragoman", "serve")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    ours: str
    floor: str
    verdict: str
    target: str


def main() -> None:
    """Measure everything and print the table."""
    with tempfile.TemporaryDirectory(prefix="dragoman-bench-") as name:
        folder = Path(name)
        environment = make_environment(folder)
        noop_s, calls = call_rows(environment, folder)
        rows = [
            start_row(environment, folder),
            *calls,
            *layer_rows(folder, noop_s),
            *http_rows(environment, folder),
            *memory_rows(environment, folder),
            *many_rows(folder),
            list_row(environment, folder),
            *(ndjson_row(folder, size, target) for size, target in NDJSON_TARGETS.items()),
        ]
    table = "\n".join(render(rows))
    sys.stdout.write(table + "\n")
    if "--write" in sys.argv:
        PAGE.write_text(page(table), encoding="utf-8")


def make_environment(folder: Path) -> dict[str, str]:
    """An environment from nothing in which four providers are present and `llm` is a program that answers at once."""
    programs = folder / "bin"
    programs.mkdir()
    for program in ("claude", "codex"):
        executable(programs / program, "exit 1")
    executable(programs / "llm", "cat >/dev/null; echo Paris")
    return {
        "PATH": f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(folder),
        "DRAGOMAN_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "LANG": "C.UTF-8",
    }


def executable(file: Path, script: str) -> None:
    """A shell script that can be started."""
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)


def start_row(environment: dict[str, str], folder: Path) -> Row:
    """From the start of the process to the answer to `initialize`."""
    ours: list[float] = []
    floor: list[float] = []
    for number in range(STARTS + 1):
        for argv, times in ((EMPTY, floor), (OURS, ours)):
            with Server(argv, environment, folder) as server:
                if number:  # the first of each compiles and fills caches
                    times.append(server.start_s)
    ratio = statistics.median(ours) / statistics.median(floor)
    return Row(
        "start → `initialize` answered, p50", ms(ours), f"{ms(floor)} (empty `MCPServer`)", f"{ratio:.2f} ×", "≤ 1.15 ×"
    )


def call_rows(environment: dict[str, str], folder: Path) -> tuple[float, list[Row]]:
    """One question through the server, beside a tool that does nothing plus a bare spawn of the same program.

    Also gives the seconds that the tool that does nothing takes.
    """
    program = str(folder / "bin" / "llm")
    question = "What is the capital of France?"
    forgetful = {**environment, "DRAGOMAN_CONVERSATIONS__REMEMBER": "false", "DRAGOMAN_HOME": str(folder / "forgetful")}
    here_only = {
        **environment,
        "DRAGOMAN_CONVERSATIONS__NATIVE_SESSIONS": "false",
        "DRAGOMAN_HOME": str(folder / "here-only"),
    }

    def spawn() -> None:
        subprocess.run([program], input=b"hi", capture_output=True, env=environment, check=True)

    rows: list[Row] = []
    noop_s = 0.0
    for what, environ, pause_s, target_ms in (
        ("one call, p50, its job and statistics kept", forgetful, PAUSE_S, 3),
        ("one call, p50, its turn kept, too, before the reply", environment, PAUSE_S, 4),
        ("the same without a session of llm's own (a database)", here_only, PAUSE_S, None),
        ("one call right behind another, its job and statistics kept", forgetful, 0, None),
        ("the same, its turn kept, too, before the reply", environment, 0, None),
    ):
        with Server(EMPTY, environment, folder) as empty, Server(OURS, environ, folder) as server:
            noop, bare, ours = alternate(
                functools.partial(empty.call, "noop"),
                spawn,
                functools.partial(server.call, "ask_llm", prompt=question),
                pause_s=pause_s,
            )
        noop_s = noop_s or statistics.median(noop)
        floor = statistics.median(noop) + statistics.median(bare)
        beside = f"{floor * 1000:.2f} ms (no-op tool {ms(noop)} + bare spawn {ms(bare)})"
        extra = more(statistics.median(ours) - floor, statistics.median(noop))
        rows.append(Row(what, ms(ours), beside, extra, "" if target_ms is None else at_most(target_ms)))
    return noop_s, rows


def more(seconds: float, noop_s: float) -> str:
    """What is added to a floor, also in calls of the tool that does nothing: a slow machine slows both."""
    return f"+ {seconds * 1000:.2f} ms = {seconds / noop_s:.2f} no-ops"


def at_most(target_ms: float) -> str:
    """The target for it, on the machine where it was set."""
    return f"≤ + {target_ms:g} ms = {target_ms / NOOP_MS:.2f} no-ops"


def layer_rows(folder: Path, noop_s: float) -> Iterator[Row]:
    """A call through all layers, beside one without limits, breakers and retries; with a process that is none."""
    argv = [sys.executable, "-m", "benchmarks.layers", str(folder), str(CALLS)]
    times: dict[str, list[float]] = json.loads(subprocess.check_output(argv, cwd=HERE.parent))
    alone = statistics.median(times["bare"])
    for name, what, target in (
        ("layers", "limits, circuit breaker and retry, a good call, p50", at_most(0.3)),
        ("kept", "the same, its turn kept before the reply", ""),
    ):
        extra = statistics.median(times[name]) - alone
        yield Row(what, ms(times[name]), f"{alone * 1000:.2f} ms (without them)", more(extra, noop_s), target)


def http_rows(environment: dict[str, str], folder: Path) -> Iterator[Row]:
    """The same question over streamable HTTP, beside the server over stdio."""
    question = "What is the capital of France?"
    eras: tuple[Era, ...] = ("2026-07-28", "handshake")
    with Server(OURS, environment, folder) as server, WebServer(OURS, environment, folder) as web:
        clients = [WebClient(web, era) for era in eras]
        floor, *ours = alternate(
            *(functools.partial(each.call, "ask_llm", prompt=question) for each in (server, *clients))
        )
    for era, times in zip(eras, ours, strict=True):
        extra = statistics.median(times) - statistics.median(floor)
        yield Row(
            f"one call over streamable HTTP, {era}, p50",
            ms(times),
            f"{ms(floor)} (over stdio)",
            f"{extra * 1000:+.2f} ms",
            "≤ + 4 ms",
        )


def alternate(*actions: Callable[[], object], pause_s: float = 0) -> list[list[float]]:
    """The times of each action, run in turn so that what else the machine does falls on all alike.

    `pause_s` before each of them, for what another one has left to do behind its reply.
    """
    times: list[list[float]] = [[] for _ in actions]
    for number in range(CALLS + 20):
        for action, taken in zip(actions, times, strict=True):
            time.sleep(pause_s)
            before = time.perf_counter()
            action()
            if number >= 20:
                taken.append(time.perf_counter() - before)
    return times


def memory_rows(environment: dict[str, str], folder: Path) -> Iterator[Row]:
    """Resident memory of a server that nobody has asked anything, and after calls."""
    with (
        Server((*EMPTY, "--with-dependencies"), environment, folder) as empty,
        Server(OURS, environment, folder) as server,
    ):
        for each in (empty, server):
            each.request("tools/list", {})
        floor, idle = empty.resident_kib(), server.resident_kib()
        yield Row(
            "memory before the first call",
            mib(idle),
            f"{mib(floor)} (empty server, our dependencies imported)",
            f"{idle / floor:.2f} ×",
            "≤ 1.15 ×",
        )
        server.call("ask_llm", prompt="hi")
        guardian = guardian_of(server.process.pid)
        watching = pss_kib(guardian, *children(guardian))
        used = server.resident_kib() + watching
        yield Row(
            "memory after the first call, guardian included", mib(used), mib(floor), f"{used / floor:.2f} ×", "≤ 1.35 ×"
        )
        yield Row("guardian and the shepherds that wait", mib(watching), "", "", "≤ 12 MB")
        for _ in range(50):
            server.call("ask_llm", prompt="hi")
        used = server.resident_kib() + pss_kib(guardian, *children(guardian))
        yield Row("memory after 50 calls", mib(used), mib(floor), f"{used / floor:.2f} ×", "")


def many_rows(folder: Path) -> Iterator[Row]:
    """Many calls in flight, each a program that sleeps a second; beside as many bare processes."""
    argv = [sys.executable, "-m", "benchmarks.many", str(folder), str(IN_FLIGHT)]
    used = json.loads(subprocess.check_output([*argv, "--memory"], cwd=HERE.parent))["kib_per_call"]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(MANY_RUNS):
        times[0].append(json.loads(subprocess.check_output(argv, cwd=HERE.parent))["seconds"])
        before = time.perf_counter()
        bare = [subprocess.Popen([str(folder / "llm")], stdout=subprocess.DEVNULL) for _ in range(IN_FLIGHT)]
        for process in bare:
            process.wait()
        times[1].append(time.perf_counter() - before)
    taken, floor = map(statistics.median, times)
    what = f"{IN_FLIGHT} calls in flight of a program that sleeps 1 s, p50 of {MANY_RUNS}"
    yield Row(what, f"{taken:.2f} s", f"{floor:.2f} s (bare processes)", f"{taken / floor:.2f} ×", "≤ 1.6 s")
    yield Row("memory of each of them, shepherd included", mib(used), "", "", "≤ 1.2 MB")


def list_row(environment: dict[str, str], folder: Path) -> Row:
    """What the tool list costs a client's context."""
    with Server(OURS, environment, folder) as server:
        result = server.request("tools/list", {})
    asked = [tool["name"] for tool in result["tools"] if tool["name"].startswith("ask_")]
    size = len(json.dumps(result, separators=(",", ":"), ensure_ascii=False).encode())
    return Row(f"`tools/list`, {len(asked)} providers", f"{size} bytes", "", "", "≤ 6,144 bytes with four")


def ndjson_row(folder: Path, line_bytes: int, target: int) -> Row:
    """100 MB of an answer in lines of JSON, beside reading the same and parsing every line; in a process of its own."""
    argv = [sys.executable, "-m", "benchmarks.ndjson", str(folder), str(line_bytes)]
    measured = json.loads(subprocess.check_output(argv, cwd=HERE.parent))
    ours, floor = measured["ours"], measured["floor"]
    return Row(
        f"{measured['mb']:.0f} MB of NDJSON, lines of {line_bytes} bytes",
        f"{ours:.0f} MB/s, peak memory + {measured['grown_mib']:.0f} MiB",
        f"{floor:.0f} MB/s (read + `json.loads`)",
        f"{ours / floor:.2f} ×",
        f"≥ {target} MB/s, ≤ + 64 MiB",
    )


def ms(times: list[float]) -> str:
    """The median, in milliseconds."""
    return f"{statistics.median(times) * 1000:.2f} ms"


def mib(kib: float) -> str:
    """Kibibytes as mebibytes."""
    return f"{kib / 1024:.1f} MiB"


def render(rows: list[Row]) -> Iterator[str]:
    """The rows as a Markdown table."""
    yield "| what | Dragoman | floor | ratio | target |"
    yield "|---|---|---|---|---|"
    for row in rows:
        yield f"| {row.what} | {row.ours} | {row.floor} | {row.verdict} | {row.target} |"


def page(table: str) -> str:
    """The page for the documentation."""
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    packages = ", ".join(f"{name} {version(name)}" for name in ("mcp", "pydantic", "anyio"))
    return (
        "# What it costs\n\n"
        "Every figure stands beside its floor, measured in turn in one run, so that a busy machine slows both.\n"
        f"Made by `python -m benchmarks --write` on {machine}; {packages}.\n\n{table}\n\n"
        "The floor of a call is a tool that does nothing on an empty `MCPServer` plus a bare `subprocess.run` of the\n"
        f"same program. A call by itself has {PAUSE_S * 1000:g} ms of silence before it, and so has its floor;\n"
        "right behind another it meets what that one has left to do behind its reply.\n\n"
        "The NDJSON rows go through the whole engine with the adapter of claude. The targets in\n"
        f"milliseconds were set where the no-op tool takes {NOOP_MS} ms; what is added to a floor is in no-ops, too.\n"
    )


if __name__ == "__main__":
    main()
