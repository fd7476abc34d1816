"""What models write when they are asked for JSON, and what is to be made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}
NUMBERS: dict[str, Any] = {"type": "array", "items": {"type": "number"}}
PEOPLE: dict[str, Any] = {"type": "array", "items": PERSON}
TREE: dict[str, Any] = {
    "type": "object",
    "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["children"],
}
NUMBER: dict[str, Any] = {"type": "number"}
TEXT: dict[str, Any] = {"type": "string"}
NOTHING: dict[str, Any] = {"type": "null"}
LOOSE: dict[str, Any] = {"type": "object"}


@dataclass(frozen=True)
class Case:
    """One answer. Either ``step`` and ``value``, or ``error``, a part of what is said."""

    name: str
    text: str
    step: str | None = None
    value: Any = None
    error: str | None = None
    schema: Any = None
    mended: Any = None
    """The value that mending yields, when it is asked for and nothing was found without it."""

    @property
    def wanted(self) -> Any:  # noqa: ANN401 - any schema
        """The schema, that of a person when none is named."""
        return PERSON if self.schema is None else self.schema


ANN: dict[str, Any] = {"name": "Ann"}
BOB: dict[str, Any] = {"name": "Bob", "age": 7}
J = '{"name": "Ann"}'
K = '{"name": "Bob", "age": 7}'

_WHOLE = [
    Case("plain", J, "whole", ANN),
    Case("compact", '{"name":"Bob","age":7}', "whole", BOB),
    Case("white space around", f"\n\n  {J}\t\r\n", "whole", ANN),
    Case("a byte order mark", f"\ufeff{J}", "whole", ANN),
    Case("a byte order mark and white space", f"\ufeff \n{J}\n", "whole", ANN),
    Case("over many lines", '{\n  "name": "Bob",\n  "age": 7\n}', "whole", BOB),
    Case("carriage returns", '{\r\n"name": "Ann"\r\n}', "whole", ANN),
    Case("an integer written as 7.0", '{"name": "Bob", "age": 7.0}', "whole", BOB),
    Case("an exponent", "[1e2, -0.5]", "whole", [100.0, -0.5], schema=NUMBERS),
    Case(
        "letters beyond ASCII",
        '{"name": "Åsa Łukasz 李 👩\u200d👩\u200d👧"}',
        "whole",
        {"name": "Åsa Łukasz 李 👩\u200d👩\u200d👧"},
    ),
    Case("escaped letters", '{"name": "\\u00c5sa \\ud83d\\ude00"}', "whole", {"name": "Åsa 😀"}),
    Case("an escaped NUL", '{"name": "a\\u0000b"}', "whole", {"name": "a\0b"}),
    Case("a line separator within a string", '{"name": "a\u2028b"}', "whole", {"name": "a\u2028b"}),
    Case("brackets in a string", '{"name": "} ] { [ \\" }"}', "whole", {"name": '} ] { [ " }'}),
    Case("a fence in a string", '{"name": "```json\\n{}\\n```"}', "whole", {"name": "```json\n{}\n```"}),
    Case("an escaped solidus", '{"name": "a\\/b"}', "whole", {"name": "a/b"}),
    Case("an empty string", '{"name": ""}', "whole", {"name": ""}),
    Case("an array", "[1, 2.5, -3]", "whole", [1, 2.5, -3], schema=NUMBERS),
    Case("an empty array", "[]", "whole", [], schema=NUMBERS),
    Case("a number", "42", "whole", 42, schema=NUMBER),
    Case("a negative number", "-1.5e3", "whole", -1500.0, schema=NUMBER),
    Case("a string", '"forty-two"', "whole", "forty-two", schema=TEXT),
    Case("null", "null", "whole", None, schema=NOTHING),
    Case("false", "false", "whole", False, schema={"type": "boolean"}),
    Case("as deep as is allowed", "[" * 128 + "]" * 128, "whole", schema={"type": "array"}, value="deep"),
    Case(
        "an old person's integer of many digits",
        '{"name": "Ann", "age": ' + "9" * 400 + "}",
        "whole",
        {"name": "Ann", "age": int("9" * 400)},
    ),
]

_FENCED = [
    Case(
        "a fence",
        f"```json\n{J}\n```",
        "fenced",
        ANN,
    ),
    Case("a fence without a language", f"```\n{J}\n```", "fenced", ANN),
    Case("a fence in capitals", f"```JSON\n{J}\n```", "fenced", ANN),
    Case("a fence of json5", f"```json5\n{J}\n```", "fenced", ANN),
    Case("a fence of tildes", f"~~~json\n{J}\n~~~", "fenced", ANN),
    Case("a fence of four", f"````json\n{J}\n````", "fenced", ANN),
    Case("a fence within words", f"Here you are:\n\n```json\n{J}\n```\n\nAnything else?", "fenced", ANN),
    Case("an indented fence", f"1. The answer:\n   ```json\n   {J}\n   ```", "fenced", ANN),
    Case("a fence with carriage returns", f"```json\r\n{J}\r\n```\r\n", "fenced", ANN),
    Case("a fence that is not closed", f"```json\n{J}", "fenced", ANN),
    Case("a fence that is not closed, and words", f"Sure!\n```json\n{J}\n", "fenced", ANN),
    Case("a fence with empty lines", f"```json\n\n\n{J}\n\n```", "fenced", ANN),
    Case("a fence with attributes", f'```json title="answer"\n{J}\n```', "fenced", ANN),
    Case("two fences alike", f"```json\n{J}\n```\nthat is\n```\n{J}\n```", "fenced", ANN),
    Case("two fences alike but for white space", f'```json\n{J}\n```\n```json\n{{"name":"Ann"}}\n```', "fenced", ANN),
    Case("two fences alike but for order", f'```\n{K}\n```\n```\n{{"age": 7, "name": "Bob"}}\n```', "fenced", BOB),
    Case("code and then JSON", f"```python\nx = {{}}\n```\n```json\n{J}\n```", "fenced", ANN),
    Case("a fence that matches and one that does not", f'```json\n{{"x": 1}}\n```\n```json\n{J}\n```', "fenced", ANN),
    Case(
        "the schema and then the answer",
        '```json\n{"type": "object", "properties": {}}\n```\n' + f"```json\n{J}\n```",
        "fenced",
        ANN,
    ),
    Case("a number in a fence", "The result is\n```\n42\n```", "fenced", 42, schema=NUMBER),
    Case("a string in a fence", '```json\n"yes"\n```', "fenced", "yes", schema=TEXT),
    Case("an array in a fence", "```json\n[1, 2]\n```", "fenced", [1, 2], schema=NUMBERS),
    Case("a fence and another value in the words", f"Not {K}, but:\n```json\n{J}\n```", "fenced", ANN),
    Case("words within the fence", f"```\nThe answer is {J}\n```", "balanced", ANN),
    Case("a fence on one line", f"```{J}```", "balanced", ANN),
    Case("a fence with its language on one line", f"```json {J} ```", "balanced", ANN),
    Case("code marks", f"`{J}`", "balanced", ANN),
    Case("a fence in a quotation", f"> ```json\n> {J}\n> ```", "balanced", ANN),
    Case("a fence that is not closed before the next", f"```text\nhello\n```json\n{J}\n```", "balanced", ANN),
    Case("an inner fence that is shorter", f"````\n```json\n{J}\n```\n````", "balanced", ANN),
    Case("two fences that differ", f"```json\n{J}\n```\n```json\n{K}\n```", error="2 different values"),
    Case(
        "three fences that differ", "\n".join(f'```\n{{"name": "{n}"}}\n```' for n in "abc"), error="3 different values"
    ),
    Case("an empty fence", "```json\n```", error="no JSON value was found"),
    Case("a fence of prose", "```\nI cannot do that.\n```", error="no JSON value was found"),
    Case(
        "a fence of what does not match",
        '```json\n{"nome": "Ann"}\n```',
        error="does not match the schema: $.name: expected a string (required), got nothing",
    ),
    Case(
        "a fence with a trailing comma", '```json\n{"name": "Ann",}\n```', error="no JSON value was found", mended=ANN
    ),
    Case("a fence with single quotes", "```json\n{'name': 'Ann'}\n```", error="no JSON value was found", mended=ANN),
    Case("a fence that was cut off", '```json\n{"name": "Ann", "age"', error="cut off"),
]

_CHATTY = [
    Case("words before", f"Sure! Here is the JSON: {J}", "balanced", ANN),
    Case("words after", f"{J}\n\nI hope that helps!", "balanced", ANN),
    Case("words around", f"Of course.\n{J}\nLet me know.", "balanced", ANN),
    Case("an apostrophe before", f"Here's what you're after: {J}", "balanced", ANN),
    Case("a quotation before", f'He said "use this: {J}', "balanced", ANN),
    Case("an inch mark before", f'A 5" disk: {J}', "balanced", ANN),
    Case("a label", f"JSON: {J}", "balanced", ANN),
    Case("a bold label", f"**Answer:** {J}", "balanced", ANN),
    Case("a bullet", f"- {J}", "balanced", ANN),
    Case("a tag of thinking", f"<think>name first, then age</think>\n{J}", "balanced", ANN),
    Case("a tag around", f"<json>{J}</json>", "balanced", ANN),
    Case("a footnote", f"{J} [1]", "balanced", ANN),
    Case("footnotes", f"As known [1][2], it is {J}.", "balanced", ANN),
    Case("a link", f"See [the manual](http://a.b/c?d={{x}}): {J}", "balanced", ANN),
    Case("a task list", f"- [ ] ask\n- [x] answer\n{J}", "balanced", ANN),
    Case("braces in the words", f"Put it in {{braces}} like so: {J}", "balanced", ANN),
    Case("empty braces in the words", f"An empty object {{}} is wrong, so: {J}", "balanced", ANN),
    Case("a set in the words", f"the set {{x | x > 0}} gives {J}", "balanced", ANN),
    Case("doubled braces", '{{"name": "Ann"}}', "balanced", ANN),
    Case("a semicolon", f"{J};", "balanced", ANN),
    Case("an assignment", f"const answer = {J};", "balanced", ANN),
    Case("a call", f"answer({J})", "balanced", ANN),
    Case("a lost quotation mark before", f'"{J}', "balanced", ANN),
    Case("a comma after", f"{J},", "balanced", ANN),
    Case("a closing brace too many", f"{J}}}", "balanced", ANN),
    Case("a closing bracket before", f"] {J}", "balanced", ANN),
    Case("twice the same", f"{J} {J}", "balanced", ANN),
    Case("twice the same, with words", f"Draft: {J}\nFinal: {J}", "balanced", ANN),
    Case("a value that does not match before", f'Given {{"id": 3}}, the answer is {J}', "balanced", ANN),
    Case("a value that does not match after", f'{J} with confidence {{"score": 0.9}}', "balanced", ANN),
    Case("an array before", f"From [1, 2, 3] follows {J}", "balanced", ANN),
    Case("an array in words", "The primes are [2, 3, 5].", "balanced", [2, 3, 5], schema=NUMBERS),
    Case("an empty array in words", "There are none: []", "balanced", [], schema=NUMBERS),
    Case("an object over many lines in words", 'Here:\n{\n  "name": "Bob",\n  "age": 7\n}\nDone.', "balanced", BOB),
    Case("a broken value and then a good one", f"{{'name': 'Ann'}} or rather {J}", "balanced", ANN),
    Case("a value with NaN and then a good one", f'{{"name": NaN}} {J}', "balanced", ANN),
    Case("brackets that do not fit and then a good one", f"[1}} {J}", "balanced", ANN),
    Case("words in Chinese", f"当然, 结果是 {J} 。", "balanced", ANN),
    Case("words in Arabic", f"الجواب هو {J} شكرا", "balanced", ANN),
    Case("half a character in the words", f"ok \ud83d {J}", "balanced", ANN),
    Case("a zero-width space before", f"\u200b{J}", "balanced", ANN),
    Case("a no-break space around", f"\u00a0{J}\u00a0", "whole", ANN),
    Case("a NUL before", f"\0{J}", "balanced", ANN),
    Case(
        "any object will do",
        'Well, {"a": [1, {"b": null}]} it is',
        "balanced",
        {"a": [1, {"b": None}]},
        schema=LOOSE,
    ),
    Case("a comment after", f"{J} // as asked", "balanced", ANN),
    Case("a comment before", f"// the answer\n{J}", "balanced", ANN),
    Case("a log line", f"[INFO] {J}", "balanced", ANN),
    Case("lines of JSON alike", f"{J}\n{J}\n{J}", "balanced", ANN),
]

_SEVERAL = [
    Case("two objects", f"{J} {K}", error="2 different values"),
    Case("two objects on two lines", f"{J}\n{K}\n", error="2 different values"),
    Case("two objects in words", f"Either {J} or {K}.", error="2 different values"),
    Case(
        "one and its correction",
        f"{J}\nWait, no:\n{K}",
        error='give just one: {"name": "Ann"} and {"name": "Bob", "age": 7}',
    ),
    Case("two arrays", "[1] or [2]", error="2 different values", schema=NUMBERS),
    Case("1 and 1.0 are written differently", "[1] or [1.0]", error="2 different values", schema=NUMBERS),
    Case("two loose objects", '{"a": 1} {"b": 2}', error="2 different values", schema=LOOSE),
    Case("two that do not match", '{"a": 1} {"b": 2}', error="none of the 2 JSON values"),
    Case("many that do not match", " ".join(f'{{"a": {n}}}' for n in range(20)), error="and 17 more"),
    Case(
        "a person in a list", f"[{J}]", error="does not match the schema: $: expected an object, got an array of 1 item"
    ),
    Case("a person in an object", f'{{"answer": {J}}}', error="$.name: expected a string (required), got nothing"),
    Case("a list where one is asked", f"[{J}, {K}]", error="$: expected an object, got an array of 2 items"),
    Case("a thousand and one values", "[1] " * 1001, error="more than 1,000 JSON values"),
]

_MISMATCH = [
    Case("another type", '{"name": 3}', error="$.name: expected a string, got 3"),
    Case("a number as a string", '{"name": "Ann", "age": "7"}', error='$.age: expected an integer, got "7"'),
    Case("a fraction", '{"name": "Ann", "age": 7.5}', error="$.age: expected an integer, got 7.5"),
    Case("null for what may be left out", '{"name": "Ann", "age": null}', error="$.age: expected an integer, got null"),
    Case("true for an integer", '{"name": "Ann", "age": true}', error="$.age: expected an integer, got true"),
    Case(
        "a property too many",
        '{"name": "Ann", "mood": "good"}',
        error="$.mood: expected no property of this name (there may be name and age)",
    ),
    Case("nothing in it", "{}", error="$.name: expected a string (required), got nothing"),
    Case("another root", "[1]", error="$: expected an object, got an array of 1 item"),
    Case("a string at the root", '"Ann"', error='$: expected an object, got "Ann"'),
    Case("a number at the root", "7", error="$: expected an object, got 7"),
    Case("null at the root", "null", error="$: expected an object, got null"),
    Case("JSON in a string", '"{\\"name\\": \\"Ann\\"}"', error="$: expected an object"),
    Case("a wrong item", "[1, 2, null]", error="$[2]: expected a number, got null", schema=NUMBERS),
    Case(
        "the schema itself",
        '{"type": "object", "properties": {"name": {"type": "string"}}}',
        error="$.name: expected a string (required), got nothing",
    ),
    Case("any JSON will do, but there is none", "nothing", error="no JSON value was found", schema=True),
    Case("a chatty mismatch", 'Here: {"name": null}', error="$.name: expected a string, got null"),
]

_BROKEN = [
    Case("nothing", "", error="the answer is empty"),
    Case("white space", " \n\t ", error="the answer is empty"),
    Case("only a byte order mark", "\ufeff", error="the answer is empty"),
    Case("prose", "I'm sorry, I can't help with that.", error="no JSON value was found in the answer"),
    Case("single quotes", "{'name': 'Ann'}", error="line 1, column 2", mended=ANN),
    Case("mixed quotes", "{'name': \"Ann\"}", error="no JSON value", mended=ANN),
    Case("single quotes in words", "Here: {'name': 'Ann'} ok", error="no JSON value", mended=ANN),
    Case("typographic quotes", "{“name”: “Ann”}", error="no JSON value", mended=ANN),
    Case("names without quotes", '{name: "Ann"}', error="no JSON value", mended=ANN),
    Case("a trailing comma", '{"name": "Ann",}', error="line 1, column 1", mended=ANN),
    Case("a trailing comma in an array", "[1, 2,]", error="no JSON value", schema=NUMBERS, mended=[1, 2]),
    Case("a trailing comma after a line", '{\n  "name": "Bob",\n  "age": 7,\n}', error="line 4", mended=BOB),
    Case("a missing comma", '{"name": "Bob" "age": 7}', error="expecting ',' delimiter", mended=BOB),
    Case("a missing comma between lines", '{\n"name": "Bob"\n"age": 7\n}', error="line 3", mended=BOB),
    Case("a missing colon", '{"name" "Ann"}', error="expecting ':' delimiter"),
    Case("two commas", "[1,, 2]", error="no JSON value", schema=NUMBERS, mended=[1, 2]),
    Case("a comment to the line's end", '{\n"name": "Ann" // hers\n}', error="no JSON value", mended=ANN),
    Case("a comment with a colon in it", '{\n"name": "Ann" // name: hers\n}', error="no JSON value", mended=ANN),
    Case("a comment between", '{"name": /* hers */ "Ann"}', error="no JSON value", mended=ANN),
    Case("a comment of Python's", '{\n"name": "Ann" # hers\n}', error="no JSON value", mended=ANN),
    Case("Python's None", '{"name": None}', error="no JSON value"),
    Case("Python's True", "{'a': True}", error="no JSON value", schema=LOOSE, mended={"a": True}),
    Case("NaN", '{"name": "Ann", "age": NaN}', error="NaN is no JSON value"),
    Case("Infinity", "[1, Infinity]", error="Infinity is no JSON value", schema=NUMBERS),
    Case("minus Infinity", "[-Infinity]", error="-Infinity is no JSON value", schema=NUMBERS),
    Case("NaN alone", "NaN", error="NaN is no JSON value", schema=NUMBER),
    Case("undefined", '{"name": undefined}', error="no JSON value"),
    Case("a number past all bounds", "[1e999]", error="the number 1e999 is too large", schema=NUMBERS),
    Case("an integer of 5,000 digits", "[" + "1" * 5000 + "]", error="a number in it is too long", schema=NUMBERS),
    Case("a name twice", '{"name": "Ann", "name": "Bob"}', error='the property "name" is there twice'),
    Case("a name twice with the same value", '{"name": "Ann", "name": "Ann"}', error="is there twice"),
    Case("a name twice, written differently", '{"name": "Ann", "n\\u0061me": "Bob"}', error="is there twice"),
    Case("a name twice, further in", '[{"a": {"b": 1, "b": 2}}]', error='the property "b" is there twice', schema=True),
    Case("a name twice in a fence", '```json\n{"name": "Ann", "name": "Bob"}\n```', error="is there twice"),
    Case("a name twice without quotes", "{name: 'Ann', name: 'Bob'}", error="no JSON value"),
    Case("half a character", '{"name": "\\ud83d"}', error="half a character"),
    Case("the other half", '{"name": "\\ude00!"}', error="half a character"),
    Case("a raw line end in a string", '{"name": "An\nn"}', error="no JSON value", mended={"name": "An\nn"}),
    Case("a raw tab in a string", '{"name": "A\tn"}', error="no JSON value", mended={"name": "A\tn"}),
    Case("a bad escape", '{"name": "\\x41nn"}', error="no JSON value"),
    Case(
        "quotes within quotes",
        '{"name": "Ann "the Man" Bee"}',
        error="no JSON value",
        mended={"name": 'Ann "the Man" Bee'},
    ),
    Case("a leading zero", "[007]", error="no JSON value", schema=NUMBERS, mended=[7]),
    Case("a plus sign", "[+7]", error="no JSON value", schema=NUMBERS, mended=[7]),
    Case("a point first", "[.5]", error="no JSON value", schema=NUMBERS, mended=[0.5]),
    Case("a hexadecimal number", "[0x10]", error="no JSON value", schema=NUMBERS),
    Case("an ellipsis", "[1, 2, ...]", error="no JSON value", schema=NUMBERS, mended=[1, 2]),
    Case("YAML", "name: Ann\nage: 7", error="no JSON value was found"),
    Case("XML", "<person><name>Ann</name></person>", error="no JSON value was found"),
    Case("Python's repr", "Person(name='Ann', age=7)", error="no JSON value was found"),
    Case("brackets that do not fit", '{"name": "Ann"]', error="no JSON value"),
    Case("brackets crossed", '{"a": [1}]', error="no JSON value", schema=LOOSE, mended={"a": [1]}),
    Case("a person within something broken is not the answer", '{\'who\': {"name": "Ann"}}', error="no JSON value"),
    Case("a person within a name twice is not the answer", f'{{"who": {J}, "who": {J}}}', error="is there twice"),
]

_CUT = [
    Case("cut in a name", '{"na', error="cut off"),
    Case("cut after a name", '{"name"', error="cut off"),
    Case("cut after a colon", '{"name": ', error="cut off"),
    Case("cut in a string", '{"name": "An', error="cut off"),
    Case("cut after a string", '{"name": "Ann"', error="cut off"),
    Case("cut after a comma", '{"name": "Ann",', error="cut off"),
    Case("cut in a number", '{"name": "Ann", "age": 7', error="cut off"),
    Case("cut after an escape", '{"name": "An\\', error="cut off"),
    Case("cut in an escape", '{"name": "An\\u00', error="cut off"),
    Case("cut in a literal", '{"name": "Ann", "ok": tru', error="cut off"),
    Case("cut in an array", "[1, 2", error="cut off", schema=NUMBERS),
    Case("cut in the second of a list", f'[{J}, {{"name": "Bo', error="cut off", schema=PEOPLE),
    Case("cut after a whole part that would match", f'{{"who": {J}, "next', error="cut off"),
    Case("cut after a whole item that would match", f"[{J}, {J}, {{", error="cut off"),
    Case("cut in words", 'Here it is: {"name": "Ann", "age', error="cut off"),
    Case("cut at an opening brace", "{", error="no JSON value"),
    Case("cut before a bracket in a string", '{"name": "a } b', error="cut off"),
    Case("an interval is read as an array that is never closed", f"in [1, 2) it is {J}", error="never closed"),
]

_LARGE = [
    Case("one level too deep", "[" * 129 + "]" * 129, error="nested more than 128 levels", schema={"type": "array"}),
    Case("far too deep", "[" * 100_000 + "]" * 100_000, error="nested more than 128 levels", schema={"type": "array"}),
    Case("deep objects", '{"children": [' * 90 + "]}" * 90, error="nested more than 128 levels", schema=TREE),
    Case("a deep tree that is allowed", '{"children": [' * 20 + "]}" * 20, "whole", "deep", schema=TREE),
    Case("deep and never closed", '{"a":' * 50_000, error="nested more than 128 levels", schema=LOOSE),
    Case("5 MB of brackets", "{[" * 2_500_000, error="cut off", schema=LOOSE),
    Case("5 MB of opening brackets", "[" * 5_000_000, error="nested more than 128 levels", schema=NUMBERS),
    Case("5 MB of backticks", "`" * 5_000_000, error="no JSON value"),
    Case("5 MB of quotation marks", '{"name": "' + '\\"' * 2_500_000, error="cut off"),
    Case(
        "5 MB of words and an answer",
        "It was the best of times, it was the worst [sic] of times. " * 85_000 + J,
        "balanced",
        ANN,
    ),
    Case(
        "5 MB of words and a fence",
        "It's the age of wisdom, {the} age of foolishness.\n" * 100_000 + f"```json\n{J}\n```",
        "fenced",
        ANN,
    ),
    Case("5 MB of words", "no JSON here, none at all. " * 185_000, error="no JSON value was found in the answer"),
    Case("a string of 5 MB", '{"name": "' + "x" * 5_000_000 + '"}', "whole", {"name": "x" * 5_000_000}),
    Case("a string of 5 MB in words", 'So: {"name": "' + "x" * 5_000_000 + '"}', "balanced", {"name": "x" * 5_000_000}),
]

SMALL = [*_WHOLE, *_FENCED, *_CHATTY, *_SEVERAL, *_MISMATCH, *_BROKEN, *_CUT]
CASES = [*SMALL, *_LARGE]
