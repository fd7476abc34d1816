"""The failure table of the real CLIs. Linux.

python -m tests.real.failures [ROW …]             plays every row, or those whose names begin so, and prints them
python -m tests.real.failures --write [ROW …]     also writes them to docs/failures.md; the others stay as they are
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import anyio

from tests.real.failures.page import PAGE, cells, read, written
from tests.real.failures.rows import ROWS
from tests.real.failures.stage import faults, play_all


async def main() -> int:
    """Play the rows; 1 if one of them went otherwise than it should."""
    writes = "--write" in sys.argv
    names = tuple(name for name in sys.argv[1:] if name != "--write")
    rows = [row for row in ROWS if not names or row.id.startswith(names)]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dragoman-failures-") as folder:
        seen = await play_all(rows, Path(folder))
    wrong = {row.id: list(faults(row, seen[row.id])) for row in rows}
    told = {row.id: cells(row, seen[row.id]) for row in rows}
    for each in told.values():
        sys.stdout.write(f"| {' | '.join(each.values())} |\n")
    for name, each in wrong.items():
        if each:
            sys.stderr.write(f"{name}: {'; '.join(each)}: {seen[name]}\n")
    sys.stderr.write(f"{len(rows)} rows in {time.monotonic() - started:.0f} s\n")
    if writes and not any(wrong.values()):
        PAGE.write_text(written({**read(PAGE.read_text("utf-8")), **told}), encoding="utf-8")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(anyio.run(main))
