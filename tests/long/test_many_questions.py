"""Long runs: five hundred questions, of which every tenth fails, in one engine, and in a command that is killed."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.engine.many import Many
from dragoman.schemas import LLMRequest
from dragoman.testing import FakeAdapter, FakeCli
from tests.cli.harness import DRAGOMAN, Shell

pytestmark = pytest.mark.long

QUESTIONS = 500
ANSWER_BYTES = 200_000
GROWTH_BYTES = 30_000_000
"""All answers together weigh 90 MB."""
AT_ONCE = 3
KILLS = 4


def fails(number: int) -> bool:
    return number % 10 == 0


def model(number: int) -> str | None:
    """What makes the fake CLI fail."""
    return "broken" if fails(number) else None


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
async def test_memory_is_bounded_order_is_kept_and_failures_are_alone(tmp_path: Path) -> None:
    FakeCli(tmp_path, "dragoman-fake").script(
        {
            "when_arg": "--model=broken",
            "steps": [{"line": {"error": {"code": "refused", "message": "injected"}}}, {"exit": 0}],
        },
        {"spew": ANSWER_BYTES, "line_bytes": 10_000, "json_key": "text"},
        {"line": {"done": {}}},
    )
    drawn = 0

    def source() -> Iterator[LLMRequest]:
        nonlocal drawn
        for number in range(1, QUESTIONS + 1):
            drawn += 1
            yield LLMRequest(prompt=str(number), provider="fake", model=model(number), remember=False)

    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    engine = Engine(Configuration(), adapters={"fake": FakeAdapter()}, environ=environ, folder=tmp_path)
    came: list[tuple[int, str]] = []
    settled = most = ahead = 0
    with anyio.fail_after(280):
        async with engine:
            async for answer in Many(engine, source(), in_order=True):
                came.append((answer.number, answer.reply.status))
                assert answer.reply.error is None or answer.reply.error.message == "injected"
                assert len(answer.reply.text) >= (0 if fails(answer.number) else ANSWER_BYTES * 0.9)
                ahead = max(ahead, drawn - answer.number)
                if answer.number == QUESTIONS // 10:
                    settled = resident_bytes()
                elif answer.number > QUESTIONS // 10:
                    most = max(most, resident_bytes())
    assert came == [(n, "failed" if fails(n) else "completed") for n in range(1, QUESTIONS + 1)]
    assert most - settled < GROWTH_BYTES, f"{(most - settled) / 1e6:.0f} MB"
    assert ahead < 100
    print(f"grew by {(most - settled) / 1e6:.1f} MB, {ahead} questions ahead at most")


def test_killed_again_and_again_no_question_is_answered_twice(tmp_path: Path) -> None:
    shell = Shell.make(tmp_path)
    cli = shell.llm(
        {"read": "all"},
        {"when_arg": "--model=broken", "steps": [{"err": "injected\n"}, {"exit": 3}]},
        {"echo_stdin": True, "as": "raw"},
    )
    questions = [
        {"id": number, "prompt": f"question {number}", "provider": "llm"}
        | ({"model": model(number)} if fails(number) else {})
        for number in range(1, QUESTIONS + 1)
    ]
    lines = "".join(f"{json.dumps(question)}\n" for question in questions)
    (shell.work / "q.jsonl").write_text(lines, encoding="utf-8")
    file = shell.work / "q.answers.jsonl"

    def answers() -> list[dict[str, object]]:
        whole, _, _ = file.read_text(encoding="utf-8").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    for kill in range(1, KILLS + 1):
        running = subprocess.Popen(
            (*DRAGOMAN, "many", "q.jsonl"),
            cwd=shell.work,
            env=shell.variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = kill * QUESTIONS // (KILLS + 1)
        while running.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < until):
            time.sleep(0.02)  # nothing tells
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    before = {answer["id"]: answer["call_id"] for answer in answers()}
    done = subprocess.run(
        (*DRAGOMAN, "many", "q.jsonl", "--json"), cwd=shell.work, env=shell.variables, capture_output=True, check=False
    )
    assert done.returncode == 1
    summary = json.loads(done.stdout)
    assert (summary["answered"], summary["answered_before"]) == (QUESTIONS, len(before))
    assert summary["failed"] == QUESTIONS // 10
    written = answers()
    assert [answer["id"] for answer in written] == list(range(1, QUESTIONS + 1))
    assert {answer["id"]: answer["call_id"] for answer in written if answer["id"] in before} == before
    assert Counter(answer["status"] for answer in written) == {"completed": 450, "failed": 50}
    # What was being answered when it was killed is asked once more, and no other.
    again = cli.starts - QUESTIONS
    assert again <= KILLS * (AT_ONCE + 1), again
    print(f"{len(before)} answers before the last run, {again} questions begun again")
