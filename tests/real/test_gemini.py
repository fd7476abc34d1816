"""The real gemini: what is its own, beside what every CLI is asked in `test_answers`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.schemas import ErrorCode, LLMRequest, LLMResponse, Tool
from tests.fakes import scenario as api
from tests.fakes.model_api import ModelAPI
from tests.real.channel import PATIENCE_S
from tests.real.environments import gemini_env
from tests.real.providers import Real, all_gone, real

pytestmark = [pytest.mark.anyio, pytest.mark.real]

KNOWN_WITHIN_S = 60
"""On a machine that is slow; left alone it tries for minutes."""
QUOTA = {
    "code": 429,
    "message": "You exceeded your current quota",
    "status": "RESOURCE_EXHAUSTED",
    "details": [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
        }
    ],
}
BAD_KEY = {
    "code": 400,
    "message": "API key not valid. Please pass a valid API key.",
    "status": "INVALID_ARGUMENT",
    "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
}


@pytest.fixture
def gemini(gemini_cli: Path, hermetic_home: Path) -> Real:
    return real("gemini", hermetic_home, gemini_cli)


async def ask(engine: Engine, prompt: str = "hi", *, cwd: Path | None = None, system: str | None = None) -> LLMResponse:
    request = LLMRequest(prompt=prompt, provider="gemini", cwd=cwd, system_prompt=system)
    with anyio.fail_after(PATIENCE_S):
        return await engine.submit(request).outcome()


async def test_an_answer_of_5_mb_arrives_whole(gemini: Real, model_api: ModelAPI) -> None:
    model_api.scenario = api.big(5_000_000)
    async with gemini.engine(model_api.url) as engine:
        reply = await ask(engine)
    assert reply.status == "completed", reply.error
    assert reply.text == model_api.scenario.text


# The table of failures is asked of the real programs in `tests.real.failures`, with fewer starts.
@pytest.mark.long
@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        (api.status(400), ErrorCode.BAD_REQUEST),
        (api.status(400, body={"error": BAD_KEY}), ErrorCode.AUTH),
        (api.status(403), ErrorCode.AUTH),
        (api.status(404, message="models/x is not found for API version v1beta"), ErrorCode.BAD_REQUEST),
        (api.status(429, body={"error": QUOTA}), ErrorCode.QUOTA),
        (api.status(503), ErrorCode.OVERLOADED),
        (api.cut_after(["Par"]), ErrorCode.NETWORK),
        (api.answer(""), ErrorCode.MALFORMED_OUTPUT),
        (api.refusal(), ErrorCode.MALFORMED_OUTPUT),
    ],
    ids=["400", "bad key", "403", "404", "daily quota", "503", "cut", "empty", "blocked"],
)
async def test_each_failure_has_its_code_and_a_next_step_in_seconds(
    gemini: Real, model_api: ModelAPI, scenario: api.Scenario, code: ErrorCode
) -> None:
    model_api.scenario = scenario
    async with gemini.engine(model_api.url) as engine:
        started = time.monotonic()
        reply = await ask(engine)
    assert reply.error is not None
    assert reply.error.code is code, reply.error
    assert reply.error.next_step
    assert len(model_api.questions) == len(reply.attempts), "it tried again by itself"
    assert time.monotonic() - started < KNOWN_WITHIN_S


@pytest.mark.parametrize(
    "prompt",
    [
        "/about",
        "@secret.txt",
        pytest.param("$memory show", marks=pytest.mark.long),
        pytest.param("  /quit", marks=pytest.mark.long),
        pytest.param("mail bob@example.org", marks=pytest.mark.long),
    ],
)
async def test_what_looks_like_a_command_or_a_file_goes_to_the_model_as_it_is(
    gemini: Real, model_api: ModelAPI, prompt: str
) -> None:
    gemini.project.mkdir()
    (gemini.project / "secret.txt").write_text("do-not-attach-this")
    async with gemini.engine(model_api.url) as engine:
        assert (await ask(engine, prompt, cwd=gemini.project)).text == "Paris"
    [question] = model_api.questions
    assert prompt in json.dumps(question.body)
    assert "do-not-attach-this" not in question.raw.decode()


async def test_a_question_is_small_and_asks_no_other_model_first(gemini: Real, model_api: ModelAPI) -> None:
    async with gemini.engine(model_api.url) as engine:
        reply = await ask(engine, system="Be brief.")
    assert reply.model == "gemini-3.8-flash"
    [question] = model_api.requests
    assert len(question.raw) < 1000
    assert (question.body or {})["systemInstruction"]["parts"] == [{"text": "Be brief."}]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestAFolder:
    """It may be read and nothing else, trusted by the user or not."""

    @pytest.fixture
    def project(self, gemini: Real) -> Path:
        folder = gemini.project
        (folder / "sub").mkdir(parents=True)
        (folder / "notes.txt").write_text("NOTES")
        (folder / "sub" / "outside").symlink_to("/etc/passwd")
        return folder

    async def use(
        self, gemini: Real, model_api: ModelAPI, tool: str, **arguments: object
    ) -> tuple[Mapping[str, Any], list[Tool]]:
        """What a tool of the model's answers it, and what was told of it."""
        model_api.play(api.use_tool(tool, **arguments), api.answer("done"))
        async with gemini.engine(model_api.url) as engine:
            with anyio.fail_after(PATIENCE_S):
                call = engine.submit(LLMRequest(prompt="hi", provider="gemini", cwd=gemini.project))
                assert (await call.outcome()).text == "done"
                told = [event async for event in call.log.follow() if isinstance(event, Tool)]
        [answer] = (model_api.questions[-1].body or {})["contents"][-1]["parts"]
        return answer["functionResponse"]["response"], told

    async def test_its_files_can_be_read(self, gemini: Real, model_api: ModelAPI, project: Path) -> None:
        path = str(project / "notes.txt")
        answer, told = await self.use(gemini, model_api, "read_file", file_path=path)
        assert answer == {"output": "NOTES"}
        assert told == [Tool(name="read", detail=path, reads_only=True)]

    @pytest.mark.parametrize("path", ["/etc/passwd", "{project}/sub/outside", "{home}/.gemini/.env"])
    async def test_what_is_outside_cannot(self, gemini: Real, model_api: ModelAPI, project: Path, path: str) -> None:
        path = path.format(project=project, home=gemini.home)
        answer, _ = await self.use(gemini, model_api, "read_file", file_path=path)
        assert "outside the allowed workspace" in answer["error"]

    @pytest.mark.parametrize(
        ("tool", "arguments"),
        [
            ("write_file", {"file_path": "{project}/new", "content": "x"}),
            ("run_shell_command", {"command": "touch {project}/new"}),
            pytest.param(
                *("replace", {"file_path": "{project}/notes.txt", "old_string": "NOTES", "new_string": "x"}),
                marks=pytest.mark.long,
            ),
            pytest.param("save_memory", {"fact": "x"}, marks=pytest.mark.long),
        ],
    )
    async def test_nothing_can_be_changed(
        self, gemini: Real, model_api: ModelAPI, project: Path, tool: str, arguments: Mapping[str, str]
    ) -> None:
        spelled = {name: value.format(project=project) for name, value in arguments.items()}
        answer, _ = await self.use(gemini, model_api, tool, **spelled)
        assert "error" in answer
        assert names_in(project) == ["notes.txt", "sub"]
        assert (project / "notes.txt").read_text() == "NOTES"

    async def test_only_reading_tools_are_offered(self, gemini: Real, model_api: ModelAPI, project: Path) -> None:
        async with gemini.engine(model_api.url) as engine:
            await ask(engine, cwd=project)
        [tools] = (model_api.questions[-1].body or {})["tools"]
        names = {tool["name"] for tool in tools["functionDeclarations"]}
        assert names == {"read_file", "list_directory", "grep_search", "glob"}


class TestLogin:
    """Found where the user has it, by gemini itself."""

    GOOGLE: Mapping[str, object] = {
        "/token": {"access_token": "renewed", "expires_in": 3600, "token_type": "Bearer"},
        "/tokeninfo": {"email": "a@example.org", "expires_in": 3000, "scope": "a b"},
        "/oauth2/v2/userinfo": {"email": "a@example.org"},
        "/v1internal:loadCodeAssist": {"currentTier": {"id": "free-tier"}, "cloudaicompanionProject": "project"},
        "/v1internal:retrieveUserQuota": {},
        "/v1internal:listExperiments": {},
    }

    def engine(self, gemini: Real, model_api: ModelAPI, expires_in_s: int | None) -> Engine:
        """One for a user who has signed in with Google, until then; None: who has signed out."""
        environment = {**gemini.environment(model_api.url), "CODE_ASSIST_ENDPOINT": model_api.url}
        folder = gemini.home / ".gemini"
        (folder / "settings.json").write_text('{"security": {"auth": {"selectedType": "oauth-personal"}}}')
        if expires_in_s is not None:
            expiry = int(time.time() + expires_in_s) * 1000
            stored = {
                "access_token": "stored",
                "refresh_token": "refresh",
                "expiry_date": expiry,
                "token_type": "Bearer",
            }
            (folder / "oauth_creds.json").write_text(json.dumps(stored))
        model_api.also.update(self.GOOGLE)
        preload = f"--require={Path(__file__).with_name('sign_in.cjs')}"
        settings = {"env": {"NODE_OPTIONS": preload, "SIGN_IN_URL": model_api.url}}
        configuration = Configuration.model_validate({"providers": {"gemini": settings}})
        return Engine(configuration, environ=environment, folder=gemini.home)

    async def test_a_google_account_answers_and_its_file_stays_as_it_is(
        self, gemini: Real, model_api: ModelAPI
    ) -> None:
        async with self.engine(gemini, model_api, 3600) as engine:
            before = (gemini.home / ".gemini" / "oauth_creds.json").read_text()
            reply = await ask(engine)
        assert (reply.text, reply.billing) == ("Paris", "subscription"), reply.error
        assert model_api.questions[-1].headers["authorization"] == "Bearer stored"
        assert (gemini.home / ".gemini" / "oauth_creds.json").read_text() == before

    async def test_a_login_that_gemini_renews_is_renewed_in_the_users_own_file(
        self, gemini: Real, model_api: ModelAPI
    ) -> None:
        async with self.engine(gemini, model_api, -60) as engine:
            reply = await ask(engine)
        assert reply.text == "Paris", reply.error
        assert model_api.questions[-1].headers["authorization"] == "Bearer renewed"
        kept = json.loads((gemini.home / ".gemini" / "oauth_creds.json").read_text())
        assert (kept["access_token"], kept["refresh_token"]) == ("renewed", "refresh")

    async def test_without_one_the_call_ends_in_seconds_and_no_browser_opens(
        self, gemini: Real, model_api: ModelAPI
    ) -> None:
        opener = gemini.home / "bin" / "xdg-open"
        async with self.engine(gemini, model_api, None) as engine:
            opener.write_text(f"#!/bin/sh\ntouch {gemini.home}/opened\n")
            opener.chmod(0o755)
            reply = await ask(engine)
        assert reply.error is not None
        assert reply.error.code is ErrorCode.AUTH, reply.error
        assert "run `gemini`" in (reply.error.next_step or "")
        assert not (gemini.home / "opened").exists()
        await all_gone(gemini.home)

    async def test_without_a_key_the_call_ends_in_seconds_and_a_key_held_back_is_named(
        self, gemini_cli: Path, hermetic_home: Path, model_api: ModelAPI
    ) -> None:
        environment = gemini_env(hermetic_home, model_api.url, gemini_cli, key=None)
        environment["GEMINI_API_KEY"] = "metered"
        async with Engine(Configuration(), environ=environment, folder=hermetic_home) as engine:
            reply = await ask(engine)
        assert reply.error is not None
        assert reply.error.code is ErrorCode.AUTH, reply.error
        assert "GEMINI_API_KEY" in (reply.error.next_step or "")
        inherit = Configuration.model_validate({"providers": {"gemini": {"credentials": "inherit"}}})
        async with Engine(inherit, environ=environment, folder=hermetic_home) as engine:
            reply = await ask(engine)
        assert (reply.text, reply.billing) == ("Paris", "metered")
        assert model_api.questions[-1].headers["x-goog-api-key"] == "metered"

    async def test_nothing_is_written_into_the_users_folder_and_nothing_of_a_call_is_left(
        self, gemini: Real, model_api: ModelAPI
    ) -> None:
        async with gemini.engine(model_api.url) as engine:
            await ask(engine)
            folder = gemini.home / ".gemini"
            before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
            assert (await ask(engine)).text == "Paris"
        await all_gone(gemini.home)
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        with anyio.fail_after(PATIENCE_S):
            while names_in(gemini.home / "tmp"):  # noqa: ASYNC110 - who removes a folder sends no event
                await anyio.sleep(0.02)


class TestOld:
    """A version from before ACP: `stream-json` into a file."""

    @pytest.fixture(params=["told", pytest.param("real", marks=pytest.mark.long)])
    def old(self, request: pytest.FixtureRequest, hermetic_home: Path) -> Real:
        """The pinned gemini saying that it is old, for most runs; the real old one for the long ones."""
        if request.param == "real":
            return real("gemini", hermetic_home, request.getfixturevalue("old_gemini_cli"))
        program = hermetic_home / "gemini"
        pinned = request.getfixturevalue("gemini_cli")
        program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo 0.32.1 && exit\nexec {pinned} "$@"\n')
        program.chmod(0o755)
        return real("gemini", hermetic_home, program)

    async def test_it_answers_with_its_tokens(self, old: Real, model_api: ModelAPI) -> None:
        async with old.engine(model_api.url) as engine:
            reply = await ask(engine)
        assert reply.text == "Paris", reply.error
        assert reply.usage is not None
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (12, 3)
        await all_gone(old.home)

    async def test_an_answer_of_5_mb_arrives_whole(self, old: Real, model_api: ModelAPI) -> None:
        model_api.scenario = api.big(5_000_000)
        async with old.engine(model_api.url) as engine:
            reply = await ask(engine)
        assert reply.status == "completed", reply.error
        assert reply.text == model_api.scenario.text

    @pytest.mark.parametrize(
        ("status", "code"), [(401, ErrorCode.AUTH), (429, ErrorCode.RATE_LIMITED), (503, ErrorCode.OVERLOADED)]
    )
    async def test_a_failure_is_known_in_seconds(
        self, old: Real, model_api: ModelAPI, status: int, code: ErrorCode
    ) -> None:
        model_api.scenario = api.status(status)
        once = Configuration.model_validate({"retry": {"max_attempts": 1}})
        async with Engine(once, environ=old.environment(model_api.url), folder=old.home) as engine:
            reply = await ask(engine)
        assert reply.error is not None
        assert reply.error.code is code, reply.error
        assert len(model_api.questions) == 1

    async def test_the_prompt_is_text(self, old: Real, model_api: ModelAPI) -> None:
        async with old.engine(model_api.url) as engine:
            assert (await ask(engine, "/quit, see @/etc/hostname, mail bob@example.org")).text == "Paris"
        [question] = model_api.questions
        parts = (question.body or {})["contents"][-1]["parts"]
        assert parts[-1] == {"text": "The message:\n\n/quit, see \\@/etc/hostname, mail bob\\@example.org"}

    async def test_a_cancel_ends_it(self, old: Real, model_api: ModelAPI) -> None:
        model_api.scenario = api.stall_after(["Par"])
        async with old.engine(model_api.url) as engine:
            call = engine.submit(LLMRequest(prompt="hi", provider="gemini"))
            with anyio.fail_after(PATIENCE_S):
                await model_api.wait_questions()
                call.cancel()
                assert (await call.outcome()).status == "cancelled"
            await model_api.wait_idle()
            await all_gone(old.home)

    async def test_it_is_not_given_a_folder(self, old: Real, model_api: ModelAPI) -> None:
        async with old.engine(model_api.url) as engine:
            reply = await ask(engine, cwd=old.project)
        assert reply.error is not None
        assert reply.error.code is ErrorCode.POLICY
        assert "update gemini" in (reply.error.next_step or "")
