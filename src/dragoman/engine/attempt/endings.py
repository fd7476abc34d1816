"""What is told of an attempt's end."""

from __future__ import annotations

import errno
from dataclasses import replace
from datetime import datetime

from dragoman.adapters.base import Completed, Failed, Outcome
from dragoman.engine.advice import advised, tellable
from dragoman.engine.attempt.clocks import Clocks
from dragoman.engine.attempt.environment import Environment
from dragoman.engine.attempt.host import DialogueHost
from dragoman.engine.context import Context
from dragoman.engine.layers.resets import with_reset
from dragoman.log import redact
from dragoman.processes import SpawnError
from dragoman.schemas import Effects, ErrorCode, ErrorInfo
from dragoman.schemas.text import plain

STDERR_TAIL_BYTES = 2000


def checked(outcome: Outcome, context: Context, host: DialogueHost | None) -> Outcome:
    """The outcome, with the child's last words if it is a failure."""
    if isinstance(outcome, Completed):
        if outcome.text is not None or not context.lost_bytes:
            return outcome
        outcome = Failed(_overflow(context), model=outcome.model, usage=outcome.usage)
    error = outcome.error.with_effects(_effects(context))
    message = tellable(error.message) or "it failed without saying why"
    said = error.stderr_tail or (host.stderr.text(4 * STDERR_TAIL_BYTES) if host else "")
    tail = redact(plain(said)).strip()[-STDERR_TAIL_BYTES:]
    error = advised(error.model_copy(update={"message": message, "stderr_tail": tail or None}))
    return replace(outcome, error=with_reset(error, datetime.now().astimezone()))


def with_key_hint(outcome: Outcome, name: str, environment: Environment) -> Outcome:
    """The outcome; if a login is missing, with the keys that were kept from the child."""
    if not (isinstance(outcome, Failed) and outcome.error.code is ErrorCode.AUTH and environment.held_back):
        return outcome
    keys = ", ".join(environment.held_back)
    hint = (
        f"{keys} is set but was kept from {name}, because it is billed per token; "
        f'to use it, set credentials = "inherit" under [providers.{name}] in your own configuration file'
    )
    steps = f"{outcome.error.next_step}; or: {hint}" if outcome.error.next_step else hint
    return replace(outcome, error=outcome.error.model_copy(update={"next_step": steps}))


def spawn_failure(error: SpawnError) -> ErrorInfo:
    """The failure of a child that could not be started."""
    if error.errno == errno.E2BIG:
        return ErrorInfo.of(ErrorCode.PROMPT_TOO_LARGE, str(error), next_step="shorten what goes on the command line")
    return ErrorInfo.of(
        ErrorCode.NOT_FOUND, str(error), next_step="run `dragoman doctor` to see which programs work here"
    )


def ending(outcome: Outcome | None, clocks: Clocks) -> str:
    """How an attempt ended, in a word or two for the log."""
    match outcome:
        case Completed(finish_reason=reason):
            return f"completed ({reason})"
        case Failed(error=error):
            return f"failed ({error.code.value})"
        case None:
            return f"stopped ({clocks.fired} clock)" if clocks.scope.cancelled_caught else "cancelled"


def _overflow(context: Context) -> ErrorInfo:
    return ErrorInfo.of(
        ErrorCode.OUTPUT_LIMIT,
        f"the answer is {context.lost_bytes} bytes longer than the {context.capture_bytes} that are kept",
        next_step="ask for less, or raise `capture_bytes` under [limits]",
    )


def _effects(context: Context) -> Effects:
    route = context.route
    enforced = route is not None and route.adapter.profile.strength.get("read-only") == "enforced"
    return "none" if enforced and context.request.access == "read-only" and not context.acted else "possible"
