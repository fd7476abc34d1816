"""What a person does next when the adapter knows nothing more precise: one sentence for every code."""

from __future__ import annotations

from collections.abc import Mapping

from dragoman.schemas import ErrorCode, ErrorInfo

ADVICE: Mapping[ErrorCode, str] = {
    ErrorCode.RATE_LIMITED: "ask again later, or ask another provider",
    ErrorCode.QUOTA: "wait for the limit to reset, or ask another provider",
    ErrorCode.OVERLOADED: "ask again in a moment, or ask another provider",
    ErrorCode.NETWORK: "check the network, a proxy or a firewall, then ask again",
    ErrorCode.CIRCUIT_OPEN: "ask another provider until this one is tried again",
    ErrorCode.TIMEOUT: "ask for less at once, or raise the clock that fired",
    ErrorCode.MALFORMED_OUTPUT: "ask again; if it stays so, run `dragoman doctor`",
    ErrorCode.SCHEMA_MISMATCH: "ask again, or simplify the schema",
    ErrorCode.AUTH: "log in to this CLI; `dragoman doctor` says how",
    ErrorCode.NOT_FOUND: "run `dragoman doctor` to see what is missing",
    ErrorCode.BAD_REQUEST: "correct the request; without `model` the CLI chooses one",
    ErrorCode.PROMPT_TOO_LARGE: "shorten the prompt",
    ErrorCode.CONTEXT_LENGTH: "shorten the prompt, or ask a model with a longer context",
    ErrorCode.REFUSED: "rephrase the question, or ask another provider",
    ErrorCode.POLICY: "ask for what the configuration allows, or change it",
    ErrorCode.OUTPUT_LIMIT: "ask for a shorter answer",
    ErrorCode.CRASHED: "ask again; if it stays so, run `dragoman doctor`",
    ErrorCode.CANCELLED: "ask again if the answer is still wanted",
    ErrorCode.INTERNAL: "if this is a fault in Dragoman, please report it with what `--log-level DEBUG` shows",
}


def advised(error: ErrorInfo) -> ErrorInfo:
    """The failure with a next step."""
    return error if error.next_step else error.model_copy(update={"next_step": ADVICE[error.code]})
