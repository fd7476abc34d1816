"""What a large store costs: the same work at 1,000 turns and at 1,000,000, in turn in one run.

python -m benchmarks.turns                  prints a table; takes some minutes and 3 GB of disk
python -m benchmarks.turns --write          also writes it to docs/store.md
python -m benchmarks.turns --turns 100000   compares with fewer
"""

from __future__ import annotations

import os
import platform
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from dragoman.store import CallStarted, Expire, SessionRow, Store, TurnEnded, TurnStarted, open_store
from dragoman.store.history import turn_id
from dragoman.store.search import index_turn

PAGE = Path(__file__).parent.parent / "docs" / "store.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
FEW = 1_000
MANY = 1_000_000
PER_CONVERSATION = 10
ROUNDS = 400
OPENINGS = 15
TEXTS = 20_000
"""Different texts. Their words are as rare and as common as those of a language."""


@dataclass
class Sample:
    """A store of some size and what was measured there, in seconds."""

    folder: Path
    turns: int
    times: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    @property
    def file(self) -> Path:
        """Where it is."""
        return self.folder / f"{self.turns}.sqlite3"

    def p50(self, what: str) -> float:
        """The median."""
        return statistics.median(self.times[what])


async def compare(turns: int) -> str:
    """Build both stores and measure; the table."""
    with tempfile.TemporaryDirectory(prefix="dragoman-turns-") as name:
        samples = [Sample(Path(name), FEW), Sample(Path(name), turns)]
        for sample in samples:
            await build(sample)
        async with AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(open_store(sample.file)) for sample in samples]
            await measure(samples, stores)
        for _ in range(OPENINGS):
            for sample in samples:
                await measure_opening(sample)
        return "\n".join(render(*samples))


def main() -> None:
    """Measure and print."""
    table = anyio.run(compare, int(sys.argv[sys.argv.index("--turns") + 1]) if "--turns" in sys.argv else MANY)
    sys.stdout.write(table + "\n")
    if "--write" in sys.argv:
        page = PAGE.read_text(encoding="utf-8")
        head, tail = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(f"{head}{BEGIN}\n{made_by()}\n\n{table}\n{END}{tail}", encoding="utf-8")


async def build(sample: Sample) -> None:
    """Conversations that went on at the same time, ten turns each, written in a few large transactions."""
    async with open_store(sample.file) as store:
        await store.write(CallStarted("first", "benchmark"))  # registers a server, which the turns refer to
    chance = random.Random(7)  # noqa: S311 - no secret
    texts = [text(chance) for _ in range(TEXTS)]
    conversations = sample.turns // PER_CONVERSATION
    with closing(sqlite3.connect(sample.file, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO conversations (id, created_at, updated_at, title, provider, turns, completed, bytes)"
            " VALUES (?, 0, ?, 'What is it', ?, ?, ?, 11000)",
            [
                (f"c{number}", float(number), ("claude", "codex")[number % 2], PER_CONVERSATION, PER_CONVERSATION)
                for number in range(conversations)
            ],
        )
        db.executemany(
            "INSERT INTO sessions (conversation, provider, account, native_id, knows, dirty)"
            " SELECT key, provider, 'home', 'native', 10, 0 FROM conversations WHERE ?",
            [(1,)],
        )
        for turn in range(1, sample.turns + 1):
            number, conversation = divmod(turn - 1, conversations)
            row = turn_id(conversation + 1, number + 1)
            prompt, answer = chance.choice(texts)[:240] + f" rare{turn}", chance.choice(texts)
            db.execute(
                "INSERT INTO turns (id, call_id, server_id, status, provider, started_at,"
                " ended_at, input_tokens, output_tokens, prompt, text)"
                " VALUES (?, ?, 1, 'completed', 'claude', ?, ?, 10, 20, ?, ?)",
                (row, f"{turn:x}", float(turn), float(turn + 1), prompt, answer),
            )
            index_turn(db, row)
            if turn % 10_000 == 0:
                db.execute("COMMIT")
                db.execute("BEGIN")
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def text(chance: random.Random) -> str:
    """About 850 characters."""
    return " ".join(f"w{int(20_000 ** chance.random())}" for _ in range(160))


async def measure(samples: list[Sample], stores: list[Store]) -> None:
    """Every action in turn at both, so that what else the machine does falls on both alike."""
    chance = random.Random(8)  # noqa: S311 - no secret
    texts = [text(chance) for _ in range(50)]
    for number in range(ROUNDS):
        for sample, store in zip(samples, stores, strict=True):
            conversation = f"c{chance.randrange(sample.turns // PER_CONVERSATION)}"
            for what, action in actions(store, conversation, sample.turns, number, chance.choice(texts)):
                before = time.perf_counter()
                await action()
                if number >= 10:
                    sample.times.setdefault(what, []).append(time.perf_counter() - before)


def actions(
    store: Store, conversation: str, turns: int, number: int, answer: str
) -> Iterator[tuple[str, Callable[[], Awaitable[object]]]]:
    """What a server does."""
    call = f"call-{number}"

    async def append() -> None:
        asked = await store.write(TurnStarted(conversation, call, answer[:240], "claude"))
        session = SessionRow(conversation, "claude", "home", "native", knows=asked)
        await store.write(TurnEnded(conversation, call, "completed", answer, "claude", sessions=(session,)))

    async def load() -> None:
        row = store.conversation(conversation)
        assert row is not None
        assert len(store.good_turns(conversation, PER_CONVERSATION)) == PER_CONVERSATION

    async def find(words: str) -> None:
        assert (await store.search_conversations(words)).found

    yield "append", append
    yield "load", load
    yield "load in a thread", lambda: store.turns(conversation, last=PER_CONVERSATION)
    yield "list", lambda: store.conversations(50)
    yield "list of one provider", lambda: store.conversations(50, provider="codex")
    yield "list, the tenth page", lambda: store.conversations(50, skip=450)
    if number % 10 == 0:
        yield "search: the commonest word", lambda: find("w1")
        yield "search: two common words", lambda: find("w2 w3")
        yield "search: one turn", lambda: find(f"rare{turns // 2}")
        yield "search: one turn by a common word too", lambda: find(f"rare{turns // 2} w1")
        yield "search: no turn", lambda: store.search_conversations("nowhere w1")
        yield "a look at what is to leave", lambda: store.write(Expire(keep_days=1e6, keep_mb=1e6))


async def measure_opening(sample: Sample) -> None:
    """From nothing to a store that can be written and read."""
    before = time.perf_counter()
    async with open_store(sample.file) as store:
        sample.times.setdefault("open", []).append(time.perf_counter() - before)
        before = time.perf_counter()
        store.conversation("c1")
        sample.times.setdefault("first read", []).append(time.perf_counter() - before)


def render(few: Sample, many: Sample) -> Iterator[str]:
    """The table, in Markdown."""
    targets = {
        "append": ("a turn kept: begun, ended, both waited for", "≤ 1.5 ×", 1.5, None),
        "load": ("a conversation with its last 10 turns", "≤ 1.5 ×", 1.5, None),
        "load in a thread": ("the same in another thread", "", None, None),
        "list": ("50 conversations", "≤ 50 ms", None, 0.05),
        "open": ("open", "≤ 20 ms", None, 0.02),
    }
    yield f"| p50 | {few.turns:,} turns | {many.turns:,} turns | | target |"
    yield "|---|---|---|---|---|"
    for what in many.times:
        bound = "≤ 50 ms" if what.startswith(("list", "search")) else ""
        name, target, _, _ = targets.get(what, (what, bound, None, None))
        ratio = many.p50(what) / few.p50(what)
        yield f"| {name} | {ms(few.p50(what))} | {ms(many.p50(what))} | {ratio:.2f} × | {target} |"
    sizes = [sum(part.stat().st_size for part in each.folder.glob(f"{each.turns}.*")) / 1e6 for each in (few, many)]
    yield f"| size of the file | {sizes[0]:.1f} MB | {sizes[1]:.0f} MB | | |"


def ms(seconds: float) -> str:
    """Milliseconds."""
    return f"{seconds * 1000:.2f} ms"


def made_by() -> str:
    """Where the figures are from."""
    return (
        f"Made by `python -m benchmarks.turns --write` on {platform.system()} {platform.release()},"
        f" {os.cpu_count()} cores, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version};"
        " a turn is about 1.1 kB of text."
    )


if __name__ == "__main__":
    main()
