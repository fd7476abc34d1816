import json
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dragoman.config.keys import Key
from dragoman.config.lines import json_lines, toml_lines

TOML = (
    r'''
top = 1  # [not.a.table]
"quoted.key" = "a # b"
long = """
[not.a.table]
x = 1 \""" and ""
""""
raw = '''.replace("'''", "'''")
    + r"""'''
[neither]
'''
list = [
  1, # one
  { inner = 2, other = [
    'x', ] },
  "]",
]

[providers.claude]
model = "m"
env = { A = "}", 'b.c' = "#" }
timeouts.idle = 5
[ providers . "my cli" ] # spaced
"\u0061bc" = 2026-11-21 07:32:00
"\U0001F600" = 1
[[many]]
name = 1
[[many.sub]]
x = 1
[[many]]
name = 2
many2.x = -inf
"""
)

EXPECTED: dict[Key, str] = {
    ("top",): "top =",
    ("quoted.key",): '"quoted.key"',
    ("long",): "long =",
    ("raw",): "raw =",
    ("list",): "list =",
    ("list", 0): "1, # one",
    ("list", 1): "{ inner",
    ("list", 1, "inner"): "{ inner",
    ("list", 1, "other"): "{ inner",
    ("list", 1, "other", 0): "'x', ]",
    ("list", 2): '"]"',
    ("providers",): "[providers.claude]",
    ("providers", "claude"): "[providers.claude]",
    ("providers", "claude", "model"): "model =",
    ("providers", "claude", "env"): "env =",
    ("providers", "claude", "env", "A"): "env =",
    ("providers", "claude", "env", "b.c"): "env =",
    ("providers", "claude", "timeouts"): "timeouts.idle",
    ("providers", "claude", "timeouts", "idle"): "timeouts.idle",
    ("providers", "my cli"): "[ providers .",
    ("providers", "my cli", "abc"): '"\\u0061bc"',
    ("providers", "my cli", "\U0001f600"): '"\\U0001F600"',
    ("many",): "[[many]]",
    ("many", 0): "[[many]]",
    ("many", 0, "name"): "name = 1",
    ("many", 0, "sub"): "[[many.sub]]",
    ("many", 0, "sub", 0): "[[many.sub]]",
    ("many", 0, "sub", 0, "x"): "x = 1",
    ("many", 1, "name"): "name = 2",
    ("many", 1, "many2"): "many2.x",
    ("many", 1, "many2", "x"): "many2.x",
}


def keys_of(value: object, prefix: Key = ()) -> set[Key]:
    """Every key and list place in a value."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - any JSON
    elif isinstance(value, list):
        items = list(enumerate(value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - any JSON
    found: set[Key] = set()
    for part, inner in items:
        found |= {(*prefix, part)} | keys_of(inner, (*prefix, part))
    return found


def test_every_key_of_a_toml_text_is_found_on_its_line() -> None:
    lines, text = toml_lines(TOML), TOML.splitlines()
    assert set(lines) == keys_of(tomllib.loads(TOML))
    for key, beginning in EXPECTED.items():
        assert beginning in text[lines[key] - 1], key
    assert lines["many", 1] > lines["many", 0]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(['"', "a\nb", "]}", "#", "\\"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=4), st.sampled_from([None, 0, 2]), st.booleans())
def test_every_key_of_any_json_text_is_found(value: dict[str, Any], indent: int | None, escaped: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    lines = json_lines(text)
    assert set(lines) == keys_of(value)
    for key, line in lines.items():
        if isinstance(key[-1], str):
            assert json.dumps(key[-1], ensure_ascii=escaped) in text.split("\n")[line - 1]
