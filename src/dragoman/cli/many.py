"""``dragoman many``: a file of questions, a file of answers, and where it was left off is where it goes on."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import anyio
import anyio.to_thread

from dragoman.cli import output
from dragoman.cli.common import Common
from dragoman.cli.exits import EXIT_CODES, FAILURE, OK, USAGE
from dragoman.cli.guard import run, tell
from dragoman.cli.question import STDIN, UsageError
from dragoman.cli.questions_file import AnswersFile, BadLine, FileQuestion, read_questions
from dragoman.engine import Engine
from dragoman.engine.many import Many
from dragoman.schemas import LLMRequest, LLMResponse

if TYPE_CHECKING:
    from rich.progress import Progress

FACE = "cli"
HEADERS = ("provider", "asked", "completed", "failed", "tokens in", "tokens out", "cost USD", "mean s")
BAD_SHOWN = 20
"""How many bad lines are told one by one."""


@dataclass(frozen=True)
class Batch:
    """What was typed after ``many``."""

    file: Path
    output: Path | None = None
    concurrency: int | None = None
    timeout_s: float | None = None
    retry_failed: bool = False
    as_json: bool = False

    @property
    def answers(self) -> Path:
        """Where the answers go.

        Raises:
            UsageError: that is not said and cannot be known, or is no file.
        """
        if str(self.output) == STDIN:
            raise UsageError("--output names a file, from which the next run knows what was answered; give one for it")
        if self.output is not None:
            return self.output
        if str(self.file) == STDIN:
            raise UsageError("questions from stdin need --output FILE for their answers")
        return self.file.with_suffix(".answers.jsonl")


@dataclass(slots=True)
class _Tally:
    """What one provider did."""

    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    seconds: float = 0.0

    def count(self, reply: LLMResponse) -> None:
        if reply.status == "completed":
            self.completed += 1
        else:
            self.failed += 1
        self.seconds += reply.duration_s
        if (usage := reply.usage) is not None:
            self.input_tokens += usage.input_tokens or 0
            self.output_tokens += usage.output_tokens or 0
            if usage.cost_usd is not None:
                self.cost_usd = (self.cost_usd or 0.0) + usage.cost_usd

    def row(self, name: str) -> tuple[str, ...]:
        asked = self.completed + self.failed
        cost = "-" if self.cost_usd is None else f"{self.cost_usd:.4f}"
        counts = (asked, self.completed, self.failed, self.input_tokens, self.output_tokens)
        return (name, *map(str, counts), cost, f"{self.seconds / asked:.1f}")

    def facts(self, name: str) -> dict[str, Any]:
        asked = self.completed + self.failed
        return {
            "provider": name,
            "asked": asked,
            "completed": self.completed,
            "failed": self.failed,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": self.cost_usd,
            "mean_s": round(self.seconds / asked, 3),
        }


@dataclass(slots=True)
class _Work:
    """The questions of a file and how far they are."""

    questions: BinaryIO
    answers: AnswersFile
    retry_failed: bool
    total: int = 0
    before: int = 0
    """How many were answered by earlier runs."""
    failed_before: int = 0
    """How many of them have failed and are not asked again."""
    bad: list[BadLine] = field(default_factory=list[BadLine])
    asked: dict[int, FileQuestion] = field(default_factory=dict[int, FileQuestion])
    tallies: dict[str, _Tally] = field(default_factory=dict[str, _Tally])

    def take_stock(self) -> None:
        for question in read_questions(self.questions):
            if isinstance(question, BadLine):
                self.bad.append(question)
                continue
            self.total += 1
            if self._is_answered(question):
                self.before += 1
                self.failed_before += self.answers.has_failed(question)

    def requests(self) -> Iterator[LLMRequest]:
        """What is still to be asked, read from the file as it is needed."""
        number = 0
        for question in read_questions(self.questions):
            if isinstance(question, FileQuestion) and not self._is_answered(question):
                number += 1
                self.asked[number] = question
                yield question.request

    def keys(self) -> Iterator[str]:
        """What stands in the file, in its order."""
        return (each.key for each in read_questions(self.questions) if isinstance(each, FileQuestion))

    def _is_answered(self, question: FileQuestion) -> bool:
        return self.answers.has(question, failed_too=not self.retry_failed)

    @property
    def failed(self) -> int:
        return self.failed_before + sum(tally.failed for tally in self.tallies.values())

    @property
    def done(self) -> int:
        return self.before + sum(tally.completed + tally.failed for tally in self.tallies.values())


def many(common: Common, batch: Batch) -> int:
    """Ask what is not answered yet; 0 when every line has its answer in the end."""
    loaded = common.load()
    common.warn(loaded)
    with ExitStack() as stack:
        try:
            questions = stack.enter_context(_opened(batch.file, batch.answers))
            answers = stack.enter_context(AnswersFile(batch.answers))
        except UsageError as error:
            output.complain(str(error))
            return USAGE
        except OSError as error:
            tell(error)
            return USAGE
        if answers.repaired:
            output.remark(f"{batch.answers}: half a line at its end was cut off; its question is asked again")
        work = _Work(questions, answers, batch.retry_failed)
        work.take_stock()
        for bad in work.bad[:BAD_SHOWN]:
            output.complain(f"line {bad.line}: {bad.message}")
        if len(work.bad) > BAD_SHOWN:
            output.complain(f"and {len(work.bad) - BAD_SHOWN} more lines that are no questions")
        if work.before:
            output.remark(f"{work.before} of {work.total} are answered already")
        try:
            code = run(lambda: _ask(Engine(loaded.configuration), work, batch))
            if work.done == work.total:
                answers.put_in_order(work.keys())
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            code = tell(error)
        _summarise(work, batch)
        if work.done < work.total:
            output.suggest("run the same command again to go on")
    if code == OK and (work.bad or work.failed):
        if work.failed:
            output.suggest("--retry-failed asks those again that failed")
        return FAILURE
    return code


def _opened(file: Path, answers: Path) -> BinaryIO:
    """The questions, as a file that can be read again."""
    if str(file) != STDIN:
        if answers.exists() and file.samefile(answers):
            raise UsageError(f"{file} has the questions; give another file as --output")
        return file.open("rb")
    spool = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - whoever gets it closes it
    while piece := sys.stdin.buffer.read(1 << 20):
        spool.write(piece)
    return spool


async def _ask(engine: Engine, work: _Work, batch: Batch) -> int:
    if work.done == work.total:
        return OK
    with anyio.move_on_after(batch.timeout_s) as clock:
        async with engine:
            asked = Many(engine, work.requests(), face=FACE, concurrency=batch.concurrency)
            with _bar() as bar:
                task = bar.add_task("", total=work.total, completed=work.done)
                async with aclosing(aiter(asked)) as answers:
                    async for answer in answers:
                        question = work.asked.pop(answer.number)
                        reply = answer.reply
                        if reply.status == "cancelled":
                            continue
                        with anyio.CancelScope(shield=True):
                            # What was answered is kept, also when a signal comes now.
                            await anyio.to_thread.run_sync(work.answers.append, question, reply.public())
                        name = reply.provider or question.request.provider or "-"
                        work.tallies.setdefault(name, _Tally()).count(reply)
                        bar.update(task, completed=work.done)
                        if reply.error is not None:
                            _report(bar, f"line {question.line}: {reply.error.code.value}: {reply.error.message}")
    if clock.cancelled_caught:
        output.complain(f"the time of {batch.timeout_s:g} s was over", kind="timeout")
        return EXIT_CODES["timeout"]
    return OK


def _bar() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=output.console(sys.stderr),
        disable=not output.is_terminal(sys.stderr),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _report(bar: Progress, line: str) -> None:
    if bar.disable:
        output.remark(line)
    else:
        bar.console.print(output.printable(line), style="dim")


def _summarise(work: _Work, batch: Batch) -> None:
    if batch.as_json:
        output.say_json(
            {
                "questions": work.total,
                "answered": work.done,
                "answered_before": work.before,
                "failed": work.failed,
                "bad_lines": [{"line": bad.line, "message": bad.message} for bad in work.bad],
                "output": str(batch.answers),
                "providers": [tally.facts(name) for name, tally in sorted(work.tallies.items())],
            }
        )
        return
    if work.tallies:
        output.say_table(HEADERS, [tally.row(name) for name, tally in sorted(work.tallies.items())])
    if not work.total:
        output.remark(f'no question in {batch.file}: write {{"prompt": "…"}} in each line')
        return
    output.remark(f"{work.done} of {work.total} answered, {work.failed} of them failed: {batch.answers}")
