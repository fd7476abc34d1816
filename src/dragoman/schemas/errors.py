"""Failures: one closed list of codes, what each means for the caller, and the exceptions that carry them.

    LLMError
    ├── RateLimitError        rate_limited, quota: has ``retry_after``
    ├── LLMConnectionError    network, overloaded
    └── LLMAPIError           the provider answered with an error: auth, bad_request, refused …

Every failure of a call, on every face, is an `ErrorInfo`; exceptions are its wrapping for Python callers.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dragoman.schemas.text import Writable

if TYPE_CHECKING:
    from dragoman.schemas.replies import LLMResponse

Effects = Literal["none", "possible"]
"""Whether the failed call can have changed anything: ``none`` means running it again is safe."""


class ErrorCategory(StrEnum):
    """The seven coarse classes; `ErrorCode` is the precise one."""

    RETRYABLE = "retryable"
    PERMANENT = "permanent"
    RATE_LIMIT = "rate_limit"
    TIMEOUT = "timeout"
    MALFORMED_OUTPUT = "malformed"
    AUTH_FAILURE = "auth"
    UNKNOWN = "unknown"


class ErrorCode(StrEnum):
    """The closed list of failures."""

    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    NETWORK = "network"
    CIRCUIT_OPEN = "circuit_open"
    TIMEOUT = "timeout"
    MALFORMED_OUTPUT = "malformed_output"
    SCHEMA_MISMATCH = "schema_mismatch"
    AUTH = "auth"
    NOT_FOUND = "not_found"
    BAD_REQUEST = "bad_request"
    PROMPT_TOO_LARGE = "prompt_too_large"
    CONTEXT_LENGTH = "context_length"
    REFUSED = "refused"
    POLICY = "policy"
    OUTPUT_LIMIT = "output_limit"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class CodeRule(NamedTuple):
    """What a code means, whoever reports it."""

    category: ErrorCategory
    counts: Literal["yes", "local", "no"]
    """Whether it counts against the provider; ``local`` is counted apart from upstream failures."""
    retryable: bool
    """Whether another attempt may help. Holds only while ``effects`` is ``none``."""


RULES: Mapping[ErrorCode, CodeRule] = MappingProxyType(
    {
        ErrorCode.RATE_LIMITED: CodeRule(ErrorCategory.RATE_LIMIT, "yes", retryable=True),
        ErrorCode.QUOTA: CodeRule(ErrorCategory.RATE_LIMIT, "yes", retryable=False),
        ErrorCode.OVERLOADED: CodeRule(ErrorCategory.RETRYABLE, "yes", retryable=True),
        ErrorCode.NETWORK: CodeRule(ErrorCategory.RETRYABLE, "yes", retryable=True),
        ErrorCode.CIRCUIT_OPEN: CodeRule(ErrorCategory.RETRYABLE, "no", retryable=True),
        ErrorCode.TIMEOUT: CodeRule(ErrorCategory.TIMEOUT, "yes", retryable=True),
        ErrorCode.MALFORMED_OUTPUT: CodeRule(ErrorCategory.MALFORMED_OUTPUT, "no", retryable=False),
        ErrorCode.SCHEMA_MISMATCH: CodeRule(ErrorCategory.MALFORMED_OUTPUT, "no", retryable=False),
        ErrorCode.AUTH: CodeRule(ErrorCategory.AUTH_FAILURE, "local", retryable=False),
        ErrorCode.NOT_FOUND: CodeRule(ErrorCategory.PERMANENT, "local", retryable=False),
        ErrorCode.BAD_REQUEST: CodeRule(ErrorCategory.PERMANENT, "no", retryable=False),
        ErrorCode.PROMPT_TOO_LARGE: CodeRule(ErrorCategory.PERMANENT, "no", retryable=False),
        ErrorCode.CONTEXT_LENGTH: CodeRule(ErrorCategory.PERMANENT, "no", retryable=False),
        ErrorCode.REFUSED: CodeRule(ErrorCategory.PERMANENT, "no", retryable=False),
        ErrorCode.POLICY: CodeRule(ErrorCategory.PERMANENT, "no", retryable=False),
        ErrorCode.OUTPUT_LIMIT: CodeRule(ErrorCategory.PERMANENT, "no", retryable=False),
        ErrorCode.CRASHED: CodeRule(ErrorCategory.PERMANENT, "local", retryable=True),
        ErrorCode.CANCELLED: CodeRule(ErrorCategory.PERMANENT, "no", retryable=False),
        ErrorCode.INTERNAL: CodeRule(ErrorCategory.UNKNOWN, "no", retryable=False),
    }
)


ADVICE: Mapping[ErrorCode, str] = MappingProxyType(
    {
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
)
"""What a person does next, where nothing more precise is known: one sentence for every code."""


LONGEST_WAIT_S = 366 * 86400.0
"""What is longer was misread, and may be past the end of all calendars."""


def _wait_meant(seconds: float | None) -> float | None:
    return seconds if seconds is not None and seconds <= LONGEST_WAIT_S else None


class ErrorInfo(BaseModel):
    """One failure as data: what a caller may branch on, and what a person should do next."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    code: ErrorCode
    category: ErrorCategory
    message: Writable
    next_step: str | None = None
    retryable: bool = False
    retry_after_s: Annotated[float | None, Field(ge=0), AfterValidator(_wait_meant)] = None
    reset_at: datetime | None = None
    effects: Effects = "none"
    clock: str | None = None
    """Which clock fired, when the code is ``timeout``."""
    stderr_tail: str | None = None

    @classmethod
    def of(
        cls,
        code: ErrorCode,
        message: str,
        *,
        next_step: str | None = None,
        retry_after_s: float | None = None,
        reset_at: datetime | None = None,
        effects: Effects = "none",
        clock: str | None = None,
        stderr_tail: str | None = None,
    ) -> ErrorInfo:
        """An `ErrorInfo` whose category and ``retryable`` follow from the code and the effects.

        Without a `next_step` it has the one of its code.
        """
        rule = RULES[code]
        return cls(
            code=code,
            category=rule.category,
            message=message,
            next_step=next_step or ADVICE[code],
            retryable=rule.retryable and effects == "none",
            retry_after_s=retry_after_s,
            reset_at=reset_at,
            effects=effects,
            clock=clock,
            stderr_tail=stderr_tail,
        )

    def with_effects(self, effects: Effects) -> ErrorInfo:
        """The same failure with what is known of its effects; ``retryable`` follows."""
        retryable = RULES[self.code].retryable and effects == "none"
        return self.model_copy(update={"effects": effects, "retryable": retryable})


class LLMError(Exception):
    """A call failed. ``info`` has the facts; ``reply``, when set, has what was kept, such as partial text."""

    def __init__(
        self,
        message: str,
        category: ErrorCategory = ErrorCategory.UNKNOWN,
        original_error: BaseException | None = None,
        stderr: str | None = None,
        *,
        info: ErrorInfo | None = None,
        reply: LLMResponse | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.category = category
        self.original_error = original_error
        self.stderr = stderr
        self.info = info or ErrorInfo.of(_CODE_OF_CATEGORY[category], message, stderr_tail=stderr)
        self.reply = reply

    @property
    def code(self) -> ErrorCode:
        """The precise class of the failure."""
        return self.info.code

    @property
    def is_retryable(self) -> bool:
        """Whether another attempt may help and can do no harm."""
        return self.info.retryable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code.value}: {self.message})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.info, self.reply)


class RateLimitError(LLMError):
    """The provider asks to slow down, or a quota is used up."""

    @property
    def retry_after(self) -> float | None:
        """Seconds after which another attempt makes sense, when the provider said so."""
        return self.info.retry_after_s


class LLMConnectionError(LLMError):
    """The provider could not be reached, or was too busy to answer."""


class LLMAPIError(LLMError):
    """The provider answered with an error."""


_CODE_OF_CATEGORY: Mapping[ErrorCategory, ErrorCode] = {
    ErrorCategory.RETRYABLE: ErrorCode.NETWORK,
    ErrorCategory.PERMANENT: ErrorCode.BAD_REQUEST,
    ErrorCategory.RATE_LIMIT: ErrorCode.RATE_LIMITED,
    ErrorCategory.TIMEOUT: ErrorCode.TIMEOUT,
    ErrorCategory.MALFORMED_OUTPUT: ErrorCode.MALFORMED_OUTPUT,
    ErrorCategory.AUTH_FAILURE: ErrorCode.AUTH,
    ErrorCategory.UNKNOWN: ErrorCode.INTERNAL,
}

_CLASS_OF_CODE: Mapping[ErrorCode, type[LLMError]] = {
    ErrorCode.RATE_LIMITED: RateLimitError,
    ErrorCode.QUOTA: RateLimitError,
    ErrorCode.OVERLOADED: LLMConnectionError,
    ErrorCode.NETWORK: LLMConnectionError,
    ErrorCode.AUTH: LLMAPIError,
    ErrorCode.BAD_REQUEST: LLMAPIError,
    ErrorCode.CONTEXT_LENGTH: LLMAPIError,
    ErrorCode.REFUSED: LLMAPIError,
}


def error_from(info: ErrorInfo, reply: LLMResponse | None = None) -> LLMError:
    """The exception that stands for a failure: the most precise class of `LLMError`."""
    return _rebuild(_CLASS_OF_CODE.get(info.code, LLMError), info, reply)


def error_of(code: ErrorCode, message: str, next_step: str | None = None) -> LLMError:
    """The exception that stands for a failure before anything was asked, in so many words."""
    return error_from(ErrorInfo.of(code, message, next_step=next_step))


def _rebuild(kind: type[LLMError], info: ErrorInfo, reply: LLMResponse | None) -> LLMError:
    return kind(info.message, info.category, stderr=info.stderr_tail, info=info, reply=reply)
