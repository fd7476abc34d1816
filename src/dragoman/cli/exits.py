"""Exit codes: one for each class of failure, the same for every command."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

OK = 0
FAILURE = 1
USAGE = 2
CANCELLED = 130
CLOSED_PIPE = 141
"""Nobody reads our output any more: what a shell reports of any program that a closed pipe ended."""

# The values of `ErrorCode` as plain words: help is printed from this table without loading the schemas.
CLASSES: tuple[tuple[int, tuple[str, ...]], ...] = (
    (FAILURE, ("internal",)),
    (3, ("not_found",)),
    (4, ("auth",)),
    (5, ("rate_limited", "quota")),
    (6, ("timeout",)),
    (7, ("overloaded", "network", "circuit_open")),
    (8, ("refused", "policy")),
    (9, ("bad_request", "prompt_too_large", "context_length")),
    (10, ("malformed_output", "schema_mismatch", "output_limit")),
    (11, ("crashed",)),
    (CANCELLED, ("cancelled",)),
)

EXIT_CODES: Mapping[str, int] = MappingProxyType({name: code for code, names in CLASSES for name in names})
"""The exit code of each `ErrorCode`."""


def explain() -> list[tuple[int, str]]:
    """Every exit code and what it means, in order."""
    own = [(OK, "ok"), (USAGE, "wrong usage or configuration"), (CLOSED_PIPE, "the reader of the output went away")]
    failures = [(code, ", ".join(names)) for code, names in CLASSES]
    return sorted(own + failures)
