import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from dragoman.config import ConfigurationError, Loaded, load_configuration, load_layers
from dragoman.config.keys import flatten, leaf_keys, merge


def sources(loaded: Loaded) -> dict[str, str]:
    return {setting.key: setting.source for setting in loaded.settings()}


def test_without_any_layer_every_value_is_a_default(project: Path) -> None:
    loaded = load_layers(environ={})
    assert set(sources(loaded).values()) == {"default"}
    assert loaded.configuration.provider("claude").max_concurrency == 3
    assert loaded.files == ()


def test_each_layer_wins_over_the_ones_below(project: Path, user_folder: Path, tmp_path: Path) -> None:
    named = tmp_path / "named.toml"
    writes: list[tuple[Path, str, str]] = [
        (user_folder / "config.toml", 'model = "user"', f"{user_folder / 'config.toml'}:2"),
        (project / "dragoman.toml", 'model = "project"', "dragoman.toml:2"),
        (named, 'model = "named"', f"--config {named}:2"),
    ]
    for path, line, source in writes:
        path.write_text(f"[providers.claude]\n{line}\n", encoding="utf-8")
        loaded = load_layers([named] if named.exists() else [], environ={})
        assert loaded.configuration.provider("claude").model == line.split('"')[1]
        assert sources(loaded)["providers.claude.model"] == source

    (project / ".env").write_text("\n\nDRAGOMAN_PROVIDERS__CLAUDE__MODEL=dotenv\n", encoding="utf-8")
    loaded = load_layers([named], environ={})
    assert loaded.configuration.provider("claude").model == "dotenv"
    assert sources(loaded)["providers.claude.model"] == ".env:3 (DRAGOMAN_PROVIDERS__CLAUDE__MODEL)"

    environ = {"DRAGOMAN_PROVIDERS__CLAUDE__MODEL": "environment"}
    loaded = load_layers([named], environ=environ)
    assert loaded.configuration.provider("claude").model == "environment"
    assert sources(loaded)["providers.claude.model"] == "DRAGOMAN_PROVIDERS__CLAUDE__MODEL"

    loaded = load_layers([named], environ=environ, overrides={"providers": {"claude": {"model": "call"}}})
    assert loaded.configuration.provider("claude").model == "call"
    assert sources(loaded)["providers.claude.model"] == "call"


def test_a_later_named_file_wins_and_tables_are_laid_over_each_other(project: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text('[providers.codex]\nargs = ["a"]\nenv = { A = "1", B = "2" }\n[log]\nlevel = "info"\n', "utf-8")
    second.write_text('[providers.codex]\nargs = ["b", "c"]\nenv = { B = "3" }\n', "utf-8")
    configuration = load_configuration([first, second], environ={})
    assert configuration.provider("codex").args == ("b", "c")
    assert configuration.provider("codex").env == {"A": "1", "B": "3"}
    assert configuration.log.level == "INFO"


def test_files_named_in_the_environment_come_before_those_of_the_command(project: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text('order = ["codex"]\nworkspaces = ["work"]\n', "utf-8")
    second.write_text('order = ["claude"]\n', "utf-8")
    loaded = load_layers([second], environ={"DRAGOMAN_CONFIG": str(first)})
    assert loaded.configuration.order == ("claude",)
    assert loaded.configuration.workspaces == (tmp_path / "work",)
    assert sources(loaded)["workspaces"] == f"DRAGOMAN_CONFIG {first}:2"


def test_reserved_variables_are_no_configuration(project: Path) -> None:
    environ = {"DRAGOMAN_HOME": str(project / "h"), "DRAGOMAN_DEPTH": "1", "DRAGOMAN_LINEAGE": "x"}
    assert set(sources(load_layers(environ=environ)).values()) == {"default"}


def test_the_environment_takes_json_for_lists_and_tables_and_keeps_the_case_of_a_childs_variables(
    project: Path,
) -> None:
    configuration = load_configuration(
        environ={
            "DRAGOMAN_ORDER": '["codex", "claude"]',
            "DRAGOMAN_PROVIDERS": '{"my-cli": {"model": "m"}, "codex": {"model": "low"}}',
            "DRAGOMAN_PROVIDERS__CODEX__MODEL": "deeper",
            "DRAGOMAN_PROVIDERS__CODEX__ENV__Http__Proxy": '{"not": "parsed"}',
            "DRAGOMAN_PROVIDERS__CODEX__COMMAND": '["npx", "codex"]',
            "DRAGOMAN_PROVIDERS__CODEX__WARM": "true",
            "DRAGOMAN_LOG__JSON": "true",
            "DRAGOMAN_SERVER__MAX_WAIT_S": "none",
            "DRAGOMAN_RETRY__MAX_ATTEMPTS": "",
        }
    )
    assert configuration.order == ("codex", "claude")
    assert configuration.provider("my-cli").model == "m"
    codex = configuration.provider("codex")
    assert (codex.model, codex.command, codex.warm) == ("deeper", ("npx", "codex"), True)
    assert codex.env == {"Http__Proxy": '{"not": "parsed"}'}
    assert configuration.log.as_json
    assert configuration.server.max_wait_s is None
    assert configuration.retry.max_attempts == 3


def test_the_real_environment_wins_over_dotenv_even_where_it_is_less_deep(project: Path) -> None:
    (project / ".env").write_text("DRAGOMAN_LOG__LEVEL=DEBUG\nOTHER=1\nexport DRAGOMAN_RETRY__JITTER='0'\n", "utf-8")
    configuration = load_configuration(environ={"DRAGOMAN_LOG": '{"level": "ERROR"}'})
    assert configuration.log.level == "ERROR"
    assert configuration.retry.jitter == 0


def test_dotenv_cannot_move_our_state_nor_name_further_files(project: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.toml").write_text('[providers.claude]\ncommand = "evil"\n', "utf-8")
    (project / ".env").write_text(f"DRAGOMAN_HOME=/elsewhere\nDRAGOMAN_CONFIG={tmp_path / 'evil.toml'}\n", "utf-8")
    loaded = load_layers(environ={})
    assert loaded.configuration.provider("claude").command == ()
    assert loaded.warnings == (
        ".env:1: 'DRAGOMAN_HOME' is not read from a .env file; set it in the environment",
        ".env:2: 'DRAGOMAN_CONFIG' is not read from a .env file; set it in the environment",
    )


def test_a_linked_dotenv_is_refused_only_where_it_speaks_to_us(project: Path, tmp_path: Path) -> None:
    target = tmp_path / "env"
    (project / ".env").symlink_to(target)
    target.write_text("OTHER=1\n", "utf-8")
    assert load_layers(environ={}).warnings == ()
    target.write_text("DRAGOMAN_LOG__LEVEL=DEBUG\n", "utf-8")
    loaded = load_layers(environ={})
    assert loaded.configuration.log.level == "WARNING"
    assert "symbolic link" in loaded.warnings[0]


def test_a_broken_line_of_ours_in_dotenv_is_told_and_the_rest_is_read(project: Path) -> None:
    (project / ".env").write_text("A B C\nDRAGOMAN_LOG__LEVEL DEBUG\nDRAGOMAN_RETRY__JITTER=0\n", "utf-8")
    loaded = load_layers(environ={})
    assert loaded.warnings == (".env:2: cannot be read as NAME=value; it is not used",)
    assert loaded.configuration.retry.jitter == 0


def test_the_project_file_is_looked_for_up_to_the_git_root(project: Path) -> None:
    (project.parent / "dragoman.toml").write_text('order = ["above"]\n', "utf-8")
    deep = project / "a" / "b"
    deep.mkdir(parents=True)
    assert load_configuration(folder=deep, environ={}).order == ()
    (project / "dragoman.toml").write_text('order = ["root"]\n', "utf-8")
    assert load_configuration(folder=deep, environ={}).order == ("root",)
    (deep / "dragoman.json").write_text('{"order": ["near"]}', "utf-8")
    assert load_configuration(folder=deep, environ={}).order == ("near",)


def test_below_the_home_the_search_ends_before_the_home_and_elsewhere_at_the_folder(
    tmp_path: Path, user_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, deep = tmp_path / "home", tmp_path / "home" / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    (home / "dragoman.toml").write_text('order = ["home"]\n', "utf-8")
    assert load_configuration(folder=deep, environ={}).order == ()
    assert load_configuration(folder=home, environ={}).order == ()
    (home / "a" / "dragoman.toml").write_text('order = ["below"]\n', "utf-8")
    assert load_configuration(folder=deep, environ={}).order == ("below",)

    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    assert load_configuration(folder=deep, environ={}).order == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.toml", "[providers.claude]\nmodel = 'm'\ntimeouts.idle = 5\n"),
        ("c.yaml", "providers:\n  claude: {model: m,\n    timeouts: {idle: 5}}\n"),
        ("c.json", '{"providers":\n {"claude": {"model": "m",\n "timeouts": {"idle": 5}}}}'),
    ],
)
def test_toml_yaml_and_json_have_the_same_shape_and_all_know_their_lines(
    project: Path, tmp_path: Path, name: str, text: str
) -> None:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    loaded = load_layers([path], environ={})
    assert loaded.configuration.provider("claude").timeouts.idle == 5
    assert sources(loaded)["providers.claude.model"] == f"--config {path}:2"
    assert sources(loaded)["providers.claude.timeouts.idle"] == f"--config {path}:3"


def test_a_second_file_beside_the_first_is_told_and_not_read(project: Path) -> None:
    (project / "dragoman.toml").write_text('order = ["claude"]\n', "utf-8")
    (project / "dragoman.yaml").write_text("order: [codex]\n", "utf-8")
    loaded = load_layers(environ={})
    assert loaded.configuration.order == ("claude",)
    assert loaded.warnings == ("dragoman.yaml: is not read, because 'dragoman.toml' stands beside it",)
    assert loaded.files == (project / "dragoman.toml",)


def test_relative_paths_belong_to_the_file_that_names_them(
    project: Path, user_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    (user_folder / "config.toml").write_text(
        'workspaces = ["~/src", "work/../other"]\n'
        '[providers.claude]\ncommand = ["./bin/claude", "./kept"]\n'
        '[providers.codex]\ncommand = "codex"\nworkspaces = []\n',
        "utf-8",
    )
    configuration = load_configuration(environ={"DRAGOMAN_LOG__FILE": "log.txt"})
    assert configuration.workspaces == (Path("/home/somebody/src"), user_folder / "other")
    assert configuration.provider("claude").command == (str(user_folder / "bin/claude"), "./kept")
    assert configuration.provider("codex").command == ("codex",)
    assert configuration.workspaces_of("claude") == configuration.workspaces
    assert configuration.workspaces_of("codex") == ()
    assert configuration.log.file == project / "log.txt"


def test_parts_of_a_declared_provider_may_stand_in_different_layers(project: Path, user_folder: Path) -> None:
    (user_folder / "config.toml").write_text('[declared.mine]\noutput = "json"\n', "utf-8")
    with pytest.raises(ConfigurationError, match=r"config\.toml:2: .*it needs a 'command'"):
        load_configuration(environ={})
    configuration = load_configuration(environ={"DRAGOMAN_DECLARED__MINE__COMMAND": "mine"})
    assert configuration.declared["mine"].command == ("mine",)
    assert configuration.declared["mine"].output == "json"


def test_values_of_a_childs_variables_are_marked_as_secret(project: Path) -> None:
    loaded = load_layers(environ={"DRAGOMAN_PROVIDERS__CLAUDE__ENV__A_KEY": "s3cret"})
    assert [setting.key for setting in loaded.settings() if setting.secret] == ["providers.claude.env.A_KEY"]


def test_a_clean_load_warns_of_nothing_and_a_configuration_survives_json(project: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        configuration = load_configuration(environ={"DRAGOMAN_PROVIDERS__CLAUDE__MODEL": "m"})
    again = type(configuration).model_validate(json.loads(configuration.model_dump_json(by_alias=True)))
    assert again == configuration


def test_importing_the_configuration_leaves_out_what_few_loads_need() -> None:
    code = (
        "import dragoman.config, sys\n"
        "late = ('yaml', 'dotenv', 'platformdirs', 'pydantic_settings', 'loguru', 'mcp')\n"
        "print([name for name in late if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert result.stdout == "[]\n"


def test_merge_replaces_values_and_joins_tables() -> None:
    base = {"a": {"b": 1, "c": [1]}, "d": 1}
    merge(base, {"a": {"c": [2]}, "d": {"e": 1}})
    assert base == {"a": {"b": 1, "c": [2]}, "d": {"e": 1}}
    assert dict(flatten(base)) == {("a", "b"): 1, ("a", "c"): [2], ("d", "e"): 1}


def test_every_leaf_key_is_named_in_the_page_about_configuration() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")
    section, named = "", set[str]()
    for line in page.splitlines():
        if line.startswith("#"):
            section = line.partition("`[")[2].partition("]`")[0]
        elif line.startswith("| `"):
            key = line.split("`")[1]
            named.add(f"{section}.{key}" if section else key)
    assert named == set(leaf_keys())
