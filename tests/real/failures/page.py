"""The page of the failure table, written and read again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from tests.real.failures.clis import CLIS, VERSIONS
from tests.real.failures.rows import ROWS, WAITING, Row
from tests.real.failures.stage import Seen

PAGE = Path(__file__).parents[3] / "docs" / "failures.md"
SHOWN = 90
_COLUMNS = ("row", "what is played", "what the CLI does", "its words", "called", "retryable", "effects")
COLUMNS = (*_COLUMNS, "known after", "attempts", "asked", "next step")

HEAD = """\
# What a failure is called

Each row is produced by the real program: it runs behind Dragoman's engine as a person would have set it up, against a
fake of its model's API on this machine, and fails as that makes it fail. Made by
`python -m tests.real.failures --write`; the same rows are tests, those that only repeat another one's class in the long
runs (`-m long`).

*What the CLI does*: how it exits, where it does so by itself, and the last event or line that tells why. *Called*: the
code of the error, in parentheses the clock that fired, and what it tells of the time to try again. *Known after*: the
seconds until the caller had the cause, on a busy machine with two cores; it is at most 20. *Attempts* are Dragoman's:
one is allowed where nothing else is said. *Asked*: how often the CLI asked its model in them. Clocks are set to 2 s of
silence (6 s before the first word) where one is to fire. `running`: no clock is set, so the call goes on for minutes
(`idle` is 180 s: a model may think), and the cause is known by its progress, whose line stands under *its words*.

`completed` is no mistake where a CLI itself takes a failure for an answer and nothing it prints tells otherwise.
"""

UNREACHABLE = """\
## What cannot be had on one machine

These are classified from transcripts and exit codes in `tests/adapters`.

| CLI | failure | called | why not here |
|---|---|---|---|
| claude | its own limits: no byte for five minutes | `timeout` | our clocks fire first |
| claude | npm's stub in place of the native program | `not_found` | played in [the fault table](faults.md) |
| claude | `-p` as root with permissions bypassed, exit 1 with a good result | | Dragoman does not ask for it |
| claude | interrupted (SIGINT) before its turn began: exit 0, no word | `malformed_output`, not `crashed` | \
it must come in the tenth of a second in which it starts; then it exits as if its whole answer had been lost |
| codex | a name that does not resolve | `network` | would ask a name server |
| codex | a proxy that blocks WebSockets | | the same events come from a fake in `test_codex_failures` |
| codex | somebody else writes to its session | `overloaded` | needs a second codex with the same session open |
| gemini | exit 42, 44, 54, 55: no prompt, no container, a full disk, an untrusted folder | by the exit code | \
the set-up that Dragoman gives it rules them out |
| gemini | exit 53, a limit of turns | `output_limit` | no such limit is set |
| gemini | a loop that it sees | `output_limit` | switched off: it takes repeated lines for one |
| gemini | its output lost in a pipe, with exit 0 | `malformed_output` | over ACP, or through a file, nothing is lost |
| gemini | a login that has expired | `auth` | needs Google's own page; the prompt is told from a transcript |
| llm | its database is locked | `crashed` | each call has one of its own |
| llm | a plugin that fails to import | `crashed` | would need to be installed beside the tests |
| local | a processor without AVX2 (SIGILL) | `not_found` | needs such a processor |
"""


def written(told: Mapping[str, Mapping[str, str]]) -> str:
    """The whole page, from the cells of every row.

    Raises:
        KeyError: a row is missing.
    """
    return "\n".join((HEAD, *_sections(told), UNREACHABLE))


def read(page: str) -> Mapping[str, Mapping[str, str]]:
    """The rows of a page, by name."""
    lines = re.findall(r"^\| ([a-z0-9-]+-[a-z0-9-]+ \| .*) \|$", page, re.MULTILINE)
    cells = (re.split(r" \| ?", line.replace("\\|", "\0")) for line in lines)
    return {cell[0]: dict(zip(COLUMNS, (text.replace("\0", "|") for text in cell), strict=True)) for cell in cells}


def cells(row: Row, seen: Seen) -> Mapping[str, str]:
    """A row of the table."""
    values = (
        *(row.id, row.played, seen.did, _short(seen.message), _called(seen)),
        "" if seen.code in ("completed", WAITING) else "yes" if seen.retryable else "no",
        *(seen.effects, f"{seen.seconds:.1f} s", str(seen.attempts), str(seen.asked), seen.next_step),
    )
    return dict(zip(COLUMNS, (" ".join(value.split()) for value in values), strict=True))


def _called(seen: Seen) -> str:
    return f"`{seen.verdict}`" + (f" {seen.told}" if seen.told else "")


def _sections(told: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for heading, each in groupby(ROWS, key=lambda row: CLIS[row.cli].heading):
        version = VERSIONS.get(heading.split()[0].rstrip(","))
        yield f"## {heading}" + (f" ({version})" if version else "")
        yield ""
        yield f"| {' | '.join(COLUMNS)} |"
        yield "|---" * len(COLUMNS) + "|"
        for row in each:
            values = (value.replace("|", "\\|") for value in told[row.id].values())
            yield f"| {' | '.join(values)} |"
        yield ""


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= SHOWN else f"{words[:SHOWN]}…"
