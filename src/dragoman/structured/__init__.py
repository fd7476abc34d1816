"""Structured answers: what they are to look like, asking for them, finding them in a text, judging them. No I/O.

Names are loaded on first use: a server that is asked for no JSON does not pay for the schema library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dragoman.structured.asking import default_validators, not_passed, retry_with_validation, text_of
    from dragoman.structured.extraction import Extraction, JSONExtractor, Step, extract
    from dragoman.structured.native import Native, drop_nulls, wrap
    from dragoman.structured.partial import JSONLines, JsonLinesValidator, Line, PartialValue
    from dragoman.structured.placeholders import is_placeholder, placeholder_problems
    from dragoman.structured.problems import Problem
    from dragoman.structured.prompting import correction, feedback, instructions, lines_prompt_for, prompt_for
    from dragoman.structured.registry import ValidatorSource, judge, validator, validators_from
    from dragoman.structured.schema import OutputSchema, SchemaSource
    from dragoman.structured.strict_subset import strict_problems, to_strict
    from dragoman.structured.validators import (
        AsyncValidationStrategy,
        ContainsValidator,
        JsonSchemaValidator,
        JsonStringValidator,
        LengthValidator,
        NoPlaceholderValidator,
        PythonValidator,
        RegexValidator,
        ResponseNotEmptyValidator,
        Verdict,
    )

_HOMES = {
    "asking": ("default_validators", "not_passed", "retry_with_validation", "text_of"),
    "extraction": ("Extraction", "JSONExtractor", "Step", "extract"),
    "native": ("Native", "drop_nulls", "wrap"),
    "partial": ("JSONLines", "JsonLinesValidator", "Line", "PartialValue"),
    "placeholders": ("is_placeholder", "placeholder_problems"),
    "problems": ("Problem",),
    "prompting": ("correction", "feedback", "instructions", "lines_prompt_for", "prompt_for"),
    "registry": ("ValidatorSource", "judge", "validator", "validators_from"),
    "schema": ("OutputSchema", "SchemaSource"),
    "strict_subset": ("strict_problems", "to_strict"),
    "validators": (
        *("AsyncValidationStrategy", "ContainsValidator", "JsonSchemaValidator", "JsonStringValidator"),
        *("LengthValidator", "NoPlaceholderValidator", "PythonValidator", "RegexValidator"),
        *("ResponseNotEmptyValidator", "Verdict"),
    ),
}
_HOME_OF = {name: f"{__name__}.{module}" for module, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncValidationStrategy",
    "ContainsValidator",
    "Extraction",
    "JSONExtractor",
    "JSONLines",
    "JsonLinesValidator",
    "JsonSchemaValidator",
    "JsonStringValidator",
    "LengthValidator",
    "Line",
    "Native",
    "NoPlaceholderValidator",
    "OutputSchema",
    "PartialValue",
    "Problem",
    "PythonValidator",
    "RegexValidator",
    "ResponseNotEmptyValidator",
    "SchemaSource",
    "Step",
    "ValidatorSource",
    "Verdict",
    "correction",
    "default_validators",
    "drop_nulls",
    "extract",
    "feedback",
    "instructions",
    "is_placeholder",
    "judge",
    "lines_prompt_for",
    "not_passed",
    "placeholder_problems",
    "prompt_for",
    "retry_with_validation",
    "strict_problems",
    "text_of",
    "to_strict",
    "validator",
    "validators_from",
    "wrap",
]


def __getattr__(name: str) -> object:
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
