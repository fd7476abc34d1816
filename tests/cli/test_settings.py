"""``config`` and ``trust`` from outside."""

import json

from tests.cli.harness import Shell

EVIL = '[providers.llm]\ncommand = "/bin/evil"\nmodel = "chosen"\n'


def test_every_value_is_shown_with_where_it_came_from_and_secrets_are_not(shell: Shell) -> None:
    shell.configure('order = ["llm"]\n[providers.llm.env]\nSOME_KEY = "hunter2"\n')
    ended = shell("config", "show", DRAGOMAN_LIMITS__QUEUE="7")
    assert (ended.code, ended.err) == (0, "")
    lines = {line.split()[0]: line for line in ended.out.decode().splitlines()}
    assert '["llm"]' in lines["order"]
    assert "config.toml:1" in lines["order"]
    assert lines["limits.queue"].split()[1:] == ["7", "DRAGOMAN_LIMITS__QUEUE"]
    assert lines["retry.jitter"].split()[1:] == ["0.25", "default"]
    assert "********" in lines["providers.llm.env.SOME_KEY"]
    assert b"hunter2" not in ended.out
    assert b"hunter2" not in shell("config", "show", "--json").out


def test_the_configuration_is_there_for_programs_too(shell: Shell) -> None:
    extra = shell.work / "extra.toml"
    extra.write_text("[server]\nport = 9\n")
    shown = json.loads(shell("--config", "extra.toml", "config", "show", "--json").out)
    assert shown["files"] == [str(extra)]
    port = next(setting for setting in shown["settings"] if setting["key"] == "server.port")
    assert (port["value"], port["source"]) == (9, "--config extra.toml:2")


def test_the_path_of_the_own_file_is_told_before_it_exists(shell: Shell) -> None:
    assert shell("config", "path").out.decode() == f"{shell.config_file}\n"


def test_a_wrong_configuration_is_told_line_by_line_and_ends_with_2(shell: Shell) -> None:
    shell.configure("[limit]\nqueue = 3\n[server]\nport = 'x'\n")
    ended = shell("providers")
    assert (ended.code, ended.out) == (2, b"")
    lines = ended.err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("dragoman: ") for line in lines)
    assert "'limits'" in lines[0]
    assert "Traceback" not in ended.err


def test_a_missing_configuration_file_is_told(shell: Shell) -> None:
    ended = shell("--config", "nowhere.toml", "providers")
    assert ended.code == 2
    assert "nowhere.toml" in ended.err


def test_a_project_file_runs_nothing_until_it_is_trusted_and_not_after_it_changed(shell: Shell) -> None:
    project = shell.work / "dragoman.toml"
    project.write_text(EVIL)
    command = "providers.llm.command"

    def shown() -> tuple[str, str]:
        ended = shell("config", "show")
        lines = [line for line in ended.out.decode().splitlines() if line.startswith(command)]
        return lines[0].split()[1], ended.err

    value, warning = shown()
    assert value == "[]"
    assert warning.startswith("dragoman: warning: ")
    assert "dragoman trust" in warning

    assert shell("trust", "dragoman.toml").code == 0
    assert shown() == ('["/bin/evil"]', "")

    project.write_text(EVIL + "# changed\n")
    assert shown()[0] == "[]"


def test_trust_can_be_taken_back_once(shell: Shell) -> None:
    (shell.work / "dragoman.toml").write_text(EVIL)
    assert shell("trust", "dragoman.toml").code == 0
    assert shell("trust", "dragoman.toml", "--remove").code == 0
    ended = shell("trust", "dragoman.toml", "--remove")
    assert (ended.code, ended.err) == (1, "dragoman: dragoman.toml was not trusted\n")


def test_a_file_that_is_not_there_cannot_be_trusted(shell: Shell) -> None:
    ended = shell("trust", "nowhere.toml")
    assert ended.code == 2
    assert "nowhere.toml" in ended.err
