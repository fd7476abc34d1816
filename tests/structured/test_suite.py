"""Validity is what the JSON Schema Test Suite says it is: the required cases of draft 2020-12, all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dragoman.schemas import ErrorCode, LLMError
from dragoman.structured import OutputSchema

SUITE = Path(__file__).parent / "json_schema_test_suite" / "draft2020-12"

REFUSED = {
    ("dynamicRef.json", "strict-tree schema, guards against misspelled properties"),
    ("dynamicRef.json", "tests for implementation dynamic anchor and reference link"),
    ("dynamicRef.json", "$ref and $dynamicAnchor are independent of order - $defs first"),
    ("dynamicRef.json", "$ref and $dynamicAnchor are independent of order - $ref first"),
    ("dynamicRef.json", "$ref to $dynamicRef finds detached $dynamicAnchor"),
    ("refRemote.json", "remote ref"),
    ("refRemote.json", "fragment within remote ref"),
    ("refRemote.json", "anchor within remote ref"),
    ("refRemote.json", "ref within remote ref"),
    ("refRemote.json", "base URI change"),
    ("refRemote.json", "base URI change - change folder"),
    ("refRemote.json", "base URI change - change folder in subschema"),
    ("refRemote.json", "root ref in remote ref"),
    ("refRemote.json", "remote ref with ref to defs"),
    ("refRemote.json", "Location-independent identifier in remote ref"),
    ("refRemote.json", "retrieved nested refs resolve relative to their URI not $id"),
    ("refRemote.json", "remote HTTP ref with different $id"),
    ("refRemote.json", "remote HTTP ref with different URN $id"),
    ("refRemote.json", "remote HTTP ref with nested absolute ref"),
    ("refRemote.json", "$ref to $ref finds detached $anchor"),
    ("vocabulary.json", "schema that uses custom metaschema with with no validation vocabulary"),
    ("vocabulary.json", "ignore unrecognized optional vocabulary"),
}
"""Groups whose schema lies elsewhere, or whose dialect does: nothing is fetched, so they are refused."""

GROUPS: list[tuple[str, dict[str, Any]]] = [
    (file.name, group) for file in sorted(SUITE.glob("*.json")) for group in json.loads(file.read_text("utf-8"))
]


def test_the_suite_is_there() -> None:
    assert len({name for name, _ in GROUPS}) == 46
    assert sum(len(group["tests"]) for _, group in GROUPS) > 1200


@pytest.mark.parametrize("file", sorted({name for name, _ in GROUPS}))
def test_validity_is_decided_as_the_suite_says(file: str) -> None:
    wrong: list[str] = []
    for name, group in GROUPS:
        if name != file or (name, group["description"]) in REFUSED:
            continue
        schema = OutputSchema.of(group["schema"])
        for case in group["tests"]:
            verdicts = {schema.accepts(case["data"]), not schema.validate(case["data"])}
            if verdicts != {case["valid"]}:
                wrong.append(f"{group['description']}: {case['description']}")
    assert not wrong


def test_what_would_have_to_be_fetched_is_refused_and_nothing_else() -> None:
    refused: set[tuple[str, str]] = set()
    for name, group in GROUPS:
        reason = _refusal(group["schema"])
        if reason is not None:
            assert "would have to be fetched" in reason or "is not a dialect" in reason
            refused.add((name, group["description"]))
    assert refused == REFUSED


def _refusal(schema: dict[str, Any]) -> str | None:
    try:
        OutputSchema.of(schema)
    except LLMError as error:
        return error.message if error.code is ErrorCode.BAD_REQUEST else repr(error)
    return None
