"""The fault table as data: what a CLI, its launcher, the client or the system does wrong, and what the caller must get.

Each row is played through the real ``dragoman serve`` with a scripted program in the place of ``claude``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dragoman.testing.fakes import Step

MB = 1_000_000
SHORT_S = "0.6"
"""The clocks are this short where one of them is to fire."""

Event = Literal[
    "cancel",
    "vanish",
    "TERM server",
    "KILL server",
    "KILL guardian",
    "KILL shepherd",
    "STOP shepherd",
    "KILL guardian and server",
]


def said(text: str) -> Step:
    """A piece of an answer."""
    event = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return {"line": {"type": "stream_event", "event": event}}


def result(text: str = "whole") -> Step:
    """The end of a turn, with the whole answer."""
    return {"line": {"type": "result", "subtype": "success", "is_error": False, "result": text}}


def failed(words: str, status: int | None = None) -> Step:
    """The end of a turn that failed."""
    line = {"type": "result", "subtype": "success", "is_error": True, "result": words, "api_error_status": status}
    return {"line": line}


READ: Step = {"read": "line"}
STAY: Step = {"pause": True}
PART = said("part")
WHOLE = result()


def hidden(**options: object) -> Step:
    """A grandchild that lives on; the stage connects it."""
    return {"grandchild": options}


HIDDEN = hidden(setsid=True, double_fork=True, clear_env=True, ignore_term=True)
"""One that only a subreaper finds, and only SIGKILL ends."""


@dataclass(frozen=True)
class Row:
    """One fault. ``code``: the error's, or how it went without one. ``clock``: the one that fired."""

    id: str
    played: str
    steps: tuple[Step, ...] | None
    """What the fake CLI does after it has connected to the test; None: there is none."""
    code: str
    text: str = ""
    """What of the answer the caller gets."""
    clock: str | None = None
    told: str = ""
    """What the error has besides its code: `retry_after_s` or `reset_at`."""
    notice: str = ""
    """Words that must be in a notice."""
    prompt: str = "hi"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """More for the server."""
    configure: str = ""
    """The person's own configuration file, with FOLDER for the folder of the row."""
    prepare: Callable[[Path], None] | None = None
    """Makes another program than the fake CLI, in the folder of programs."""
    event: Event | None = None
    """What happens when the fake CLI is there and has said its part."""
    processes: int = 1
    """How many connect, all of them before anything else happens to the call."""
    is_long: bool = False


def clock(name: str, seconds: str = SHORT_S) -> dict[str, str]:
    """The server's configuration with this clock shortened."""
    return {f"DRAGOMAN_PROVIDERS__CLAUDE__TIMEOUTS__{name.upper()}": seconds}


def program(text: str, mode: int = 0o755) -> Callable[[Path], None]:
    """A program with this content instead of the fake CLI."""

    def prepare(folder: Path) -> None:
        file = folder / "claude"
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)

    return prepare


def command(*words: str) -> str:
    """Configuration: what is started as claude."""
    return f"[providers.claude]\ncommand = {list(words)!r}\n".replace("'", '"')


STUB = "#!/bin/sh\necho 'Error: claude native binary not installed.' >&2\nexit 1\n"
DEAF: Step = {"ignore": ["TERM", "INT", "HUP"]}

ROWS = (
    # It does not start
    Row("missing-binary", "the program is not there", None, "not_found", processes=0),
    Row(
        "not-executable",
        "the program may not be executed",
        None,
        "not_found",
        processes=0,
        configure=command("FOLDER/bin/claude"),
        prepare=program("text", 0o644),
    ),
    Row(
        "bad-interpreter",
        "its first line names an interpreter that is not there",
        None,
        "not_found",
        processes=0,
        prepare=program("#!/no/such/interpreter\n"),
    ),
    Row("npm-stub", "npm's stub without the native program", None, "not_found", processes=0, prepare=program(STUB)),
    Row(
        "e2big",
        "a command line and environment larger than the system takes",
        (READ, WHOLE),
        "prompt_too_large",
        # Half of it each, since the server gets the variables, too.
        environment={f"LC_X{number}": "x" * 100_000 for number in range(12)},
        configure="[providers.claude]\nargs = [" + ", ".join(['"' + "x" * 90_000 + '"'] * 10) + "]\n",
        processes=0,
    ),
    # It says why
    Row(
        "auth-text",
        "exit 1 with words about a login",
        ({"err": "Invalid API key · Please run /login\n"}, {"exit": 1}),
        "auth",
    ),
    Row(
        "429",
        "429 with Retry-After",
        (READ, failed("API Error: 429 rate limit, retry after 30 s", 429)),
        "rate_limited",
        told="retry_after_s",
    ),
    Row(
        "quota",
        "a quota that ends at a stated time",
        (READ, failed("Claude usage limit reached. Your limit will reset at 3pm", 429)),
        "quota",
        told="reset_at",
    ),
    Row("overloaded", "529 overloaded", (READ, failed("API Error: 529 overloaded_error", 529)), "overloaded"),
    Row("refused", "connection refused", (READ, failed("API Error: Connection refused (ECONNREFUSED)")), "network"),
    # Time
    Row("silence", "not a byte", (READ, STAY), "timeout", clock="startup", environment=clock("startup")),
    Row(
        "stall", "silence in mid-stream", (READ, PART, STAY), "timeout", "part", clock="idle", environment=clock("idle")
    ),
    Row(
        "drip",
        "a drop every 50 ms, for ever",
        (READ, PART, {"repeat": 2000, "steps": [{"sleep": 0.05}, {"line": {"type": "keep_alive"}}]}),
        "timeout",
        "part",
        clock="attempt",
        environment=clock("attempt"),
    ),
    Row(
        "term-ignored",
        "SIGTERM, SIGINT and SIGHUP ignored",
        (READ, DEAF, PART, STAY),
        "timeout",
        "part",
        clock="idle",
        environment=clock("idle"),
    ),
    # What it leaves behind
    Row(
        "setsid",
        "a grandchild in a session of its own holds stdout",
        (READ, hidden(setsid=True, hold_stdout=True), {"wait": "gate"}, WHOLE),
        "completed",
        "whole",
        processes=2,
    ),
    Row(
        "double-fork",
        "a grandchild whose parent ended",
        (READ, hidden(setsid=True, double_fork=True), {"wait": "gate"}, WHOLE),
        "completed",
        "whole",
        processes=2,
    ),
    Row(
        "cleared-environment",
        "the same, deaf, with an empty environment",
        (READ, HIDDEN, {"wait": "gate"}, WHOLE),
        "completed",
        "whole",
        processes=2,
    ),
    Row(
        "sigstop",
        "it stops itself (SIGSTOP)",
        (READ, PART, {"stop_self": True}),
        "timeout",
        "part",
        clock="idle",
        environment=clock("idle"),
    ),
    Row(
        "sigsegv",
        "SIGSEGV in mid-line",
        (READ, PART, {"out": '{"type": "stream'}, {"signal_self": "SEGV"}),
        "crashed",
        "part",
    ),
    # How it ends
    Row("exit-0-empty", "exit 0 and nothing said", (READ,), "malformed_output"),
    Row(
        "exit-0-error",
        "exit 0 and an error as plain text",
        (READ, {"out": "Error: something broke\n"}),
        "malformed_output",
        notice="something broke",
    ),
    Row("exit-3-after-answer", "exit 3 after a whole answer", (READ, WHOLE, {"exit": 3}), "completed", "whole"),
    Row("never-exits", "the answer, and it stays", (READ, WHOLE, DEAF, STAY), "completed", "whole"),
    Row(
        "never-reads",
        "a prompt of 4 MB that it never reads",
        (WHOLE, STAY),
        "completed",
        "whole",
        prompt="x" * (4 * MB),
    ),
    Row(
        "deaf-and-mute",
        "a prompt of 4 MB that it never reads, and no answer",
        (STAY,),
        "timeout",
        clock="startup",
        prompt="x" * (4 * MB),
        environment=clock("startup"),
    ),
    Row(
        "exits-before-reading",
        "a prompt of 4 MB, and it exits at once",
        ({"err": "out of luck\n"}, {"exit": 1}),
        "crashed",
        prompt="x" * (4 * MB),
    ),
    # What it writes
    Row(
        "long-line",
        "a line of 100 MB",
        (READ, {"spew": 100 * MB, "line_bytes": 0}, {"out": "\n"}, WHOLE),
        "completed",
        "whole",
        notice="over 8388608 bytes",
    ),
    Row(
        "gigabyte",
        "1 GB of an answer in pieces, and then the whole of it",
        (READ, {"repeat": 1000, "steps": [said("x" * MB)]}, WHOLE),
        "completed",
        "whole",
        is_long=True,
    ),
    Row(
        "too-much-text",
        "200 KB of text where 100 KB are kept",
        (
            READ,
            {"repeat": 20, "steps": [said("x" * 10_000)]},
            {"line": {"type": "result", "subtype": "success", "is_error": False}},
        ),
        "output_limit",
        "x" * 100_000,
        environment={"DRAGOMAN_LIMITS__CAPTURE_BYTES": "100000"},
    ),
    Row("stderr-flood", "100 MB on stderr", (READ, {"spew": 100 * MB, "to": "stderr"}, WHOLE), "completed", "whole"),
    Row(
        "split-utf8",
        "characters cut between writes",
        (
            READ,
            {"split": '{"type": "result", "subtype": "success", "result": "é€😀 \u2028 end"}\n', "bytes_per_write": 1},
        ),
        "completed",
        "é€😀 \u2028 end",
    ),
    Row(
        "leading-garbage",
        "colours, a byte order mark, words and CRLF before the first event, two events on a line",
        (
            READ,
            {"out": "\ufeff\x1b[33mUpdate available!\x1b[0m\r\nLoading {1/2} "},
            {"out": '{"type": "system"}{"type": "system"}\r\n'},
            WHOLE,
        ),
        "completed",
        "whole",
        notice="Update available!",
    ),
    Row(
        "unknown-events",
        "events nobody knows",
        (READ, {"line": {"type": "brand_new", "x": [1]}}, WHOLE),
        "completed",
        "whole",
        notice="brand_new",
    ),
    Row(
        "truncated-json",
        "the last line is cut",
        (READ, PART, {"out": '{"type": "result", "subty'}),
        "malformed_output",
        "part",
        notice="not understood",
    ),
    Row("lost-tail", "exit 0 without the final event", (READ, PART), "malformed_output", "part"),
    # What it is asked
    Row("long-prompt", "a prompt of 5 MB", (READ, WHOLE), "completed", "whole", prompt="é" * (5 * MB // 2)),
    Row(
        "flag-prompt",
        "a prompt that looks like a flag",
        (READ, {"when_arg": "--help", "steps": [{"exit": 9}]}, WHOLE),
        "completed",
        "whole",
        prompt="--help",
    ),
    Row("nul-prompt", "a NUL in the prompt", (READ, WHOLE), "bad_request", prompt="a\0b", processes=0),
    # Others
    Row(
        "client-cancel",
        "the client cancels the call",
        (READ, PART, DEAF, HIDDEN, STAY),
        "no answer",
        event="cancel",
        processes=2,
    ),
    Row(
        "client-vanishes",
        "the client closes the connection",
        (READ, PART, DEAF, HIDDEN, STAY),
        "exit 0",
        event="vanish",
        processes=2,
    ),
    Row(
        "server-term",
        "SIGTERM to the server",
        (READ, PART, DEAF, HIDDEN, STAY),
        "exit 143",
        event="TERM server",
        processes=2,
    ),
    Row(
        "server-kill",
        "SIGKILL to the server",
        (READ, PART, DEAF, HIDDEN, STAY),
        "exit -9",
        event="KILL server",
        processes=2,
    ),
    Row(
        "guardian-kill",
        "SIGKILL to the guardian",
        (READ, PART, HIDDEN, {"wait": "gate"}, WHOLE),
        "completed",
        "whole",
        event="KILL guardian",
        processes=2,
    ),
    Row(
        "shepherd-kill",
        "SIGKILL to the shepherd",
        (READ, PART, DEAF, HIDDEN, STAY),
        "crashed",
        "part",
        event="KILL shepherd",
        processes=2,
    ),
    Row(
        "shepherd-stop",
        "SIGSTOP to the shepherd",
        (READ, PART, DEAF, HIDDEN, STAY),
        "crashed",
        "part",
        event="STOP shepherd",
        processes=2,
    ),
    Row(
        "guardian-and-server",
        "SIGKILL to the guardian and the server",
        (READ, PART, DEAF, HIDDEN, STAY),
        "exit -9",
        event="KILL guardian and server",
        processes=2,
    ),
)
