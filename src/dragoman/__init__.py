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
    from dragoman.client import AskOptions, Dragoman, Stream
    from dragoman.config import Configuration, ConfigurationError, RetryConfig, load_configuration
    from dragoman.engine.breaker import CircuitBreaker
    from dragoman.engine.categorize import categorize_error
    from dragoman.log import setup_logging
    from dragoman.schemas import (
        CircuitState,
        CircuitStatus,
        ConversationTurn,
        ErrorCategory,
        ErrorCode,
        ErrorInfo,
        LLMAPIError,
        LLMConnectionError,
        LLMError,
        LLMRequest,
        LLMResponse,
        Message,
        ProviderStatus,
        RateLimitError,
        TimeoutConfig,
        TimeoutOverrides,
        Usage,
    )

__version__ = "0.1.0"

_HOMES = {
    "dragoman.client": ("AskOptions", "Dragoman", "Stream"),
    "dragoman.config": ("Configuration", "ConfigurationError", "RetryConfig", "load_configuration"),
    "dragoman.engine.breaker": ("CircuitBreaker",),
    "dragoman.engine.categorize": ("categorize_error",),
    "dragoman.log": ("setup_logging",),
    "dragoman.schemas": (
        *("CircuitState", "CircuitStatus", "ConversationTurn", "ErrorCategory", "ErrorCode", "ErrorInfo"),
        *("LLMAPIError", "LLMConnectionError", "LLMError", "LLMRequest", "LLMResponse", "Message", "ProviderStatus"),
        *("RateLimitError", "TimeoutConfig", "TimeoutOverrides", "Usage"),
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AskOptions",
    "CircuitBreaker",
    "CircuitState",
    "CircuitStatus",
    "Configuration",
    "ConfigurationError",
    "ConversationTurn",
    "Dragoman",
    "ErrorCategory",
    "ErrorCode",
    "ErrorInfo",
    "LLMAPIError",
    "LLMConnectionError",
    "LLMError",
    "LLMRequest",
    "LLMResponse",
    "Message",
    "ProviderStatus",
    "RateLimitError",
    "RetryConfig",
    "Stream",
    "TimeoutConfig",
    "TimeoutOverrides",
    "Usage",
    "__version__",
    "categorize_error",
    "load_configuration",
    "setup_logging",
]


def __getattr__(name: str) -> object:
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
