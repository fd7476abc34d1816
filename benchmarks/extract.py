"""What finding and judging JSON costs, beside `json.loads` of the same number of characters.

python -m benchmarks.extract
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from dragoman.structured import OutputSchema, extract

MEGABYTES = 5
SIZE = MEGABYTES * 1_000_000
PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
ANSWER = '{"name": "Ann"}'

_CHAT = 'It\'s the age of "wisdom" [sic], of {foolishness}, of belief.\n'
TEXTS: dict[str, tuple[str, float]] = {
    "chatty, an object at the end": (_CHAT, 0.2),
    "chatty, a fenced block at the end": (_CHAT, 0.2),
    "chatty, no JSON": ("A tale of two cities, and of nothing else at all. ", 0.2),
    "{[{[ …": ("{[", 1.0),
    "[[[[ …": ("[", 1.0),
    "an escaped string that is never closed": ('\\"', 1.0),
    "many small arrays": ("[1] ", 1.0),
    "many fences": ("```\n", 1.0),
}
"""What a text is made of, and the seconds wanted."""


def main() -> None:
    """Measure, and print a table."""
    document = json.dumps([{"name": "x" * 20, "n": n} for n in range(SIZE // 42)])
    floor = best(lambda: json.loads(document))
    print(f"json.loads of {len(document) / 1e6:.1f} MB: {floor * 1000:.0f} ms\n")
    print("| text of 5 MB | ms | × json.loads | wanted |\n|---|---|---|---|")
    slow = [what for what, (piece, wanted) in TEXTS.items() if not row(what, made(what, piece), wanted, floor)]
    if not judging():
        slow.append("judging")
    if slow:
        print(f"\nslower than wanted: {', '.join(slow)}")
        sys.exit(1)


def made(what: str, piece: str) -> str:
    """The text of a row."""
    text = (piece * (SIZE // len(piece) + 1))[:SIZE]
    if what.endswith("object at the end"):
        return text + ANSWER
    if what.endswith("block at the end"):
        return f"{text}\n```json\n{ANSWER}\n```\n"
    return '{"name": "' + text if "never closed" in what else text


def row(what: str, text: str, wanted: float, floor: float) -> bool:
    """Measures one text and prints its row; whether it was fast enough."""
    found = extract(text, PERSON)
    assert found.found == what.endswith("at the end"), what
    took = best(lambda: extract(text, PERSON))
    print(f"| {what} | {took * 1000:.0f} | {took / floor:.2f} | ≤ {wanted * 1000:.0f} ms |")
    return took <= wanted


def judging() -> bool:
    """Measures the check of an object with fifty properties; whether it was fast enough."""
    properties = {f"p{n}": [{"type": "string"}, {"type": "integer"}, {"enum": ["a", "b"]}][n % 3] for n in range(50)}
    schema = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    began = time.perf_counter()
    wanted = OutputSchema.of(schema)
    compiled = time.perf_counter() - began
    value = {f"p{n}": ["x", 1, "a"][n % 3] for n in range(50)}
    assert not wanted.validate(value)
    good = best(lambda: wanted.validate(value), 50)
    bad = best(lambda: wanted.validate(value | {"p0": 3, "p49": 3}), 50)
    print(
        f"\nfifty properties: compiled in {compiled * 1000:.1f} ms, valid in {good * 1000:.2f} ms, "
        f"invalid in {bad * 1000:.2f} ms (wanted: ≤ 2 ms)"
    )
    return max(good, bad) <= 0.002


def best(work: Callable[[], object], times: int = 5) -> float:
    """The seconds of the fastest run: other programs only ever make it slower."""
    took: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)


if __name__ == "__main__":
    main()
