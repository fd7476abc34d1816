"""What a child gets to see of the environment, and how deep Dragomans may nest."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.base import Profile
from dragoman.config import ProviderSettings
from dragoman.engine.attempt.environment import Lineage, build_environment
from dragoman.schemas import ErrorCode, LLMError

PROFILE = Profile(
    name="x",
    title="X",
    description="",
    executables=("x",),
    install_hint="",
    pass_env=("X_CONFIG", "X_FLAG_*"),
    metered_env=("X_API_KEY", "X_USE_*"),
)


def test_only_the_allowlist_passes() -> None:
    environ = {
        "PATH": "/bin",
        "HOME": "/h",
        "LC_ALL": "C",
        "X_CONFIG": "c",
        "X_FLAG_A": "1",
        "CLAUDECODE": "1",
        "SECRET": "s",
    }
    built = build_environment(PROFILE, ProviderSettings(), environ)
    assert built.variables == {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "X_CONFIG": "c", "X_FLAG_A": "1"}
    assert built.held_back == ()


def test_metered_keys_are_held_back_and_named() -> None:
    environ = {"HOME": "/h", "X_API_KEY": "k", "X_USE_CLOUD": "1"}
    built = build_environment(PROFILE, ProviderSettings(), environ)
    assert built.variables == {"HOME": "/h"}
    assert set(built.held_back) == {"X_API_KEY", "X_USE_CLOUD"}


@pytest.mark.parametrize(
    "settings", [ProviderSettings(credentials="inherit"), ProviderSettings(pass_env=("X_API_KEY", "X_USE_CLOUD"))]
)
def test_metered_keys_pass_when_the_configuration_says_so(settings: ProviderSettings) -> None:
    environ = {"HOME": "/h", "X_API_KEY": "k", "X_USE_CLOUD": "1"}
    built = build_environment(PROFILE, settings, environ)
    assert built.variables == environ
    assert built.held_back == ()


def test_configured_variables_win_and_a_home_is_never_missing() -> None:
    built = build_environment(PROFILE, ProviderSettings(env={"LANG": "C", "X_API_KEY": "own"}), {"LANG": "de_DE"})
    assert built.variables["LANG"] == "C"
    assert built.variables["X_API_KEY"] == "own"
    assert built.variables["HOME"]


def test_our_own_folder_is_the_same_one_for_a_child_in_another_folder() -> None:
    profile = replace(PROFILE, pass_env=("DRAGOMAN_HOME",))

    def told(home: str) -> str:
        return build_environment(profile, ProviderSettings(), {"DRAGOMAN_HOME": home}).variables["DRAGOMAN_HOME"]

    assert (told("~/x"), told("x"), told("")) == (str(Path.home() / "x"), str(Path.cwd() / "x"), "")
    with pytest.raises(LLMError, match="DRAGOMAN_HOME is '~nobody-at-all/x'") as caught:
        told("~nobody-at-all/x")
    assert caught.value.info.next_step == "nobody has that home, so write the whole path"


def test_a_proxy_never_catches_loopback() -> None:
    environ = {"HOME": "/h", "HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "intern,localhost"}
    variables = build_environment(PROFILE, ProviderSettings(), environ).variables
    assert variables["NO_PROXY"] == "intern,localhost,127.0.0.1"
    assert variables["no_proxy"] == "127.0.0.1,localhost"


def test_the_depth_grows_with_each_child_and_keeps_the_calls_that_led_here() -> None:
    first = Lineage.read({}, max_depth=2)
    second = Lineage.read(first.child("a"), max_depth=2)
    assert (second.depth, second.calls) == (1, ("a",))
    with pytest.raises(LLMError, match="nested too deep") as caught:
        Lineage.read(second.child("b"), max_depth=2)
    assert caught.value.code is ErrorCode.POLICY


@given(st.text().filter(lambda text: not (text.isascii() and text.isdigit())))
def test_a_garbled_depth_fails_closed(text: str) -> None:
    with pytest.raises(LLMError, match="not a number"):
        Lineage.read({"DRAGOMAN_DEPTH": text}, max_depth=2)
