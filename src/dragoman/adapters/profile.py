"""A provider as data: what the engine needs to know of a CLI without starting it. Part of the contract in `base`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dragoman.schemas import Access, Billing, TimeoutOverrides

if TYPE_CHECKING:
    from dragoman.adapters.base import Installed

Clock = Literal["startup", "idle"]
Strength = Literal["enforced", "agent-honoured", "none"]
"""Who holds the child to its access: the CLI's sandbox or tool list, the model's good will, or nobody."""


@dataclass(frozen=True)
class UserSetting:
    """A choice of the user's in a settings file of the CLI's that decides how it is run. Never a secret."""

    path: str
    pattern: str
    """A regular expression whose first group is the choice."""
    below: tuple[str, ...] = ("HOME",)


@dataclass(frozen=True)
class Login:
    """The CLI's own way to tell whether somebody is logged in: a command that ends soon and spends nothing."""

    argv: tuple[str, ...]
    hint: str
    """What a person does when they are not logged in."""


@dataclass(frozen=True)
class Transport:
    """A way of talking with a CLI."""

    name: str
    """Such as ``acp``: a word for people and agents, and for `Adapter.plan`."""
    since: tuple[int, ...] = ()
    """The first version that has it."""
    without: tuple[str, ...] = ()
    """Variables that rule it out when they reach the child."""


@dataclass(frozen=True)
class NpmPackage:
    """A CLI that npm installs as a launcher; the real program is in a package of its own for each platform.

    The engine starts the real program where it finds it without doubt, and the launcher as it is everywhere else.
    """

    name: str
    native: str
    """The platform's package, such as ``@openai/codex-{os}-{cpu}``, in Node's words (``linux``, ``x64``)."""
    program: str
    """The program in that package; a ``*`` stands for one folder's name."""
    env: tuple[tuple[str, str], ...] = ()
    """What the launcher sets for the program; ``{package}`` is the launcher's folder."""


@dataclass(frozen=True)
class Profile:
    """A provider as data. Ask it, never the provider's name."""

    name: str
    title: str
    description: str
    """One or two sentences for an agent that chooses a provider."""
    executables: tuple[str, ...]
    """Names to look for on PATH, best first."""
    install_hint: str
    npm: NpmPackage | None = None
    module: str | None = None
    """For a CLI that comes with us: it runs as ``python -m MODULE`` of this interpreter, whatever is on PATH."""
    needs_modules: tuple[str, ...] = ()
    """Top-level modules that must be importable for ``module`` to be installed."""
    order: int = 50
    """Place in the default order; small is first."""
    version_argv: tuple[str, ...] = ("--version",)
    version_env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Set when it is asked for its version."""
    plan_needs_version: bool = False
    transports: tuple[Transport, ...] = (Transport("text"),)
    """Best first; the last one is always there."""
    minimum_version: tuple[int, ...] | None = None
    login: Login | None = None
    pass_env: tuple[str, ...] = ()
    """Variables of the user's that configure this CLI and carry no metered key. A trailing ``*`` matches a prefix."""
    account_env: tuple[str, ...] | None = None
    """Those of them that tell one account from another; None: all."""
    settings: Mapping[str, UserSetting] = field(default_factory=dict[str, UserSetting])
    """Choices of the user's that `Adapter.plan` needs to know, as `Installed.settings`."""
    metered_env: tuple[str, ...] = ()
    """Variables with keys that are billed per token; they reach the child only with ``credentials = "inherit"``."""
    clocks: frozenset[Clock] = frozenset[Clock](("startup", "idle"))
    """Which of these clocks apply; a CLI that prints only at its end has no ``startup`` and no ``idle``."""
    timeouts: TimeoutOverrides = field(default_factory=TimeoutOverrides)
    """Clocks whose defaults are too short for this CLI. They are raised to these, never lowered."""
    own_retries: Literal["none", "limited", "unlimited"] = "none"
    """Whether the CLI tries again by itself: not, held to a known bound, or beyond our control."""
    start_gap_s: float = 0.0
    """Between two starts with one login: CLIs that start at once race for a refresh token that works once."""
    strength: Mapping[Access, Strength] = field(default_factory=dict[Access, Strength])
    """The accesses it can be held to, and by whom. An access that is missing is refused."""
    reads_folder: bool = True
    """Whether a ``cwd`` is of any use to it."""
    takes_model: bool = True
    takes_system_prompt: bool = True
    takes_history: bool = False
    """Whether earlier messages can be given as such, and not only as text in the prompt."""
    efforts: tuple[str, ...] = ()
    """The values of ``effort``, least first; empty: it has no such thing."""
    takes_temperature: bool = False
    takes_max_tokens: bool = False
    keeps_sessions: bool = False
    """Whether a turn can be kept in a session of the CLI's own and gone on with later, by its id."""
    forks_sessions: bool = False
    """Whether a session can be gone on with from an earlier turn, in a copy."""
    native_schema: Literal["none", "strict", "any"] = "none"
    """Whether the CLI itself holds an answer to a JSON Schema: not, within OpenAI's strict subset, or any schema."""
    detaches: bool = False
    """Whether it has a transport for `Turn.detached`."""
    billing: Billing = "unknown"

    def transport(self, found: Installed) -> str:
        """The name of the best one that was found; a version that is not known is taken for a new one."""
        fitting = (
            way.name
            for way in self.transports[:-1]
            if (found.version is None or found.version >= way.since) and found.environment.isdisjoint(way.without)
        )
        return next(fitting, self.transports[-1].name)
