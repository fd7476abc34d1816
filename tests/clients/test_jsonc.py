"""One member of a JSON file is changed, and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.clients.jsonc import JsoncError, put, read, remove

ENTRY = {"command": "/usr/bin/dragoman", "args": ["serve"]}
PATH = ("mcpServers", "dragoman")

COMMENTED = """\
// My settings. "mcpServers": {"not": "this"}
{
    "theme": "dark", // trailing words
    /* servers */
    "mcpServers": {
        "other": {"command": "x", "args": ["//no", "/*comment*/"]}, // keep me
    },
    "last": [1, 2,],
}
"""
PLAIN = '{\n  "a": 1,\n  "mcpServers": {\n    "other": {\n      "command": "x"\n    }\n  }\n}\n'
TABS = '{\r\n\t"mcpServers": {\r\n\t\t"other": {}\r\n\t}\r\n}\r\n'
FILES = {
    "commented": COMMENTED,
    "plain": PLAIN,
    "tabs and CRLF": TABS,
    "byte order mark": "\ufeff" + PLAIN,
    "one line": '{"mcpServers": {"other": {}}}',
    "empty servers": '{\n  "mcpServers": {}\n}\n',
    "comment before the end": '{\n  "mcpServers": {\n    "other": {} // last\n  }\n}\n',
    "no newline at the end": PLAIN.rstrip(),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_put_in_and_taken_out_again_leaves_the_file_as_it_was(name: str) -> None:
    text = FILES[name]
    before: Any = read(text)
    with_ours = put(text, PATH, ENTRY)
    after: Any = read(with_ours)
    assert after["mcpServers"].pop("dragoman") == ENTRY
    assert after == before
    assert remove(with_ours, PATH) == text
    assert put(with_ours, PATH, ENTRY) == with_ours


def test_the_indentation_and_line_ends_of_the_file_are_used() -> None:
    assert put(TABS, PATH, {"a": {"b": 1}}) == (
        '{\r\n\t"mcpServers": {\r\n\t\t"other": {},\r\n\t\t"dragoman": {\r\n\t\t\t"a": {\r\n\t\t\t\t"b": 1\r\n'
        "\t\t\t}\r\n\t\t}\r\n\t}\r\n}\r\n"
    )


def test_comments_keep_their_places() -> None:
    with_ours = put(COMMENTED, PATH, ENTRY)
    for words in ('// My settings. "mcpServers"', "// trailing words", "/* servers */", "}, // keep me"):
        assert words in with_ours


@pytest.mark.parametrize("text", ["", "\n", "{}", "{}\n", '{"a": 1}', '{\n  "a": 1\n}\n', "// nothing yet\n{\n}\n"])
def test_what_is_missing_on_the_way_is_made(text: str) -> None:
    value: Any = read(put(text, PATH, ENTRY))
    assert value["mcpServers"]["dragoman"] == ENTRY
    assert remove(text, PATH) == text


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('{\n  "a": 1\n  "b": 2\n}', 3, "comma"),
        ('{\n  "a": tru\n}', 2, "'tru' is no value"),
        ('{\n  "a": "x\n}', 2, "string"),
        ('{\n  "a" 1\n}', 2, "colon"),
        ('{\n  "a": 1', 2, "ends too early"),
        ("{} {}", 1, "behind the end"),
        ("[]", 1, "the file is not an object"),
        ('{\n  "mcpServers": []\n}', 2, "mcpServers is not an object"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(JsoncError, match=words) as raised:
        put(text, PATH, ENTRY)
    assert raised.value.line == line


KEYS = st.text(max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(
    value=st.dictionaries(KEYS, VALUES, max_size=4),
    servers=st.none() | st.dictionaries(KEYS, VALUES, max_size=3),
    indent=st.sampled_from([None, 2, 4, "\t"]),
    ascii_only=st.booleans(),
)
def test_any_json_is_changed_only_where_it_should(
    value: dict[str, Any], servers: dict[str, Any] | None, indent: int | str | None, *, ascii_only: bool
) -> None:
    if servers is not None:
        servers.pop("dragoman", None)
        value["mcpServers"] = servers
    else:
        value.pop("mcpServers", None)
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert read(text) == value
    with_ours = put(text, PATH, ENTRY)
    assert read(with_ours) == {**value, "mcpServers": {**(servers or {}), "dragoman": ENTRY}}
    if servers is not None:
        assert remove(with_ours, PATH) == text
