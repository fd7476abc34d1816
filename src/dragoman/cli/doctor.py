"""``dragoman doctor``: what works here, what does not, and what to do about it."""

from __future__ import annotations

from dragoman.cli import output
from dragoman.cli.common import Common
from dragoman.cli.exits import FAILURE, OK
from dragoman.cli.findings import Facts, Findings, examine
from dragoman.cli.guard import run
from dragoman.cli.providers import as_data, say_providers
from dragoman.schemas import LLMResponse


def doctor(common: Common, *, as_json: bool, deep: bool) -> int:
    """Look at everything; exit code 0 when a provider can answer."""
    loaded = common.load()
    if deep:
        output.remark("asking each ready provider for one word; this uses tokens")

    async def look() -> int:
        findings = await examine(loaded, deep=deep)
        if as_json:
            output.say_json(_data(findings))
        else:
            _say(findings)
        return OK if findings.can_answer else FAILURE

    return run(look)


def _data(findings: Findings) -> dict[str, object]:
    return {
        "can_answer": findings.can_answer,
        "providers": [as_data(status) for status in findings.providers],
        "held_back": findings.held_back,
        "replies": {name: reply.public() for name, reply in findings.replies.items()},
        "local": findings.local,
        "configuration": findings.configuration,
        "state": findings.state,
        "versions": findings.versions,
    }


def _say(findings: Findings) -> None:
    output.say_heading("Providers")
    say_providers(findings.providers)
    for name, keys in findings.held_back.items():
        output.say(
            f"{', '.join(keys)} set but kept from {name}: billed per token; "
            f'credentials = "inherit" under [providers.{name}] lets it through'
        )
    for name, reply in findings.replies.items():
        output.say(f"{name} was asked for one word: {_told(reply)}")
    _say_facts("Local model", findings.local)
    _say_facts("Configuration", findings.configuration)
    _say_facts("State", findings.state)
    _say_facts("Versions", findings.versions)
    output.say()
    output.say_heading("A provider can answer." if findings.can_answer else "No provider can answer yet.")


def _say_facts(title: str, facts: Facts) -> None:
    output.say()
    output.say_heading(title)
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        first, *others = [value] if isinstance(value, str) else value
        rows += [(f"  {name}", first), *(("", other) for other in others)]
    for line in output.columns(rows):
        output.say(line)


def _told(reply: LLMResponse) -> str:
    if reply.error is not None:
        return f"{reply.error.code.value}: {reply.error.message}"
    return f"{' '.join(reply.text.split())!r} in {reply.duration_s:.1f} s"
