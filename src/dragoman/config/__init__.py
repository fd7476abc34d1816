"""The configuration: its keys, its layers, and which files are trusted."""

from dragoman.config.environment import RESERVED
from dragoman.config.loader import Loaded, Setting, load_configuration, load_layers
from dragoman.config.paths import state_folder, user_config_file
from dragoman.config.problems import ConfigurationError, ConfigurationWarning
from dragoman.config.settings import (
    BreakerSettings,
    CacheSettings,
    Configuration,
    ConversationSettings,
    DeclaredSettings,
    LimitSettings,
    LogSettings,
    ProviderSettings,
    RetryConfig,
    ServerSettings,
)
from dragoman.config.trust import is_trusted, trust, untrust

__all__ = [
    "RESERVED",
    "BreakerSettings",
    "CacheSettings",
    "Configuration",
    "ConfigurationError",
    "ConfigurationWarning",
    "ConversationSettings",
    "DeclaredSettings",
    "LimitSettings",
    "Loaded",
    "LogSettings",
    "ProviderSettings",
    "RetryConfig",
    "ServerSettings",
    "Setting",
    "is_trusted",
    "load_configuration",
    "load_layers",
    "state_folder",
    "trust",
    "untrust",
    "user_config_file",
]
