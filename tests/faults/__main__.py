"""The fault table. Linux.

python -m tests.faults             plays every row and prints the table
python -m tests.faults --write     also writes it to docs/faults.md
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio

from tests.faults.rows import ROWS, Row
from tests.faults.stage import Seen, as_expected, play

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
AT_ONCE = 2
SHOWN = 24

HEAD = """\
# What happens when something goes wrong

Every row is played through the real server, by a scripted program in the place of a provider's CLI, and by signals.
Made by `python -m tests.faults --write`; the same rows are tests. *Code* is the error that the caller gets, or how the
call went; in parentheses the clock that fired. *Kept*: what of the answer came with it, and which notices. *Reply*: how
long until the caller had it. *Gone*: until nothing was left, which is after the grace for what is deaf to SIGTERM.
*Memory*: how much the server's peak grew. Nothing may be left of any row: no process of the CLI, wherever it hid, and
no private folder. Clocks are set to 0.6 s where one is to fire.

| row | what is played | code | kept | reply | gone | memory | left |
|---|---|---|---|---|---|---|---|
"""


async def main() -> int:
    """Play every row, a few at once; 1 if one of them went otherwise than it should."""
    seen: dict[str, Seen] = {}
    places = anyio.CapacityLimiter(AT_ONCE)

    async def one(row: Row) -> None:
        async with places:
            with tempfile.TemporaryDirectory(prefix="dragoman-fault-") as folder:
                seen[row.id] = await play(row, Path(folder))

    async with anyio.create_task_group() as tasks:
        for row in ROWS:
            tasks.start_soon(one, row)
    wrong = [row.id for row in ROWS if not as_expected(row, seen[row.id])]
    for name in wrong:
        sys.stderr.write(f"{name} went otherwise than it should: {seen[name]}\n")
    page = HEAD + "".join(f"{line}\n" for line in lines(seen))
    sys.stdout.write(page)
    if "--write" in sys.argv and not wrong:
        PAGE.write_text(page, encoding="utf-8")
    return 1 if wrong else 0


def lines(seen: dict[str, Seen]) -> Iterator[str]:
    """The table."""
    for row in ROWS:
        each = seen[row.id]
        code = f"{each.code} ({each.clock})" if each.clock else each.code
        left = "nothing" if each.left == 0 else f"**{each.left}**"
        reply = "" if row.event and each.code.startswith(("exit", "no ")) else f"{each.seconds:.1f} s"
        memory = "" if each.grown_mib is None else f"+ {each.grown_mib:.0f} MiB"
        cost = f"{reply} | {each.gone_s:.1f} s | {memory}"
        yield f"| {row.id} | {row.played} | `{code}` | {_kept(each)} | {cost} | {left} |"


def _kept(seen: Seen) -> str:
    text = seen.text if len(seen.text) <= SHOWN else f"{len(seen.text)} characters"
    kept = [f"“{text}”"] if text and len(seen.text) <= SHOWN else [text] if text else []
    notices = [notice if len(notice) <= 2 * SHOWN else f"{notice[: 2 * SHOWN]}…" for notice in seen.notices]
    words = "; ".join([*kept, *(f"notice: {notice}" for notice in notices)])
    return words.replace("|", "\\|").replace("\u2028", "⏎")


if __name__ == "__main__":
    sys.exit(anyio.run(main))
