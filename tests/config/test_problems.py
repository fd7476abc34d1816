import builtins
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dragoman.config import ConfigurationError, load_layers, state_folder
from dragoman.config.documents import MAX_BYTES


def problems(path: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_layers([path], environ=environ or {})
    return caught.value.problems


def test_an_unknown_key_names_file_line_table_and_the_nearest_right_key(project: Path) -> None:
    text = '# first\n[providers.claude]\nmodle = "opus"\n'
    assert problems(project / "a.toml", text) == [
        "a.toml:3: unknown key 'modle' in [providers.claude]; did you mean 'model'?"
    ]


def test_an_unknown_key_like_no_other_gets_the_list(project: Path) -> None:
    [problem] = problems(project / "a.toml", "[cache]\nxyz = 1\n")
    assert problem == "a.toml:2: unknown key 'xyz' in [cache]; known keys are enabled, max_mb, ttl_s"


def test_all_problems_of_all_layers_are_told_at_once(project: Path, user_folder: Path) -> None:
    (user_folder / "config.json").write_text('{\n"lgo": {}}', "utf-8")
    (project / "dragoman.yaml").write_text("retry:\n  jitter: 2\n", "utf-8")
    found = problems(
        project / "a.toml", "order = 1\nlimits.queue = -1\n", {"DRAGOMAN_LOG__LEVLE": "x", "DRAGOMAN_ORDER": "[1"}
    )
    assert [problem.split(": ")[0] for problem in found] == [
        f"{user_folder / 'config.json'}:2",
        "dragoman.yaml:2",
        "a.toml:1",
        "a.toml:2",
        "DRAGOMAN_ORDER",
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('providers.claude.access = "write"', "is 'write'; it must be 'read-only', 'edit' or 'full'"),
        ('log.level = "loud"', "it must be 'TRACE', 'DEBUG', 'INFO', 'SUCCESS', 'WARNING', 'ERROR' or 'CRITICAL'"),
        ('cache.enabled = "perhaps"', "'enabled' in [cache] is 'perhaps'; it must be true or false"),
        ("server.port = 70000", "'port' in [server] is 70000; it must be less than or equal to 65535"),
        ("server.max_wait_s = nan", "it must be a finite number, or it must be 'by-client'"),
        ('server.answer_bytes = "all"', "or it must be 'by-client'"),
        ("server.host = ''", "it must have at least 1 character"),
        ('order = "claude"', "'order' at the top level is 'claude'; it must be a list"),
        ('order = ["claude", 3]', "item 2 of 'order' is 3; it must be a string"),
        ("log = true", "'log' at the top level is True; it must be a table"),
        ("providers = []", "it must be a table"),
        ('providers.claude.model = "--yolo"', "is '--yolo'; a model name does not begin with a dash"),
        ('providers."My CLI".model = "m"', "'My CLI' in [providers] is not a name that can be used here"),
        ('providers.claude.pass_env = ["*"]', "item 1 of 'providers.claude.pass_env' is '*'; it must match"),
        ('providers.claude.args = ["a\\u0000"]', "must not contain a NUL character"),
        ("providers.claude.timeouts.idle = 0", "'idle' in [providers.claude.timeouts] is 0; it must be greater than 0"),
    ],
)
def test_a_wrong_value_is_shown_with_what_is_allowed(project: Path, line: str, words: str) -> None:
    [problem] = problems(project / "a.toml", f"\n{line}\n")
    assert problem.startswith("a.toml:2: ")
    assert words in problem


def test_the_value_of_a_childs_variable_is_never_shown(project: Path) -> None:
    [problem] = problems(project / "a.toml", "[providers.claude.env]\nKEY = 123456789\n")
    assert "123456789" not in problem
    assert problem.startswith("a.toml:2: 'KEY' in [providers.claude.env]")


def test_the_home_of_nobody_is_told_wherever_it_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "~nobody-at-all/x"
    variables = {"DRAGOMAN_HOME": path, "DRAGOMAN_CONFIG": path, "DRAGOMAN_LOG__FILE": path}
    found = problems(project / "a.toml", f'workspaces = ["{path}"]\nproviders.claude.command = "{path}"\n', variables)
    told = "nobody has that home, so write the whole path"
    assert found == [
        f"DRAGOMAN_HOME: is {path!r}; {told}",
        f"DRAGOMAN_CONFIG {path}: cannot be read: {told}",
        f"a.toml:1: item 1 of 'workspaces' is {path!r}; {told}",
        f"a.toml:2: 'command' in [providers.claude] is {path!r}; {told}",
        f"DRAGOMAN_LOG__FILE: 'file' in [log] is {path!r}; {told}",
    ]
    with pytest.raises(ConfigurationError, match=f"--config {path}: cannot be read: {told}"):
        load_layers([Path(path)], environ={})
    monkeypatch.setenv("DRAGOMAN_HOME", path)
    with pytest.raises(OSError, match=f"{told} in DRAGOMAN_HOME"):
        state_folder()


def test_a_wrong_variable_is_named(project: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_layers(
            environ={"DRAGOMAN_LOG__LEVLE": "INFO", "DRAGOMAN_ORDER": "claude"}, overrides={"server": {"prot": 1}}
        )
    assert caught.value.problems == [
        "DRAGOMAN_ORDER: 'order' at the top level is 'claude'; it must be a list, such as [\"a\", \"b\"]",
        "DRAGOMAN_LOG__LEVLE: unknown key 'levle' in [log]; did you mean 'level'?",
        "call: unknown key 'prot' in [server]; did you mean 'port'?",
    ]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", "order = []\nmodel = = 1\n", "a.toml:2:9: is not valid TOML: Invalid value"),
        ("a.toml", "order = [\n", "a.toml:1:10: is not valid TOML: Invalid value, at the end"),
        ("a.toml", "a = 1\na = 2\n", "a.toml:2:6: is not valid TOML: Cannot overwrite a value"),
        ("a.toml", "a = " + "[" * 50_000, "a.toml: is nested too deeply"),
        ("a.json", '{"order": [],\n!}', "a.json:2:1: is not valid JSON"),
        ("a.json", "[]", "a.json: must hold a table, but holds list"),
        ("a.yaml", "a: [\n", "a.yaml:2:1: is not valid YAML"),
        ("a.yaml", "a: &x 1\nb: *x\n", "a.yaml:2:4: is not valid YAML: aliases are not read"),
        ("a.yaml", "a: 1\n---\nb: 1\n", "a.yaml:2:1: is not valid YAML"),
        ("a.yaml", "a: !!python/object:os.system 1\n", "a.yaml:1:4: is not valid YAML: could not determine"),
        ("a.yaml", "a: \x01\n", "a.yaml: is not valid YAML"),
        ("a.ini", "a=1\n", "a.ini: a name that ends in .toml, .yaml, .yml or .json tells what it is"),
    ],
)
def test_a_broken_file_is_named_with_line_and_column(project: Path, name: str, text: str, words: str) -> None:
    [problem] = problems(project / name, text)
    assert problem.startswith(words)


def test_yaml_without_its_package_names_the_install_command(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_yaml(
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the signature of __import__
        locals: Mapping[str, Any] | None = None,  # noqa: A002 - the same
        fromlist: tuple[str, ...] = (),
        level: int = 0,
    ) -> object:
        if name == "dragoman.config" and "yaml_text" in fromlist:
            raise ImportError(name)
        return real_import(name, globals, locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without_yaml)
    [problem] = problems(project / "a.yaml", "order: []\n")
    assert problem == 'a.yaml: YAML needs one more package; run: pip install "dragoman[yaml]", or write TOML'


def test_an_empty_file_is_an_empty_layer_and_a_byte_order_mark_is_passed_over(project: Path) -> None:
    (project / "a.toml").write_text("", "utf-8")
    (project / "b.yaml").write_text("# nothing\n", "utf-8")
    (project / "c.toml").write_bytes(b'\xef\xbb\xbforder = ["codex"]\r\n')
    files = [project / "a.toml", project / "b.yaml", project / "c.toml"]
    assert load_layers(files, environ={}).configuration.order == ("codex",)


def test_files_that_are_no_regular_text_are_refused_in_clear_words(project: Path) -> None:
    (project / "large.toml").write_bytes(b"#" * (MAX_BYTES + 1))
    (project / "binary.toml").write_bytes(b"a = 1\nb = '\xff'\n")
    (project / "folder.toml").mkdir()
    os.mkfifo(project / "pipe.toml")
    names = ["large", "binary", "folder", "pipe", "missing"]
    with pytest.raises(ConfigurationError) as caught:
        load_layers([Path(f"{name}.toml") for name in names], environ={})
    assert caught.value.problems == [
        "large.toml: is larger than 1 MiB, which no configuration is; check that it is the right file",
        "binary.toml:2: is not UTF-8 text; save it as UTF-8",
        "folder.toml: cannot be read: Is a directory",
        "pipe.toml: is not a regular file; give a file",
        "missing.toml: cannot be read: No such file or directory",
    ]


def test_a_linked_project_file_is_refused_and_a_linked_user_file_is_read(
    project: Path, user_folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "dotfiles.toml"
    target.write_text('order = ["codex"]\n', "utf-8")
    (user_folder / "config.toml").symlink_to(target)
    assert load_layers(environ={}).configuration.order == ("codex",)
    (project / "dragoman.toml").symlink_to(target)
    with pytest.raises(ConfigurationError, match=r"dragoman\.toml: is a symbolic link"):
        load_layers(environ={})


def test_the_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ConfigurationError(["one", "two"])))  # noqa: S301 - our own bytes
    assert error.problems == ["one", "two"]
    assert str(error) == "one\ntwo"
