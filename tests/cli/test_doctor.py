"""``doctor`` and ``providers`` from outside."""

import json
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman.adapters.registry import load_adapters
from dragoman.cli.ask import STOPPED
from dragoman.testing import FakeCli, Liveness
from tests.cli.harness import DRAGOMAN, Shell


def status_of(name: str, statuses: list[dict[str, Any]]) -> dict[str, Any]:
    return next(status for status in statuses if status["name"] == name)


def test_with_nothing_installed_every_provider_says_what_to_do(shell: Shell) -> None:
    ended = shell("doctor", "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["can_answer"]) == (1, False)
    states = {status["name"]: status["state"] for status in found["providers"]}
    assert states.pop("local") == "disabled"
    assert set(states.values()) <= {"missing", "broken"}
    assert all(status["next_step"] for status in found["providers"])


def test_one_ready_provider_is_enough(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"out": "ready"})
    ended = shell("doctor", "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["can_answer"], found["replies"]) == (0, True, {})
    llm = status_of("llm", found["providers"])
    assert (llm["state"], llm["version"], llm["logged_in"]) == ("ready", "0.36", True)
    assert llm["path"] == str(shell.folder / "bin" / "llm")


def test_a_login_that_is_missing_is_seen(shell: Shell) -> None:
    shell.llm(login="no key")
    ended = shell("doctor", "--json")
    llm = status_of("llm", json.loads(ended.out)["providers"])
    assert (ended.code, llm["state"], llm["logged_in"]) == (1, "logged_out", False)
    assert "llm keys set" in llm["next_step"]


def test_a_stub_without_its_program_is_broken_and_says_why(shell: Shell) -> None:
    stub = shell.folder / "bin" / "claude"
    stub.write_text("#!/bin/sh\necho 'Error: claude native binary not installed.' >&2\nexit 1\n")
    stub.chmod(0o700)
    claude = status_of("claude", json.loads(shell("doctor", "--json").out)["providers"])
    assert claude["state"] == "broken"
    assert "native binary not installed" in claude["reason"]
    assert claude["next_step"]


def test_a_key_that_is_set_but_kept_back_is_named_and_never_shown(shell: Shell) -> None:
    shell.llm()
    ended = shell("doctor", OPENAI_API_KEY="sk-hunter2")
    assert "OPENAI_API_KEY set but kept from llm" in ended.out.decode()
    assert b"hunter2" not in ended.out
    assert "hunter2" not in ended.err
    lent = shell("doctor", OPENAI_API_KEY="sk-hunter2", DRAGOMAN_PROVIDERS__LLM__CREDENTIALS="inherit")
    assert b"kept from llm" not in lent.out


def test_a_person_sees_providers_configuration_state_and_versions(shell: Shell) -> None:
    shell.llm()
    shell.configure('order = ["llm"]\n')
    (shell.work / "dragoman.toml").write_text('[providers.llm]\ncommand = "evil"\n')
    text = shell("doctor").out.decode()
    for fact in (
        *(str(shell.config_file), str(shell.work / "dragoman.toml"), str(shell.folder / "state")),
        *("'providers.llm.command' is ignored", "sqlite", "python", "mcp", "A provider can answer."),
    ):
        assert fact in text


def test_names_that_no_provider_has_are_told_where_they_stand(shell: Shell) -> None:
    shell.configure('order = ["lmm"]\n[providers.cluade]\nmodel = "opus"\n[providers.llm]\nfallback = ["codx"]\n')
    ignored = json.loads(shell("doctor", "--json").out)["configuration"]["ignored"]
    assert [words.split("?")[0] for words in ignored] == [
        "order: there is no provider 'lmm'; did you mean 'llm'",
        "[providers]: there is no provider 'cluade'; did you mean 'claude'",
        "fallback of llm: there is no provider 'codx'; did you mean 'codex'",
    ]


def test_deep_asks_every_ready_provider_for_one_word(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"echo_stdin": True, "as": "raw"})
    ended = shell("doctor", "--deep")
    assert ended.code == 0
    assert "llm was asked for one word: 'Answer with the word ready.' in" in ended.out.decode()
    assert "this uses tokens" in ended.err
    assert json.loads(shell("conversations", "list", "--json").out) == []


def test_a_provider_that_does_not_answer_deep_is_not_enough(shell: Shell) -> None:
    shell.llm({"read": "all"}, {"err": "Error: Error code: 429 - slow down\n"}, {"exit": 1})
    ended = shell("doctor", "--deep", "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["can_answer"]) == (1, False)
    assert found["replies"]["llm"]["error"]["code"] == "rate_limited"


def test_a_state_folder_that_cannot_be_made_is_told_and_stops_nothing(shell: Shell, tmp_path: Path) -> None:
    shell.llm()
    blocked = tmp_path / "file"
    blocked.write_text("")
    ended = shell("doctor", "--json", DRAGOMAN_HOME=str(blocked / "state"))
    found = json.loads(ended.out)
    assert (ended.code, found["can_answer"]) == (0, True)
    assert found["state"]["folder"].startswith("cannot be made: ")


def test_providers_are_listed_in_the_order_of_choice(shell: Shell) -> None:
    shell.llm()
    ended = shell("providers", "--json", DRAGOMAN_ORDER='["llm"]')
    found = json.loads(ended.out)
    assert ended.code == 0
    assert found[0]["name"] == "llm"
    assert {status["name"] for status in found} == set().union(*load_adapters())


def test_providers_are_a_table_for_people(shell: Shell) -> None:
    shell.llm()
    lines = shell("providers", "--deep").out.decode().splitlines()
    assert lines[0].split() == ["name", "state", "version", "login", "path", "next", "step"]
    assert next(line.split() for line in lines if line.startswith("llm"))[:4] == ["llm", "ready", "0.36", "yes"]


def test_what_needs_no_login_is_not_said_to_have_one_that_is_not_known(shell: Shell) -> None:
    pytest.importorskip("xllamacpp")
    lines = shell("providers", DRAGOMAN_PROVIDERS__LOCAL__ENABLED="true").out.decode().splitlines()
    assert next(line.split() for line in lines if line.startswith("local"))[1:4] == ["ready", "needs", "none"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("words", "said"), [(("providers",), ""), (("doctor",), ""), (("ask", "hello"), f"{STOPPED}\n")], ids=str
)
async def test_ctrl_c_stops_a_check_that_hangs(shell: Shell, words: tuple[str, ...], said: str) -> None:
    with anyio.fail_after(60):
        async with Liveness() as live:
            FakeCli(shell.folder / "bin", "llm", version="0.36").script(live.connect(), {"pause": True})
            argv = [*DRAGOMAN, *words]
            async with await anyio.open_process(argv, cwd=shell.work, env=shell.variables) as process:
                assert process.stderr is not None
                await live.connected()
                process.send_signal(signal.SIGINT)
                assert b"".join([piece async for piece in process.stderr]).decode() == said
                assert await process.wait() == 130
                await live.all_gone()
