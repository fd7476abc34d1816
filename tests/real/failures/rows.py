"""The failure table as data: what goes wrong, in which CLI, and what it must be called.

The causes are those that each CLI tells apart; what a cause looks like there is not said here but seen.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dragoman.local.weights import SMOLLM2
from tests.fakes import scenario as api
from tests.fakes.scenario import Scenario

# Each row takes up to two seconds of a processor. Where two would tell the same, one of them is played each time.
_SELDOM: Mapping[str, Collection[str]] = {
    "claude": (
        *("403", "404", "500", "503", "429-later", "garbage", "failed", "stall", "killed", "interrupted", "once"),
        *("far-too-long", "no-settings", "refused", "max-turns"),
    ),
    "codex": ("403", "503", "garbage", "stall", "interrupted"),
    "gemini": (
        *("400", "401", "403", "500", "garbage", "empty", "max-tokens", "refused", "stall", "terminated"),
        *("interrupted", "once", "far-too-long", "429", "bad-flag"),
    ),
    "llm": (
        *("400", "403", "404", "503", "garbage", "max-tokens", "refused", "stall", "killed", "terminated"),
        *("interrupted", "once", "429-later", "bad-option", "bad-flag", "refusal", "unfinished"),
    ),
}
_OFTEN: Mapping[str, Collection[str]] = {
    "gemini-old": ("401", "refusal", "quota"),
    "acp": ("404", "bad-key", "bad-flag"),
    "acp-copilot": (),  # it takes twenty seconds to fetch and unpack
    "codex-exec": ("401", "429", "500", "refused", "refusal", "max-tokens", "interrupted", "bad-flag", "404"),
}


WAITING = "running"
"""How a row is called whose call has not ended when its cause is known."""


@dataclass(frozen=True)
class Row:
    """One cause in one CLI."""

    cli: str
    cause: str
    """A word for the row's name."""
    played: str
    code: str
    """The error's, or how the call went."""
    scenarios: tuple[Scenario, ...] = (api.answer("Paris"),)
    """What the model's API does with the first question, the next …"""
    clock: str | None = None
    prompt: str = "What is the capital of France?"
    repeated: int = 1
    model: str | None = None
    looks: bool = False
    """It is given a folder, and with it tools."""
    clocks: Mapping[str, float] = field(default_factory=dict[str, float])
    signal: signal.Signals | None = None
    """What the CLI is sent while it waits for the model."""
    refused: bool = False
    """Nobody listens where the API should be."""
    logged_in: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    prepare: Callable[[Path], None] | None = None
    """Spoils the home."""
    max_attempts: int = 1
    attempts: int = 1
    """How many there must be; 0: it is not even started."""

    @property
    def id(self) -> str:
        """The row's name."""
        return f"{self.cli}-{self.cause}"

    @property
    def is_long(self) -> bool:
        """Whether it is played only in the long runs."""
        often = _OFTEN.get(self.cli)
        return (
            self.code == WAITING or self.cause in _SELDOM.get(self.cli, ())
            if often is None
            else self.cause not in often
        )

    @property
    def shares(self) -> bool:
        """Whether it is played in the same engine as the others of its CLI."""
        return not (self.refused or self.settings or self.environment or self.prepare) and (
            self.logged_in and self.max_attempts == 1
        )


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")


def _zeros(folder: Path) -> None:
    folder.mkdir(parents=True)
    with (folder / SMOLLM2.file_name).open("wb") as file:
        file.truncate(SMOLLM2.size)


def status(cli: str, number: int, code: str, played: str = "", cause: str = "", **answer: Any) -> Row:  # noqa: ANN401 - of `scenario.status`
    """The API answers with this status."""
    return Row(cli, cause or str(number), played or f"HTTP {number}", code, (api.status(number, **answer),))


def signalled(cli: str, cause: str, played: str, code: str, number: signal.Signals) -> Row:
    """Somebody sends it a signal in mid-turn: once it speaks or, if it is silent to its end, a moment later."""
    return Row(cli, cause, played, code, (api.stall_after(["Par"]),), signal=number)


def waited_for(cli: str, cause: str, played: str, scenario: Scenario) -> Row:
    """Nothing ends it for minutes. What tells is the progress, and then the caller gives up."""
    return Row(cli, cause, played, WAITING, (scenario,))


def common(
    cli: str,
    *,
    garbage: str = "network",
    cut: str = "network",
    refusal: str = "malformed_output",
    too_long: str = "completed",
    silent: str = "idle",
    terminated: str = "crashed",
    interrupted: str = "crashed",
    again: int = 2,
) -> Iterator[Row]:
    """What every CLI is asked. Named is what differs, mostly since some print nothing that tells.

    `silent` is the clock that fires when nothing comes; `again` how many attempts a passing failure takes.
    """
    yield status(cli, 401, "auth")
    yield status(cli, 403, "auth")
    yield status(cli, 400, "bad_request")
    yield status(cli, 429, "rate_limited")
    yield status(cli, 500, "overloaded")
    yield status(cli, 503, "overloaded")
    yield Row(cli, "refused", "nobody listens at the API's address", "network", refused=True)
    yield Row(cli, "garbage", "HTTP 200 with a page of HTML", garbage, (api.garbage(),))
    yield Row(cli, "cut", "the connection breaks in mid-answer", cut, (api.cut_after(["Par"]),))
    yield Row(cli, "empty", "an answer without a word", "malformed_output", (api.answer(""),))
    yield Row(cli, "refusal", "the model refuses", refusal, (api.refusal(),))
    yield Row(cli, "max-tokens", "the answer reaches its limit of tokens", too_long, (api.too_long("Par"),))
    # Where the clock to fire is not `startup`, that one leaves room for a machine that is slow.
    clocks = {"startup": 6 if silent == "startup" else 60, "idle": 2}
    yield Row(cli, "hang", "the API says nothing", "timeout", (api.hang(),), silent, clocks=clocks)
    clocks = {"startup": 60, "idle": 2}
    yield Row(cli, "stall", "silence in mid-answer", "timeout", (api.stall_after(["Par"]),), "idle", clocks=clocks)
    yield waited_for(cli, "hang-told", "the API says nothing, and no clock is set", api.hang())
    yield waited_for(cli, "stall-told", "silence in mid-answer, and no clock is set", api.stall_after(["Par"]))
    yield signalled(cli, "killed", "it is killed (SIGKILL)", "crashed", signal.SIGKILL)
    yield signalled(cli, "terminated", "somebody ends it (SIGTERM)", terminated, signal.SIGTERM)
    yield signalled(cli, "interrupted", "somebody interrupts it (SIGINT)", interrupted, signal.SIGINT)
    yield Row(cli, "logged-out", "nobody is logged in", "auth", logged_in=False)
    wrong = {"args": ["--nope"]}
    yield Row(cli, "bad-flag", "an option that it does not know, under `args`", "bad_request", settings=wrong)
    once = (api.status(503), api.answer("Paris"))
    played = "HTTP 503 once, then an answer; three attempts allowed"
    yield Row(cli, "once", played, "completed", once, max_attempts=3, attempts=again)


CLAUDE = (
    *common("claude", refusal="refused", too_long="output_limit"),
    status("claude", 404, "bad_request"),
    status("claude", 413, "prompt_too_large"),
    status("claude", 429, "rate_limited", "HTTP 429, Retry-After: 120", "429-later", headers={"retry-after": "120"}),
    status("claude", 529, "overloaded"),
    status("claude", 400, "quota", "HTTP 400, no credit", "credit", message="Your credit balance is too low"),
    status(
        *("claude", 400, "context_length", "HTTP 400, the prompt is too long", "too-long"),
        message="prompt is too long: 250000 tokens > 200000 maximum",
    ),
    Row("claude", "far-too-long", "a prompt of 6 MB", "context_length", prompt="word ", repeated=1_200_000),
    Row(
        *("claude", "failed", "an error event in mid-answer, then HTTP 500", "overloaded"),
        (api.fail_after(["Par"], "overloaded_error", "Overloaded"),),
    ),
    Row(
        *("claude", "max-turns", "`--max-turns=1`, and the model wants to read", "output_limit"),
        (api.use_tool("Glob", pattern="*"), api.answer("Paris")),
        looks=True,
        settings={"args": ["--max-turns=1"]},
    ),
    Row(
        *("claude", "budget", "`--max-budget-usd=0.000001`", "policy"), settings={"args": ["--max-budget-usd=0.000001"]}
    ),
    Row(
        *("claude", "no-settings", "a settings file that is not there, under `args`", "not_found"),
        settings={"args": ["--settings=/nowhere.json"]},
    ),
    Row(
        *("claude", "broken-file", "the user's `.claude.json` is broken", "not_found"),
        prepare=lambda home: _write(home / ".claude.json", "{"),
    ),
)


def gemini_error(message: str, **detail: object) -> dict[str, Any]:
    """The body of an error with a detail."""
    return {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": [detail]}}


GEMINI_QUOTA = gemini_error(
    "You exceeded your current quota",
    **{"@type": "type.googleapis.com/google.rpc.QuotaFailure"},
    violations=[{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
)
GEMINI_LATER = gemini_error(
    "Too many requests", **{"@type": "type.googleapis.com/google.rpc.RetryInfo"}, retryDelay="400s"
)
GEMINI_TOO_LONG = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."


def gemini(cli: str, *, far_too_long: str = "context_length", **differs: Any) -> Iterator[Row]:  # noqa: ANN401 - of `common`
    """What gemini is asked, however it is talked with."""
    yield from common(cli, **differs)
    yield status(cli, 404, "bad_request", message="models/x is not found for API version v1beta")
    bad_key = "API key not valid. Please pass a valid API key."
    yield status(cli, 400, "auth", "HTTP 400, the key is not valid", "bad-key", message=bad_key)
    yield status(cli, 429, "quota", "HTTP 429, the day's quota is used up", "quota", body=GEMINI_QUOTA)
    yield status(cli, 429, "rate_limited", "HTTP 429, try again in 400 s", "429-later", body=GEMINI_LATER)
    yield status(cli, 400, "context_length", "HTTP 400, the prompt is too long", "too-long", message=GEMINI_TOO_LONG)
    yield Row(cli, "far-too-long", "a prompt of 7.5 MB", far_too_long, prompt="word ", repeated=1_500_000)


GEMINI = (
    *gemini("gemini"),
    Row(
        *("gemini", "broken-file", "the user's `settings.json` is broken", "not_found"),
        prepare=lambda home: _write(home / ".gemini" / "settings.json", '{"security": '),
        attempts=0,
    ),
)

# It ends with 0 on a signal, and as much when only its last words are lost.
LOST = "malformed_output"
OLD_GEMINI = tuple(gemini("gemini-old", refusal="refused", terminated=LOST, interrupted=LOST))
ACP = tuple(gemini("acp", cut="completed", far_too_long="output_limit", again=1))

COPILOT = (
    *(row for row in common("acp-copilot", again=1) if row.cause != "logged-out"),
    status("acp-copilot", 402, "quota"),
    status("acp-copilot", 404, "bad_request"),
    status("acp-copilot", 413, "prompt_too_large"),
    status(
        *("acp-copilot", 429, "rate_limited", "HTTP 429, Retry-After: 1", "429-later"), headers={"retry-after": "1"}
    ),
    status("acp-copilot", 429, "quota", "HTTP 429, no quota", "quota", message="You exceeded your current quota"),
    status(
        *("acp-copilot", 400, "context_length", "HTTP 400, the prompt is too long", "too-long"),
        message="This model's maximum context length is 8192 tokens.",
    ),
    status(
        *("acp-copilot", 400, "context_length", "HTTP 400, `context_length_exceeded`", "too-long-code"),
        body={"error": {"message": "Your input is too much.", "code": "context_length_exceeded"}},
    ),
    status(*("acp-copilot", 400, "bad_request", "HTTP 400, with 60 kB of words", "long-words"), message="no " * 20_000),
    Row(
        *("acp-copilot", "failed", "an event `response.failed` in mid-answer", "overloaded"),
        (api.fail_after(["Par"], "server_is_overloaded", "Our servers are overloaded."),),
    ),
    Row(
        *("acp-copilot", "later-failed", "HTTP 401 after the use of a tool", "auth"),
        (api.use_tool("view", path="."), api.status(401)),
        looks=True,
    ),
    Row(
        *("acp-copilot", "denied", "it asks permission for a command, and is denied", "policy"),
        (api.use_tool("bash", command="touch new", description="Touch"), api.answer("Paris")),
        looks=True,
    ),
    Row(
        *("acp-copilot", "cut-once", "the connection breaks in mid-answer, then an answer", "completed"),
        (api.cut_after(["Par"]), api.answer("Paris")),
    ),
    Row(
        *("acp-copilot", "error-words", "an answer that reads as its failures do", "completed"),
        (api.answer("Error: 400 the request is not valid"),),
    ),
)


def usage_limit() -> dict[str, Any]:
    """An error that tells of a limit which ends in two hours from now."""
    resets_at = int(time.time()) + 7200
    return {"error": {"type": "usage_limit_reached", "message": "x", "plan_type": "plus", "resets_at": resets_at}}


def codex(cli: str, **differs: Any) -> Iterator[Row]:  # noqa: ANN401 - of `common`
    """What codex is asked, however it is talked with."""
    yield from common(cli, too_long="output_limit", again=1, **differs)
    no_model = "The model `gpt-x` does not exist or you do not have access to it."
    yield status(cli, 404, "bad_request", message=no_model)
    yield status(cli, 429, "rate_limited", "HTTP 429, Retry-After: 2", "429-later", headers={"retry-after": "2"})
    for name, code, words in (
        ("insufficient_quota", "quota", "You exceeded your current quota."),
        ("context_length_exceeded", "context_length", "Your input exceeds the context window of this model."),
        ("rate_limit_exceeded", "rate_limited", "Rate limit reached, please try again in 7s."),
        ("server_is_overloaded", "overloaded", "Our servers are overloaded."),
    ):
        failed = (api.fail_after((), name, words),)
        yield Row(cli, name.replace("_", "-"), f"an event `response.failed` with `{name}`", code, failed)
    yield status(cli, 429, "quota", "HTTP 429, the plan's usage limit", "usage-limit", body=usage_limit)
    too_large = "a prompt of 1.1 million characters"
    yield Row(cli, "too-large", too_large, "prompt_too_large", prompt="x", repeated=1_100_000)
    wrong = {"args": ["-c", "model_provider=nope"]}
    yield Row(cli, "bad-value", "a value that it does not know, under `args`", "bad_request", settings=wrong)


CODEX = (
    *codex("codex"),
    Row(
        *("codex", "broken-file", "the user's `config.toml` is broken", "not_found"),
        prepare=lambda home: _write(home / ".codex" / "config.toml", "model = ["),
    ),
)
# It takes a key from the environment as it is, and none too: what tells then is the API's 401.
CODEX_EXEC = tuple(row for row in codex("codex-exec") if row.cause != "logged-out")

LLM = (
    *common(
        "llm",
        garbage="malformed_output",
        silent="startup",
        again=1,
    ),
    status("llm", 404, "bad_request"),
    status(
        *("llm", 400, "context_length", "HTTP 400, the prompt is too long", "too-long"),
        message="This model's maximum context length is 8192 tokens.",
    ),
    status("llm", 429, "quota", "HTTP 429, no quota", "quota", message="You exceeded your current quota"),
    status("llm", 429, "rate_limited", "HTTP 429, Retry-After: 1", "429-later", headers={"retry-after": "1"}),
    Row("llm", "unknown-model", "a model that it does not know", "bad_request", model="nosuch"),
    Row(
        *("llm", "unfinished", "the answer ends without the sign of its end", "completed"),
        (api.cut_after(["Par"], properly=True),),
    ),
    Row(
        *("llm", "bad-option", "a wrong value for the model, under `args`", "bad_request"),
        settings={"args": ["-o", "temperature", "9"]},
    ),
    Row(
        *("llm", "broken-file", "its file of models is broken", "crashed"),
        prepare=lambda home: _write(home / "llm" / "extra-openai-models.yaml", "- ["),
    ),
)

LOCAL = (
    Row("local", "offline", "no weights, and the package index cannot be reached", "not_found"),
    Row(
        *("local", "no-room", "its folder cannot be written", "not_found"),
        prepare=lambda home: _write(home / "state", "a file"),
    ),
    Row(
        *("local", "broken-weights", "the weights are so many zeros", "not_found"),
        prepare=lambda home: _zeros(home / "state" / "local"),
    ),
    Row(
        *("local-weights", "too-long", "a prompt longer than its context", "context_length"),
        prompt="word ",
        repeated=20_000,
    ),
    Row(
        *("local-weights", "bad-flag", "an option that it does not know, under `args`", "bad_request"),
        settings={"args": ["--nope"]},
    ),
)

ROWS: tuple[Row, ...] = (*CLAUDE, *CODEX, *CODEX_EXEC, *GEMINI, *OLD_GEMINI, *ACP, *COPILOT, *LLM, *LOCAL)
