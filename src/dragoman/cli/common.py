"""What every command shares: the global options, and the configuration they lead to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dragoman.config import Loaded


@dataclass(frozen=True)
class Common:
    """The options that stand before the command. None: what the configuration says."""

    config: tuple[str, ...] = ()
    log_level: str | None = None
    log_json: bool = False

    def load(self, overrides: Mapping[str, Any] | None = None) -> Loaded:
        """Load the configuration with these options on top, and start logging.

        Raises:
            ConfigurationError: with all problems of all layers.
        """
        from dragoman.config import load_layers
        from dragoman.log import setup_logging

        log = {"level": self.log_level, "json": self.log_json or None}
        chosen = {name: value for name, value in log.items() if value is not None}
        layers = {**(overrides or {}), **({"log": chosen} if chosen else {})}
        loaded = load_layers([Path(name) for name in self.config], overrides=layers)
        settings = loaded.configuration.log
        setup_logging(settings.level, json=settings.as_json, file=settings.file)
        return loaded

    @staticmethod
    def warn(loaded: Loaded) -> None:
        """Tell on stderr which parts of the configuration were not taken."""
        from dragoman.cli.output import remark

        for warning in loaded.warnings:
            remark(f"dragoman: warning: {warning}", style="yellow")


@dataclass(frozen=True)
class Transport:
    """The options of ``serve``. None: what the configuration says, which also checks them."""

    transport: str | None = None
    host: str | None = None
    port: str | None = None

    def overrides(self) -> Mapping[str, Any]:
        """These options as a layer of the configuration."""
        given = {"transport": self.transport, "host": self.host, "port": self.port}
        chosen = {name: value for name, value in given.items() if value is not None}
        return {"server": chosen} if chosen else {}
