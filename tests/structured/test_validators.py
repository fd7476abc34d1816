from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest
from pydantic import BaseModel

from dragoman.schemas import ErrorCode, LLMError, LLMResponse
from dragoman.structured import (
    AsyncValidationStrategy,
    JsonSchemaValidator,
    OutputSchema,
    ResponseNotEmptyValidator,
    ValidatorSource,
    Verdict,
    judge,
    placeholder_problems,
    registry,
    retry_with_validation,
    text_of,
    validator,
    validators_from,
)

pytestmark = pytest.mark.anyio


class Person(BaseModel):
    name: str


@pytest.fixture(autouse=True)
def _own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_known", dict(registry._known))  # pyright: ignore[reportPrivateUsage] - there is no way to forget a name


async def said(spec: ValidatorSource, text: str) -> str:
    return "; ".join(await judge(text, validators_from([spec])))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("not-empty", " ok "),
        ("json", '{"a": 1}'),
        ("json", '```json\n{"a": 1}\n```'),
        ("json:strict", "[1]"),
        ("schema:name, age int", 'Sure: {"name": "Ann", "age": 7}'),
        ('schema:{"type": "array"}', "[1]"),
        ("regex:^ok", "ok then"),
        ("regex:a:b", "a:b"),
        (r"regex:(?i)^\w+$", "ÄB"),
        ("length:1..5", "  12345  "),
        ("length:..5", ""),
        ("length:2..", "ab"),
        ("length:3", "abc"),
        ("contains:FOO", "a foo"),
        ("contains: b", "a b"),
        ("python", "def f():\n    return 1\n"),
        ("python", "Like so:\n```python\nx = 1\n```\nand\n```\ny = 2\n```"),
        ("python", "x = '\\d'"),
        ("no-placeholder", '{"name": "Ann", "note": ""}'),
        ("no-placeholder", "An error occurred in the text."),
    ],
)
async def test_an_answer_that_passes(spec: str, text: str) -> None:
    assert await said(spec, text) == ""


@pytest.mark.parametrize(
    ("spec", "text", "message"),
    [
        ("not-empty", "", "the answer is empty; it must have text in it"),
        ("not-empty", " \n\t", "the answer is empty"),
        ("json", "hello", "no JSON value was found"),
        ("json", 'See {"a": 1}', "there is text around it"),
        ("json:strict", "```json\n[1]\n```", "no JSON value"),
        ("schema:name, age int", '{"name": "Ann"}', "$.age: expected an integer (required), got nothing"),
        ("regex:^ok", "not ok", "the answer must match the pattern ^ok"),
        ("length:1..5", "123456", "the answer has 6 characters; it must have at most 5"),
        ("length:1..5", "", "it must have at least 1"),
        ("length:3", "ab", "it must have at least 3"),
        ("contains:foo", "bar", "the answer must contain 'foo'"),
        ("python", "def f(:", "does not parse: invalid syntax, at line 1: def f(:"),
        ("python", "```python\nx = 1\n```\n```python\nx = = 1\n```", "does not parse"),
        ("python", "```python\n```", "there is no Python code"),
        ("python", "x = '\0'", "does not parse"),
        ("python", "(" * 5000 + ")" * 5000, "does not parse"),
        ("python", "-" * 100_000 + "1", "does not parse"),
        ("no-placeholder", "TBD", "the answer is a placeholder"),
        ("no-placeholder", '{"name": "n/a"}', '$.name: expected a real value, not a placeholder, got "n/a"'),
    ],
)
async def test_an_answer_that_does_not_pass(spec: str, text: str, message: str) -> None:
    assert message in await said(spec, text)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("regex", "it needs an argument; write it like regex:…"),
        ("regex:(", "the pattern '(' cannot be used: unclosed group"),
        ("regex:(?=a)", "looks ahead"),
        ("length:x", "'x' is not a length"),
        ("length:..", "'..' is not a length"),
        ("length:5..1", "ends before it begins"),
        ("contains:", "there is no text to look for"),
        ("json:5", "'5' is neither empty nor 'strict'"),
        ("not-empty:1", "it takes no argument"),
        ("schema:name strng", "has the type 'strng'"),
        ("pyhton", "did you mean 'python'?"),
        ("", "there is none of this name"),
        ("qqq", "contains, json, length"),
    ],
)
def test_a_spec_that_cannot_be_used_is_refused(spec: str, reason: str) -> None:
    with pytest.raises(LLMError) as caught:
        validators_from([spec])
    assert caught.value.code is ErrorCode.BAD_REQUEST
    assert reason in caught.value.message


async def test_a_regular_expression_takes_linear_time() -> None:
    assert await said("regex:^(a+)+$", "a" * 100_000 + "!") != ""


async def test_all_that_is_wrong_is_told_but_nothing_more_of_an_empty_answer() -> None:
    wanted = validators_from(["not-empty", "length:3..", "contains:x"])
    assert len(await judge("ab", wanted)) == 2
    assert await judge(" ", wanted) == ["the answer is empty; it must have text in it"]


async def test_functions_of_ones_own_are_validators_sync_or_async_with_or_without_an_argument() -> None:
    @validator("short")
    def short(text: str) -> bool:
        return len(text) < 5

    @validator("words")
    async def words(text: str, most: str = "2") -> str | None:
        return None if len(text.split()) <= int(most) else f"use at most {most} words"

    @validator("polite")
    class Polite(AsyncValidationStrategy):
        name = "polite"

        async def validate(self, text: str) -> Verdict:
            if "please" not in text:
                raise ValueError("say please")
            return Verdict(ok=True)

    assert await said("short", "abc") == ""
    assert await said("short", "abcdef") == "the answer does not pass the check 'short'"
    assert await said("words", "a b c") == "use at most 2 words"
    assert await said("words:3", "a b c") == ""
    assert await said("polite", "now") == "say please"
    assert await said("polite", "please") == ""
    assert await said(short, "abcdef") == "the answer does not pass the check 'short'"
    assert await said(Polite, "now") == "say please"
    assert await said(Polite(), "now") == "say please"
    assert await said(lambda text: Verdict(text == "yes", "say yes"), "no") == "say yes"  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType] - a lambda has no types


@pytest.mark.parametrize("name", ["", "a b", "a:b", "json"])
def test_a_name_that_would_not_be_found_again_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        validator(name)


async def test_a_validator_that_breaks_is_named_and_no_verdict() -> None:
    @validator("broken")
    def broken(text: str) -> bool:
        raise KeyError(text)

    @validator("odd")
    def odd(text: str) -> object:
        return 3

    for name, reason in (("broken", "KeyError"), ("odd", "a validator gives a Verdict")):
        with pytest.raises(LLMError, match=f"'{name}' broke.*{reason}") as caught:
            await said(name, "x")
        assert caught.value.code is ErrorCode.INTERNAL


async def test_another_distribution_brings_validators_through_the_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    good = EntryPoint("from-elsewhere", "dragoman.structured:ResponseNotEmptyValidator", registry.GROUP)
    bad = EntryPoint("gone", "no_such_module_here:thing", registry.GROUP)

    def found(group: str) -> list[EntryPoint]:
        return [good, bad] if group == registry.GROUP else []

    monkeypatch.setattr(registry, "entry_points", found)
    assert await said("from-elsewhere", "") != ""
    with pytest.raises(LLMError, match="did not load: ModuleNotFoundError"):
        validators_from(["gone"])
    with pytest.raises(LLMError, match="did you mean 'from-elsewhere'"):
        validators_from(["from-elsewere"])


class Model:
    """An ask function that gives what it was told to, and remembers what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, **asked: object) -> str:
        self.asked.append(asked)
        return self.answers.pop(0)


QUESTION = [{"role": "user", "content": "Who?"}]


async def test_it_is_asked_again_with_what_was_wrong_until_the_answer_passes() -> None:
    model = Model("", '{"nam": "Ann"}', '{"name": "Ann"}')
    answer = await retry_with_validation(model, QUESTION, Person, model="m", temperature=0)
    assert answer == '{"name": "Ann"}'
    first, second, third = model.asked
    assert first == {"messages": QUESTION, "response_format": Person, "model": "m", "temperature": 0}
    assert [message["role"] for message in second["messages"]] == ["user", "user"]
    assert "the answer is empty" in second["messages"][-1]["content"]
    assert third["messages"][-2] == {"role": "assistant", "content": '{"nam": "Ann"}'}
    assert "$.name: expected a string (required), got nothing" in third["messages"][-1]["content"]
    assert QUESTION == [{"role": "user", "content": "Who?"}]


@pytest.mark.parametrize(
    ("form", "answer", "code"),
    [
        (None, " ", ErrorCode.MALFORMED_OUTPUT),
        ({"type": "json_object"}, "no", ErrorCode.MALFORMED_OUTPUT),
        ({"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}, "{}", ErrorCode.SCHEMA_MISMATCH),
        (Person, "{}", ErrorCode.SCHEMA_MISMATCH),
    ],
)
async def test_when_no_answer_passes_the_failure_says_so(form: object, answer: str, code: ErrorCode) -> None:
    model = Model(*[answer] * 9)
    with pytest.raises(LLMError, match="asked 3 times") as caught:
        await retry_with_validation(model, QUESTION, form)
    assert caught.value.code is code
    assert len(model.asked) == 3


async def test_the_callers_validators_replace_the_default_and_the_attempts_are_theirs() -> None:
    class Once:
        max_attempts = 1

    assert await retry_with_validation(Model(""), QUESTION, validation_strategies=[]) == ""
    with pytest.raises(LLMError, match="asked once"):
        await retry_with_validation(Model("b"), QUESTION, validation_strategies=["regex:^a"], config=Once())


async def test_a_failure_of_the_call_itself_is_raised_as_it_is() -> None:
    async def ask(**_: object) -> str:
        raise TimeoutError("slow")

    with pytest.raises(TimeoutError, match="slow"):
        await retry_with_validation(ask, QUESTION)


def test_the_text_of_the_usual_answers() -> None:
    assert text_of("a") == "a"
    assert text_of(LLMResponse(status="completed", text="a")) == "a"
    assert text_of({"choices": [{"message": {"content": "a"}}]}) == "a"
    assert text_of({"choices": [{"message": {"content": None}}]}) == ""
    assert text_of({"content": "a"}) == "a"
    with pytest.raises(TypeError, match="has no text"):
        text_of(3)


def test_placeholders_are_known_by_their_words_and_by_what_the_schema_requires() -> None:
    schema = OutputSchema.of(
        {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "state": {"enum": ["unknown", "known"]},
                "note": {"type": "string"},
                "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}},
            },
            "required": ["name", "state"],
            "$defs": {"part": {"anyOf": [{"type": "null"}, {"required": ["id"], "properties": {"id": {}}}]}},
        }
    )
    value = {"name": " ", "state": "unknown", "note": "", "parts": [None, {"id": ""}, {"id": "<your id>"}]}
    assert [problem.path for problem in placeholder_problems(value, schema)] == [
        "$.name",
        "$.parts[1].id",
        "$.parts[2].id",
    ]
    assert placeholder_problems({"a": ["Not specified.", "real", "[insert name]", "{{name}}", "the n/a of it"]}) != []
    assert len(placeholder_problems(["TODO"] * 500)) == 10


async def test_a_validator_can_be_made_with_a_class_as_its_schema() -> None:
    found = await judge('{"name": 3}', [ResponseNotEmptyValidator(), JsonSchemaValidator(Person)])
    assert found == ["the JSON does not match the schema: $.name: expected a string, got 3"]
