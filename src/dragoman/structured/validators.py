"""What an answer must pass: one class for each test, told apart by name, usable from every face by its spec.

A validator reads the answer's text and gives a `Verdict`, whose message is for the model that is to do better.
"""

from __future__ import annotations

import ast
import re
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from dragoman.structured.extraction import extract, fenced_blocks
from dragoman.structured.linear import PatternError, searcher
from dragoman.structured.placeholders import is_placeholder, placeholder_problems
from dragoman.structured.problems import shortened
from dragoman.structured.schema import OutputSchema, SchemaSource

MAX_PYTHON = 1_000_000
"""Characters of a program that are parsed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer passes, and if not, what to tell the model."""

    ok: bool
    message: str = ""


PASSED = Verdict(ok=True)


def failed(message: str) -> Verdict:
    """The verdict of an answer that does not pass."""
    return Verdict(ok=False, message=message)


class AsyncValidationStrategy(ABC):
    """One test of an answer. Subclasses of your own are registered with `validator`.

    A class that takes an argument from a spec, such as the ``^ok`` of ``regex:^ok``, gets it as its only one.
    """

    name: ClassVar[str] = ""

    @abstractmethod
    async def validate(self, text: str) -> Verdict:
        """Whether `text`, the whole answer, passes.

        Raises:
            ValueError: it does not, for the reason given.
        """


class ResponseNotEmptyValidator(AsyncValidationStrategy):
    """``not-empty``: there is more than white space."""

    name = "not-empty"

    async def validate(self, text: str) -> Verdict:
        """See the class."""
        return PASSED if text.strip() else failed("the answer is empty; it must have text in it")


class JsonStringValidator(AsyncValidationStrategy):
    """``json``: the answer, or its one fenced block, is JSON. ``json:strict``: the answer is, and has no fence."""

    name = "json"

    def __init__(self, how: str = "") -> None:
        if how not in ("", "strict"):
            raise ValueError(f"{how!r} is neither empty nor 'strict'")
        self._strict = how == "strict"

    async def validate(self, text: str) -> Verdict:
        """See the class."""
        found = extract(text, strict=self._strict)
        if found.found and found.step in ("whole", "fenced"):
            return PASSED
        return failed(found.error or "the answer must be JSON and nothing else; there is text around it")


class JsonSchemaValidator(AsyncValidationStrategy):
    """``schema:name, age int``: there is exactly one JSON value in the answer that matches."""

    name = "schema"

    def __init__(self, schema: SchemaSource | OutputSchema) -> None:
        self._schema = OutputSchema.of(schema)

    async def validate(self, text: str) -> Verdict:
        """See the class."""
        found = extract(text, self._schema)
        return PASSED if found.found else failed(found.error or "")


class RegexValidator(AsyncValidationStrategy):
    """``regex:^ok``: the pattern is found somewhere. In linear time, and so without look-around and ``\\1``."""

    name = "regex"

    def __init__(self, pattern: str) -> None:
        try:
            self._finds = searcher(pattern)
        except PatternError as error:
            raise ValueError(f"the pattern {shortened(pattern)!r} cannot be used: {error}") from None
        self._pattern = pattern

    async def validate(self, text: str) -> Verdict:
        """See the class."""
        return PASSED if self._finds(text) else failed(f"the answer must match the pattern {self._pattern}")


class LengthValidator(AsyncValidationStrategy):
    """``length:1..200``: so many characters, white space at the ends not counted; ``..200`` and ``1..`` too."""

    name = "length"

    def __init__(self, bounds: str) -> None:
        match = re.fullmatch(r"\s*(\d{0,9})\s*(\.\.)?\s*(\d{0,9})\s*", bounds)
        if match is None or not (match[1] or match[3]):
            raise ValueError(f"{bounds!r} is not a length; write it like '1..200', '..200' or '1..'")
        self._least = int(match[1] or 0)
        self._most = int(match[3]) if match[3] else (None if match[2] else self._least)
        if self._most is not None and self._most < self._least:
            raise ValueError(f"{bounds!r} ends before it begins")

    async def validate(self, text: str) -> Verdict:
        """See the class."""
        size = len(text.strip())
        if size < self._least:
            return failed(f"the answer has {size} characters; it must have at least {self._least}")
        if self._most is not None and size > self._most:
            return failed(f"the answer has {size} characters; it must have at most {self._most}")
        return PASSED


class ContainsValidator(AsyncValidationStrategy):
    """``contains:foo``: the text stands in the answer, in any case of letters."""

    name = "contains"

    def __init__(self, wanted: str) -> None:
        if not wanted:
            raise ValueError("there is no text to look for; write it like contains:foo")
        self._wanted = wanted

    async def validate(self, text: str) -> Verdict:
        """See the class."""
        found = self._wanted.casefold() in text.casefold()
        return PASSED if found else failed(f"the answer must contain {self._wanted!r}")


class PythonValidator(AsyncValidationStrategy):
    """``python``: the answer, or each of its fenced blocks, parses as Python. Nothing is run."""

    name = "python"

    async def validate(self, text: str) -> Verdict:
        """See the class."""
        blocks = list(fenced_blocks(text)) or [text]
        if not any(block.strip() for block in blocks):
            return failed("there is no Python code in the answer")
        for block in blocks:
            if len(block) > MAX_PYTHON:
                return failed(f"the code is longer than {MAX_PYTHON:,} characters")
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    ast.parse(block)
            except SyntaxError as error:
                line = shortened((error.text or "").strip())
                return failed(f"the Python code does not parse: {error.msg}, at line {error.lineno}: {line}")
            except (ValueError, RecursionError, MemoryError) as error:
                return failed(f"the Python code does not parse: {error or 'it is nested too deeply'}")
        return PASSED


class NoPlaceholderValidator(AsyncValidationStrategy):
    """``no-placeholder``: neither the answer nor a value in its JSON is "n/a", "TBD", "string" or the like."""

    name = "no-placeholder"

    async def validate(self, text: str) -> Verdict:
        """See the class."""
        if is_placeholder(text):
            return failed("the answer is a placeholder; give a real one")
        found = extract(text)
        problems = placeholder_problems(found.value) if found.found else []
        return failed("; ".join(map(str, problems))) if problems else PASSED


BUILT_IN: tuple[type[AsyncValidationStrategy], ...] = (
    ResponseNotEmptyValidator,
    JsonStringValidator,
    JsonSchemaValidator,
    RegexValidator,
    LengthValidator,
    ContainsValidator,
    PythonValidator,
    NoPlaceholderValidator,
)
