"""An account's name: the same for the same login, another for another, and nothing to be read from it."""

from dragoman.config import ProviderSettings
from dragoman.engine.providers.accounts import account_of
from dragoman.testing import FakeAdapter

PROFILE = FakeAdapter(pass_env=("FAKE_HOME", "FAKE_CFG_*"), metered_env=("FAKE_CFG_KEY",)).profile
SETTINGS = ProviderSettings()
HOME = {"HOME": "/home/somebody"}


def test_what_a_login_is_found_by_tells_accounts_apart() -> None:
    variables = (HOME, {"HOME": "/home/other"}, {**HOME, "FAKE_HOME": "/x"}, {**HOME, "FAKE_CFG_PROFILE": "work"})
    names = {account_of(PROFILE, SETTINGS, each) for each in variables}
    names.add(account_of(PROFILE, ProviderSettings(credentials="inherit"), HOME))
    names.add(account_of(FakeAdapter("other").profile, SETTINGS, HOME))
    assert len(names) == 6


def test_neither_a_key_nor_where_a_call_runs_makes_another_account() -> None:
    same = {**HOME, "FAKE_CFG_KEY": "secret", "PATH": "/bin", "DRAGOMAN_LINEAGE": "a,b", "TMPDIR": "/t"}
    assert account_of(PROFILE, SETTINGS, same) == account_of(PROFILE, SETTINGS, dict(reversed(same.items())))
    assert account_of(PROFILE, SETTINGS, same) == account_of(PROFILE, SETTINGS, HOME)


def test_neither_what_only_configures_it_nor_where_it_was_found_makes_another_account() -> None:
    profile = FakeAdapter(pass_env=("FAKE_HOME", "NO_TELEMETRY"), account_env=("FAKE_HOME",)).profile
    name = account_of(profile, SETTINGS, HOME)
    assert account_of(profile, SETTINGS, {**HOME, "NO_TELEMETRY": "1"}) == name
    assert account_of(profile, SETTINGS, {**HOME, "FAKE_HOME": "/x"}) != name
    for command in ("/opt/dragoman-fake", "C:/npm/dragoman-fake.cmd"):
        assert account_of(profile, ProviderSettings.model_validate({"command": command}), HOME) == name
    for command in ("/opt/another", ["dragoman-fake", "--profile=work"]):
        assert account_of(profile, ProviderSettings.model_validate({"command": command}), HOME) != name


def test_the_name_is_a_file_name_and_shows_nothing() -> None:
    name = account_of(PROFILE, SETTINGS, HOME)
    assert name.removeprefix("fake-").isalnum()
    assert "somebody" not in name
