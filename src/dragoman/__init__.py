"""The LLM command-line tools you already have, as MCP tools, a Python library and a command.

::

    from dragoman import Dragoman

    async with Dragoman() as d:
        reply = await d.ask("claude", "What is a dragoman?")
        print(reply.text)

Names are loaded on first use, so that ``import dragoman`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dragoman.client import Dragoman, Jobs
    from dragoman.config import Configuration, ConfigurationError, RetryConfig, load_configuration
    from dragoman.conversation_manager import ConversationManager
    from dragoman.engine.categorize import categorize_error
    from dragoman.engine.conversations import Conversations
    from dragoman.engine.jobs.job import Job
    from dragoman.engine.layers.breaker import CircuitBreaker
    from dragoman.engine.many import Many
    from dragoman.log import setup_logging
    from dragoman.options import AskOptions, JobOptions, ManyOptions, QueryOptions, TurnOptions
    from dragoman.schemas import (
        CircuitState,
        CircuitStatus,
        Combined,
        ConversationInfo,
        ConversationTurn,
        ErrorCategory,
        ErrorCode,
        ErrorInfo,
        FoundTurn,
        JobInfo,
        LLMAPIError,
        LLMConnectionError,
        LLMError,
        LLMRequest,
        LLMResponse,
        ManyAnswer,
        Message,
        ProviderStatus,
        RateLimitError,
        TimeoutConfig,
        TimeoutOverrides,
        TurnInfo,
        Usage,
    )
    from dragoman.streams import ObjectStream, Partial, QueryStream, Stream
    from dragoman.structured import (
        AsyncValidationStrategy,
        JSONExtractor,
        JsonStringValidator,
        OutputSchema,
        ResponseNotEmptyValidator,
        Verdict,
        retry_with_validation,
        validator,
    )

__version__ = "0.1.0"

_HOMES = {
    "dragoman.client": ("Dragoman", "Jobs"),
    "dragoman.config": ("Configuration", "ConfigurationError", "RetryConfig", "load_configuration"),
    "dragoman.conversation_manager": ("ConversationManager",),
    "dragoman.engine.layers.breaker": ("CircuitBreaker",),
    "dragoman.engine.categorize": ("categorize_error",),
    "dragoman.engine.conversations": ("Conversations",),
    "dragoman.engine.jobs.job": ("Job",),
    "dragoman.engine.many": ("Many",),
    "dragoman.log": ("setup_logging",),
    "dragoman.options": ("AskOptions", "JobOptions", "ManyOptions", "QueryOptions", "TurnOptions"),
    "dragoman.schemas": (
        *("CircuitState", "CircuitStatus", "ConversationInfo", "ConversationTurn", "ErrorCategory", "ErrorCode"),
        *("ErrorInfo", "FoundTurn", "JobInfo", "LLMAPIError", "LLMConnectionError", "LLMError", "LLMRequest"),
        *("LLMResponse", "Message", "ProviderStatus", "RateLimitError", "TimeoutConfig", "TimeoutOverrides"),
        *("Combined", "ManyAnswer", "TurnInfo", "Usage"),
    ),
    "dragoman.streams": ("ObjectStream", "Partial", "QueryStream", "Stream"),
    "dragoman.structured": (
        *("AsyncValidationStrategy", "JSONExtractor", "JsonStringValidator", "OutputSchema"),
        *("ResponseNotEmptyValidator", "Verdict", "retry_with_validation", "validator"),
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AskOptions",
    "AsyncValidationStrategy",
    "CircuitBreaker",
    "CircuitState",
    "CircuitStatus",
    "Combined",
    "Configuration",
    "ConfigurationError",
    "ConversationInfo",
    "ConversationManager",
    "ConversationTurn",
    "Conversations",
    "Dragoman",
    "ErrorCategory",
    "ErrorCode",
    "ErrorInfo",
    "FoundTurn",
    "JSONExtractor",
    "Job",
    "JobInfo",
    "JobOptions",
    "Jobs",
    "JsonStringValidator",
    "LLMAPIError",
    "LLMConnectionError",
    "LLMError",
    "LLMRequest",
    "LLMResponse",
    "Many",
    "ManyAnswer",
    "ManyOptions",
    "Message",
    "ObjectStream",
    "OutputSchema",
    "Partial",
    "ProviderStatus",
    "QueryOptions",
    "QueryStream",
    "RateLimitError",
    "ResponseNotEmptyValidator",
    "RetryConfig",
    "Stream",
    "TimeoutConfig",
    "TimeoutOverrides",
    "TurnInfo",
    "TurnOptions",
    "Usage",
    "Verdict",
    "__version__",
    "categorize_error",
    "load_configuration",
    "retry_with_validation",
    "setup_logging",
    "validator",
]


def __getattr__(name: str) -> object:
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
