"""Who answers: found, chosen, refused."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from dragoman.adapters.base import Installed, Login, Transport
from dragoman.engine import Engine
from dragoman.schemas import Access, ErrorCode, ErrorInfo, LLMRequest, ProviderStatus
from dragoman.testing import FakeAdapter, FakeCli
from dragoman.testing.fakes import Step
from tests.engine.conftest import MakeEngine

pytestmark = pytest.mark.anyio

ANSWER: tuple[Step, ...] = ({"read": "all"}, {"line": {"text": "ok"}}, {"line": {"done": {}}})

OLD = Transport("old")


async def failure(engine: Engine, **request: str) -> ErrorInfo:
    with anyio.fail_after(60):
        reply = await engine.submit(LLMRequest.model_validate({"prompt": "hi", **request})).outcome()
    assert reply.error is not None, reply
    assert reply.error.next_step
    return reply.error


async def states(engine: Engine, *, deep: bool = False) -> dict[str, ProviderStatus]:
    with anyio.fail_after(60):
        return {status.name: status for status in await engine.providers.statuses(deep=deep)}


async def test_the_first_ready_provider_answers_when_none_is_named(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script({"when_arg": "login", "steps": [{"exit": 1}]}, *ANSWER)
    logged_out = FakeAdapter("a", login=Login(("login",), "run `a login`"))
    missing = FakeAdapter("b", executables=("nowhere",))
    async with make_engine(logged_out, missing, FakeAdapter("c"), FakeAdapter("d")) as engine:
        reply = await engine.submit(LLMRequest(prompt="hi")).outcome()
        assert (reply.provider, reply.text) == ("c", "ok")
        found = await states(engine)
    assert {name: status.state for name, status in found.items()} == {
        "a": "logged_out",
        "b": "missing",
        "c": "ready",
        "d": "ready",
    }
    assert found["a"].next_step == "run `a login`"


async def test_a_login_is_asked_for_by_one_at_a_time_and_for_all_who_wait(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    cli.script({"when_arg": "login", "steps": [{"line": {"logged": "in"}}, {"exit": 0}]}, *ANSWER)
    async with make_engine(FakeAdapter(login=Login(("login",), "run `login`"))) as engine:
        calls = [engine.submit(LLMRequest(prompt="hi")) for _ in range(5)]
        with anyio.fail_after(60):
            assert [(await call.outcome()).text for call in calls] == ["ok"] * 5
            assert cli.starts == 1 + 5
            async with anyio.create_task_group() as asking:
                for _ in range(5):
                    asking.start_soon(engine.providers.is_logged_in, "fake")
        assert cli.starts == 2 + 5


async def test_a_login_is_believed_until_a_call_finds_it_missing(make_engine: MakeEngine, cli: FakeCli) -> None:
    missing: Step = {"line": {"error": {"code": "auth", "message": "nobody is logged in"}}}
    cli.script({"when_arg": "login", "steps": [{"exit": 0}]}, missing)
    async with make_engine(FakeAdapter(login=Login(("login",), "run `login`"))) as engine:
        for _ in range(2):
            assert (await states(engine))["fake"].logged_in is True
        assert cli.starts == 1
        assert (await failure(engine, provider="fake")).code is ErrorCode.AUTH
        cli.script({"exit": 1})
        assert (await states(engine))["fake"].state == "logged_out"


async def test_the_configured_order_comes_first(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script(*ANSWER)
    adapters = [FakeAdapter(name) for name in "abc"]
    async with make_engine(*adapters, configuration={"order": ["c", "unknown"]}) as engine:
        assert list(engine.providers.adapters) == ["c", "a", "b"]
        assert (await engine.submit(LLMRequest(prompt="hi")).outcome()).provider == "c"


async def test_when_nobody_is_ready_the_error_says_what_each_one_lacks(make_engine: MakeEngine) -> None:
    configuration = {"providers": {"off": {"enabled": False}}}
    adapters = (FakeAdapter("off"), FakeAdapter("gone", executables=("nowhere",), install_hint="install it"))
    async with make_engine(*adapters, configuration=configuration) as engine:
        error = await failure(engine)
    assert error.code is ErrorCode.NOT_FOUND
    assert "set enabled = true under [providers.off]" in (error.next_step or "")
    assert "install it" in (error.next_step or "")


async def test_a_provider_that_is_not_there_is_an_error_that_says_why(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script(*ANSWER)
    configuration = {"providers": {"off": {"enabled": False}, "wrong": {"command": "/nowhere/at-all"}}}
    async with make_engine(
        FakeAdapter("off"), FakeAdapter("wrong"), FakeAdapter(), configuration=configuration
    ) as engine:
        assert engine.providers.present() == ("fake",)
        assert "disabled" in (await failure(engine, provider="off")).message
        assert "/nowhere/at-all" in (await failure(engine, provider="wrong")).message
        unknown = await failure(engine, provider="nobody")
    assert "'nobody'" in unknown.message
    assert "fake" in (unknown.next_step or "")


async def test_looking_for_programs_starts_none(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script(*ANSWER)
    async with make_engine() as engine:
        assert engine.providers.present() == ("fake",)
    assert cli.starts == 0


async def test_a_stub_is_broken_and_a_version_is_told(make_engine: MakeEngine, tmp_path: Path, cli: FakeCli) -> None:
    cli.script(*ANSWER)
    stub = tmp_path / "bin" / "stub"
    stub.write_text("#!/bin/sh\necho 'Error: native binary not installed.' >&2\nexit 1\n")
    stub.chmod(0o700)
    adapters = (FakeAdapter("stub", executables=("stub",)), FakeAdapter(), FakeAdapter("old", minimum_version=(9,)))
    async with make_engine(*adapters) as engine:
        found = await states(engine, deep=True)
    assert (found["stub"].state, found["fake"].state, found["old"].state) == ("broken", "ready", "broken")
    assert "native binary not installed" in (found["stub"].reason or "")
    assert found["fake"].version == "1.2.3"
    assert "9 or newer" in (found["old"].reason or "")


async def test_a_stub_fails_the_call_when_the_plan_needs_its_version(make_engine: MakeEngine, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin" / "dragoman-fake"
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o700)
    async with make_engine(FakeAdapter(plan_needs_version=True)) as engine:
        assert (await failure(engine, provider="fake")).code is ErrorCode.NOT_FOUND


async def test_a_program_that_cannot_be_started_is_the_fault_of_this_machine(
    make_engine: MakeEngine, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "dragoman-fake"
    program.parent.mkdir()
    program.write_text("#!/nowhere/at-all\n")
    program.chmod(0o700)
    async with make_engine() as engine:
        error = await failure(engine, provider="fake")
        circuit = (await engine.providers.status("fake")).circuit
    assert (error.code, error.effects) == (ErrorCode.NOT_FOUND, "none")
    assert "dragoman doctor" in (error.next_step or "")
    assert circuit is not None
    assert (circuit["failure_count"], circuit["local_failure_count"]) == (0, 1)


@pytest.mark.parametrize("access", ["edit", "full"])
async def test_more_access_than_can_be_held_or_is_configured_is_refused(
    make_engine: MakeEngine, cli: FakeCli, access: Access
) -> None:
    cli.script(*ANSWER)
    able = FakeAdapter("able", strength={"read-only": "enforced", "edit": "none", "full": "none"})
    async with make_engine(FakeAdapter(), able) as engine:
        for provider in ("fake", "able"):
            assert (await failure(engine, provider=provider, access=access)).code is ErrorCode.POLICY
    assert cli.starts == 0


async def test_what_a_provider_has_no_use_for_is_refused_and_not_dropped(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script(*ANSWER)
    adapter = FakeAdapter(takes_model=False, takes_system_prompt=False, reads_folder=False)
    async with make_engine(adapter) as engine:
        for name in ("model", "system_prompt", "cwd"):
            error = await failure(engine, provider="fake", **{name: "x"})
            assert (error.code, error.next_step) == (ErrorCode.BAD_REQUEST, f"leave out `{name}`")
    assert cli.starts == 0


async def test_a_folder_outside_the_workspaces_starts_nothing(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script(*ANSWER)
    async with make_engine() as engine:
        assert (await failure(engine, provider="fake", cwd="/etc")).code is ErrorCode.POLICY
    async with make_engine(configuration={"providers": {"fake": {"workspaces": []}}}) as engine:
        assert (await failure(engine, provider="fake", cwd="/etc")).code is ErrorCode.POLICY
    assert cli.starts == 0


async def test_the_child_runs_in_the_folder_it_may_look_at(
    make_engine: MakeEngine, cli: FakeCli, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    cli.script({"cwd": True, "as": "text"}, {"line": {"done": {}}})
    async with make_engine() as engine:
        reply = await engine.submit(LLMRequest(prompt="hi", provider="fake", cwd=project)).outcome()
    assert reply.text == str(project)


async def test_a_prompt_over_the_limit_starts_nothing(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script(*ANSWER)
    async with make_engine(configuration={"limits": {"prompt_bytes": 10}}) as engine:
        error = await failure(engine, provider="fake", prompt="x" * 11)
    assert error.code is ErrorCode.PROMPT_TOO_LARGE
    assert cli.starts == 0


async def test_a_missing_login_names_the_keys_that_were_held_back(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script({"line": {"error": {"code": "auth", "message": "no key"}}})
    adapter = FakeAdapter(metered_env=("FAKE_API_KEY",))
    async with make_engine(adapter, environ={"FAKE_API_KEY": "value-of-the-key"}) as engine:
        error = await failure(engine, provider="fake")
    assert "FAKE_API_KEY" in (error.next_step or "")
    assert 'credentials = "inherit"' in (error.next_step or "")
    assert "value-of-the-key" not in str(error)


async def test_a_dragoman_that_is_nested_too_deep_starts_nothing(make_engine: MakeEngine, cli: FakeCli) -> None:
    cli.script(*ANSWER)
    for depth in ("2", "nonsense"):
        async with make_engine(environ={"DRAGOMAN_DEPTH": depth}) as engine:
            assert (await failure(engine, provider="fake")).code is ErrorCode.POLICY
    assert cli.starts == 0


async def test_transport_and_capabilities_are_told_and_nothing_is_started_for_them(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    cli.script(*ANSWER)
    old, new = Transport("exec"), Transport("server", since=(2, 0))
    adapters = (
        FakeAdapter("one"),
        FakeAdapter("two", transports=(new, old), takes_model=False, clocks=frozenset()),
        FakeAdapter("three", transports=(Transport("server", without=("NOT_SET",)), old), reads_folder=False),
    )
    async with make_engine(*adapters) as engine:
        before = await states(engine)
        assert cli.starts == 0
        deep = await states(engine, deep=True)
        starts = cli.starts
        after = await states(engine)
        assert cli.starts == starts
    assert [before[name].transport for name in before] == ["text", None, None]
    assert [deep[name].transport for name in deep] == ["text", "exec", "server"]
    assert after == deep
    assert before["one"].capabilities == ("model", "system_prompt", "cwd", "streaming")
    assert before["two"].capabilities == ("system_prompt", "cwd")
    assert before["three"].capabilities == ("model", "system_prompt", "streaming")


def test_the_best_transport_that_was_found_is_used() -> None:
    profile = replace(FakeAdapter().profile, transports=(Transport("new", since=(2, 0), without=("KEY",)), OLD))
    path = Path("/x")
    assert profile.transport(Installed(path)) == "new"
    assert profile.transport(Installed(path, (2, 0))) == "new"
    assert profile.transport(Installed(path, (1, 9, 9))) == "old"
    assert profile.transport(Installed(path, (2, 0), environment=frozenset({"KEY"}))) == "old"
