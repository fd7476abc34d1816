"""The real model with its real weights, asked as the `local` provider asks it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dragoman.adapters import local
from dragoman.adapters.base import Completed, Turn
from dragoman.schemas import Message
from tests.adapters.oneshot import Heard, run

pytestmark = pytest.mark.weights

CACHE = Path(__file__).parents[2] / ".cache" / "weights"
CHILD = (sys.executable, "-m", "dragoman.local")
PIP_NEEDS = ("PIP_", "UV_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PATIENCE_S = 300

TEXT = {"type": "string"}
TREE = {
    "type": "object",
    "properties": {"name": TEXT, "under": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2}},
}
PERSON = {
    "type": "object",
    "properties": {"name": TEXT, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name", "age"],
}
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "an object": {"type": "object", "properties": {"city": TEXT, "country": TEXT}, "required": ["city", "country"]},
    "objects in a list": {"type": "array", "items": PERSON, "minItems": 2, "maxItems": 3},
    "a list": {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 3},
    "a number": {"type": "integer", "minimum": 3, "maximum": 7},
    "a fraction": {"type": "object", "properties": {"sure": {"type": "number", "minimum": 0, "exclusiveMaximum": 1}}},
    "a multiple": {"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 100},
    "a choice": {"enum": ["good", "bad", None]},
    "a pattern": {"type": "object", "properties": {"key": {"type": "string", "pattern": "^[a-z]{3}-[0-9]{2}$"}}},
    "optional": {"type": "object", "properties": {"a": {"type": ["integer", "null"]}, "b": {"type": "boolean"}}},
    "all of two": {"allOf": [PERSON, {"type": "object", "properties": {"city": TEXT}, "required": ["city"]}]},
    "one of two": {"oneOf": [{**PERSON, "additionalProperties": False}, {"type": "null"}]},
    "a tree": {**TREE, "required": ["name", "under"]},
    "anything": {},
}
ANSWER = """
import json, sys
from pathlib import Path
from dragoman.local import model, narrow
server = model.load_server(Path(sys.argv[1]))
messages = [{"role": "user", "content": "Tell me about Ann, who lives in Paris."}]
for schema in json.load(sys.stdin):
    print(json.dumps("".join(model.answer(
        server, messages, temperature=0, max_tokens=512, schema=narrow.narrowed(schema)
    ))))
"""


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    """The weights are there."""
    pip_settings = {name: value for name, value in os.environ.items() if name.startswith(PIP_NEEDS)}
    # HOME is for the fetch alone: pip finds the user's index there.
    fetch_environment = {"PATH": os.defpath, "HOME": str(Path.home()), "DRAGOMAN_HOME": str(CACHE), **pip_settings}
    subprocess.run([*CHILD, "fetch"], env=fetch_environment, check=True, timeout=PATIENCE_S)
    return {"DRAGOMAN_HOME": str(CACHE)}


def ask(turn: Turn, environment: Mapping[str, str], folder: Path) -> Heard:
    heard = run(local.adapter, turn, CHILD, environment, folder)
    assert isinstance(heard.outcome, Completed), heard.outcome
    return heard


def test_the_capital_of_france_is_paris(environment: Mapping[str, str], tmp_path: Path) -> None:
    heard = ask(Turn(id="t1", prompt="What is the capital of France?"), environment, tmp_path)
    assert "Paris" in heard.text
    assert isinstance(heard.outcome, Completed)
    assert (heard.outcome.model, heard.outcome.billing) == (local.MODEL, "local")
    assert heard.outcome.usage is not None
    assert heard.outcome.usage.output_tokens
    assert heard.notices == [local.SMALL]


def test_what_was_said_before_counts(environment: Mapping[str, str], tmp_path: Path) -> None:
    history = (
        Message(role="user", content="What is the capital of France?"),
        Message(role="assistant", content="The capital of France is Paris."),
    )
    told = ask(Turn(id="t1", prompt="Say that again.", max_tokens=20, history=history), environment, tmp_path)
    assert "Paris" in told.text


def test_an_answer_to_a_schema_is_valid_the_first_time(environment: Mapping[str, str], tmp_path: Path) -> None:
    schema = SCHEMAS["an object"]
    heard = ask(Turn(id="t1", prompt="Where is the Eiffel Tower?", schema=schema), environment, tmp_path)
    validator: Any = Draft202012Validator(schema)
    assert validator.is_valid(json.loads(heard.text)), heard.text


def test_schemas_of_every_kind_are_answered_validly_the_first_time(environment: Mapping[str, str]) -> None:
    [weights] = (CACHE / "local").glob("*.gguf")
    child = subprocess.run(
        [sys.executable, "-c", ANSWER, str(weights)],
        input=json.dumps(list(SCHEMAS.values())),
        env={"PATH": os.defpath, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    answers = [json.loads(line) for line in child.stdout.splitlines()]
    assert len(answers) == len(SCHEMAS)
    for (name, schema), answer in zip(SCHEMAS.items(), answers, strict=True):
        validator: Any = Draft202012Validator(schema)
        assert validator.is_valid(json.loads(answer)), (name, answer)
