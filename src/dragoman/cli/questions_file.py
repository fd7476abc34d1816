"""The files of ``dragoman many``: questions in, answers out, a JSON object a line.

The answers' file is the record of what was done: a line is there whole and on disk before the next question counts as
answered, so that whoever goes on after a stop, or a death, asks nothing twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from dragoman.cli.question import UsageError
from dragoman.schemas import Access, LLMError, LLMRequest

LINE_BYTES = 16 << 20
"""No question is longer; what is, is told and left out."""
Ident = str | int
_BEGINS = (b'{"id": ', b'{"prompt": ')
"""How a line of ours begins: nothing else is taken for half of one."""


class _Written(BaseModel):
    """A line as a person writes it."""

    model_config = ConfigDict(extra="forbid")

    id: Ident | None = None
    prompt: str
    provider: str | None = None
    model: str | None = None
    system_prompt: str | None = None
    output_schema: dict[str, Any] | str | None = Field(default=None, alias="schema")
    cwd: str | None = None
    access: Access = "read-only"
    fallback: tuple[str, ...] | None = None
    effort: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    validators: tuple[str, ...] | None = None
    max_attempts: int | None = None
    cache: bool | Literal["only"] | None = None
    allow_stale: bool = False
    timeout_s: PositiveFloat | None = None

    def request(self) -> LLMRequest:
        """The question it is.

        Raises:
            pydantic.ValidationError: a value cannot be.
            LLMError: its schema is none.
        """
        fields = {name: getattr(self, name) for name in self.model_fields_set - {"id", "output_schema", "timeout_s"}}
        if self.output_schema is not None:
            from dragoman.structured import OutputSchema

            fields["output_schema"] = OutputSchema.of(self.output_schema).schema
        if self.timeout_s is not None:
            fields["timeouts"] = {"call": self.timeout_s}
        return LLMRequest.model_validate({"remember": False, **fields})


@dataclass(frozen=True)
class FileQuestion:
    """A question of the file."""

    line: int
    id: Ident | None
    content: str
    """A hash of what is asked."""
    key: str
    """By what its answer is found: its id, or else what is asked, with a number where that is asked several times."""
    request: LLMRequest


@dataclass(frozen=True)
class BadLine:
    """A line that is no question."""

    line: int
    message: str


def read_questions(file: BinaryIO) -> Iterator[FileQuestion | BadLine]:
    """What stands in each line, from the beginning; empty lines are passed over."""
    file.seek(0)
    seen: Counter[str] = Counter()
    number = 0
    while raw := file.readline(LINE_BYTES + 1):
        number += 1
        if len(raw) > LINE_BYTES:
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(LINE_BYTES)
            yield BadLine(number, f"it is longer than {LINE_BYTES >> 20} MiB")
        elif raw.strip():
            yield _read(number, raw, seen)


def _read(number: int, raw: bytes, seen: Counter[str]) -> FileQuestion | BadLine:
    try:
        value = json.loads(raw)
        if not isinstance(value, dict):
            return BadLine(number, 'it is no object; write {"prompt": "…"}')
        written = _Written.model_validate(value)
        request = written.request()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        return BadLine(number, f"{name}: {first['msg'].removeprefix('Value error, ')}")
    except LLMError as error:
        return BadLine(number, f"schema: {error}")
    except UnicodeDecodeError:
        return BadLine(number, "it is not UTF-8 text")
    except (ValueError, RecursionError) as error:
        return BadLine(number, f"it is no JSON: {error}")
    asked = {name: each for name, each in cast("dict[str, Any]", value).items() if name != "id"}
    content = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
    name = content if written.id is None else f"id:{written.id!r}"
    seen[name] += 1
    if seen[name] > 1:
        if written.id is not None:
            return BadLine(number, f"the id {written.id!r} was given before; give each question its own")
        name = f"{content}-{seen[name]}"
    return FileQuestion(number, written.id, content, name, request)


@dataclass(slots=True)
class _Known:
    content: str
    completed: bool
    start: int
    size: int


@dataclass(slots=True)
class AnswersFile:
    """The answers, as a context manager: one process at a time has it.

    Raises:
        UsageError: on entering: another one has it, or it is no file of answers.
        OSError: it cannot be read or written.
    """

    path: Path
    repaired: int = 0
    """How many bytes of a half line were cut off at its end."""
    _known: dict[str, _Known] = field(default_factory=dict[str, _Known])
    _lines: int = 0
    _end: int = 0
    _file: int = -1

    def __enter__(self) -> Self:
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(f"{self.path}: another `dragoman many` writes it; wait for it, or end it") from error
            self._take_stock()
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def has(self, question: FileQuestion, *, failed_too: bool) -> bool:
        """Whether a question was answered; a failure is an answer if `failed_too`."""
        known = self._known.get(question.key)
        return known is not None and known.content == question.content and (known.completed or failed_too)

    def has_failed(self, question: FileQuestion) -> bool:
        """Whether its answer is a failure."""
        return self.has(question, failed_too=True) and not self.has(question, failed_too=False)

    def append(self, question: FileQuestion, reply: dict[str, Any]) -> None:
        """Write an answer down; it is on disk when this returns, or, if it cannot be, nothing of it is.

        Raises:
            OSError: it cannot be written.
        """
        if question.id is not None:
            told, key = {"id": question.id}, question.content
        else:
            told, key = {"prompt": question.request.prompt}, question.key
        line = json.dumps({**told, "key": key, **reply}, ensure_ascii=False).encode() + b"\n"
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        completed = reply.get("status") == "completed"
        self._known[question.key] = _Known(question.content, completed, self._end, len(line))
        self._end += len(line)
        self._lines += 1

    def put_in_order(self, keys: Iterable[str]) -> None:
        """Write the answers anew in the order of the questions, each once; what nobody asks any more stays at the end.

        The file is the old one or the new one, whenever this process dies.

        Raises:
            OSError: it cannot be written; it stays as it is.
        """
        ordered = [key for key in dict.fromkeys(keys) if key in self._known]
        among = set(ordered)
        ordered += [key for key in self._known if key not in among]
        starts = [self._known[key].start for key in ordered]
        if starts == sorted(starts) and len(starts) == self._lines:
            return
        new = self.path.with_name(f".{self.path.name}.new")
        try:
            with new.open("wb") as file:
                os.fchmod(file.fileno(), os.fstat(self._file).st_mode & 0o777)
                for key in ordered:
                    known = self._known[key]
                    file.write(os.pread(self._file, known.size, known.start))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        finally:
            new.unlink(missing_ok=True)

    def _take_stock(self) -> None:
        with os.fdopen(os.dup(self._file), "rb") as file:
            for number, raw in enumerate(file, 1):
                if not raw.endswith(b"\n"):
                    if _parsed(raw) is None:
                        self._cut(number, raw)
                        break
                    # Somebody's editor left the line's end out.
                    os.write(self._file, b"\n")
                self._take(number, raw)
                self._end += len(raw.rstrip(b"\n")) + 1
                self._lines += 1

    def _cut(self, number: int, raw: bytes) -> None:
        """Take half a line away: the process died while it wrote it."""
        if not any(raw[: len(begin)] == begin[: len(raw)] for begin in _BEGINS):
            raise self._foreign(number)
        self.repaired = len(raw)
        os.ftruncate(self._file, self._end)

    def _take(self, number: int, raw: bytes) -> None:
        line = _parsed(raw)
        match line:
            case {"key": str(key), "status": str(status)}:
                name = f"id:{line['id']!r}" if "id" in line else key
                content = key.partition("-")[0]
                size = len(raw.rstrip(b"\n")) + 1
                self._known[name] = _Known(content, status == "completed", self._end, size)
            case _:
                raise self._foreign(number)

    def _foreign(self, number: int) -> UsageError:
        return UsageError(f"{self.path}: line {number} is no answer of `dragoman many`; give another file as --output")


def _parsed(raw: bytes) -> dict[str, Any] | None:
    """The object that a line is; None: it is none."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
