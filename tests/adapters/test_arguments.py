"""No text of a caller ever becomes a flag, whatever the adapter."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragoman.adapters.base import Argument, Installed, PrivateFile, Refused, Turn, Value
from dragoman.adapters.registry import load_adapters

ADAPTERS, BROKEN = load_adapters()
NASTY = st.sampled_from(
    ["--help", "-c", "--dangerously-skip-permissions", "@/etc/passwd", "/exit", "!ls", "a\0b", "$(id)"]
)
WORDS = NASTY | st.text(min_size=1, max_size=200) | st.text(max_size=50).map(lambda text: f"--{text}")
ONLY_IN_THE_PROMPT = "zq7-only-in-the-prompt"
FOUND = (Installed(Path("/x"), None), Installed(Path("/x"), (0, 0, 1), "0.0.1"), Installed(Path("/x"), (999,), "999"))


def test_every_adapter_is_tried() -> None:
    assert not BROKEN
    assert {"claude", "codex", "gemini", "llm", "local"} <= set(ADAPTERS)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    prompt=WORDS, system=st.none() | WORDS, model=st.none() | WORDS, found=st.sampled_from(FOUND), looks=st.booleans()
)
def test_no_word_of_a_caller_is_an_argument_of_its_own(
    name: str, prompt: str, system: str | None, model: str | None, found: Installed, *, looks: bool
) -> None:
    adapter = ADAPTERS[name]
    folder = Path("/somewhere") if looks and adapter.profile.reads_folder else None

    def argv(prompt: str, system: str | None, model: str | None) -> tuple[Argument, ...]:
        turn = Turn(id="t", prompt=prompt, system=system, model=model, access="read-only", cwd=folder)
        return adapter.plan(turn, found).channel.argv

    try:
        said = argv(prompt + ONLY_IN_THE_PROMPT, system, model)
        plain = argv("p", system and "s", model and "m")
    except Refused:
        return
    # Whatever the caller says, the words that the adapter writes by itself are the same.
    assert [word for word in said if isinstance(word, str)] == [word for word in plain if isinstance(word, str)]
    for argument in said:
        match argument:
            case Value(prefix=prefix, value=value):
                assert prefix.startswith("-") or not value.startswith("-")
                assert ONLY_IN_THE_PROMPT not in value
            case PrivateFile(content=content):
                assert ONLY_IN_THE_PROMPT.encode() not in content
            case _:
                pass
