"""The providers of this machine: which are there, which are ready, which one answers a request."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING

import anyio

from dragoman import store as records
from dragoman.adapters.base import Adapter, Installed, Profile
from dragoman.config import Configuration
from dragoman.engine.attempt.clocks import timed_out
from dragoman.engine.attempt.environment import build_environment
from dragoman.engine.context import Context, Handler, Outcome, Route
from dragoman.engine.layers.breakers import Breakers
from dragoman.engine.providers.accounts import account_of
from dragoman.engine.providers.finding import Missing, Program, Versions, find_program, identity_of, inquire
from dragoman.processes import Spawner, SpawnError
from dragoman.schemas import (
    Capability,
    CircuitState,
    ErrorCode,
    LLMError,
    LLMRequest,
    ProviderState,
    ProviderStatus,
    TimeoutConfig,
    error_of,
)

if TYPE_CHECKING:
    from dragoman.store import CircuitKey

LOGIN_TIMEOUT_S = 10.0
FOUND_S = 1.0
"""How long a program that was found is taken for the one to start, as long as it is there."""
LOGIN_KNOWN_S = 300.0
"""How long an answer about a login is believed; a failed call corrects it sooner."""


class Providers:
    """Every adapter with its settings. Looking for programs starts none; asking for a login or a version does."""

    def __init__(
        self,
        configuration: Configuration,
        adapters: Mapping[str, Adapter],
        broken: Mapping[str, str],
        environ: Mapping[str, str],
        spawner: Spawner,
        versions: Versions,
        breakers: Breakers,
    ) -> None:
        self._configuration = configuration
        self._broken = broken
        self._environ = environ
        self._spawner = spawner
        self._versions = versions
        self._breakers = breakers
        self._accounts: dict[str, str] = {}
        self._timeouts: dict[str, TimeoutConfig] = {}
        self._lately: dict[str, tuple[float, Program]] = {}
        self._logins: dict[str, tuple[float, bool | None]] = {}
        """What each said of its login, and when."""
        self._asking: dict[str, anyio.Lock] = {}
        first = [name for name in configuration.order if name in adapters]
        self.adapters = {name: adapters[name] for name in (*first, *(name for name in adapters if name not in first))}

    def present(self) -> tuple[str, ...]:
        """The providers that are enabled and whose program is there, in order. Starts nothing."""
        return tuple(name for name in self.adapters if self._enabled(name) and isinstance(self._find(name), Program))

    def check(self, request: LLMRequest) -> None:
        """See that all who are named are known.

        Raises:
            LLMError: one is not (code ``not_found``); the next step names the nearest, and all.
        """
        for name in (request.provider, *(request.fallback or ())):
            if name is not None and name not in self.adapters:
                raise self.unknown(name)

    def unknown(self, name: str) -> LLMError:
        """The failure of a name that nobody has."""
        reason = self._broken.get(name)
        nearest = get_close_matches(name.lower(), self.adapters, n=1)
        meant = f"did you mean {nearest[0]!r}? " if nearest else ""
        return error_of(
            ErrorCode.NOT_FOUND,
            f"there is no provider {name!r}" + (f": {reason}" if reason else ""),
            next_step=f"{meant}choose one of: {', '.join(self.adapters)}",
        )

    def known_layer(self, following: Handler) -> Handler:
        """The layer around all others: what names nobody is no call, and leaves nothing behind."""

        async def known(context: Context) -> Outcome:
            if not context.call.is_taken_over:
                self.check(context.request)
            return await following(context)

        return known

    def route_layer(self, following: Handler) -> Handler:
        """The layer that decides who answers."""

        async def routed(context: Context) -> Outcome:
            request = context.request
            name = request.provider
            if name is None:
                # Whose clocks they are is not known yet, except for what the caller said.
                limit = request.timeouts.over(TimeoutConfig()).call
                with anyio.move_on_after(limit):
                    name = await self.first_ready(request.model)
                if name is None:
                    return timed_out("call", limit, because="it was not known yet which provider is ready")
            route = context.route = self._route(name)
            own = route.timeouts
            route.timeouts = request.timeouts.over(own, route.adapter.profile.timeouts)
            if route.timeouts is not own:
                route.shortened = route.timeouts.shorter_than(own)
            # Whoever stands in for another does not get more time.
            context.deadline = min(context.deadline, context.queued_at + route.timeouts.call)
            context.call.deadline = time.monotonic() + context.deadline - anyio.current_time()
            return await following(context)

        return routed

    async def first_ready(self, model: str | None = None) -> str:
        """The first provider in the order that can answer; one that is left alone now only when there is no other.

        `model` is the one that will be asked for.

        Raises:
            LLMError: there is none (code ``not_found``); the next step says what each one lacks.
        """
        lacking: list[str] = []
        left_alone: list[str] = []
        await self._breakers.refresh()
        for name in self.adapters:
            status = await self._status(name)
            if status.state == "ready":
                if not self._breakers.is_open(self._circuit(name, model)):
                    return name
                left_alone.append(name)
                continue
            lacking.append(
                f"{name}: {status.reason}; {status.next_step}" if status.next_step else f"{name}: {status.reason}"
            )
        if left_alone:
            return left_alone[0]
        step = "\n- ".join(("make one of these ready", *lacking))
        raise error_of(ErrorCode.NOT_FOUND, "no provider is ready", next_step=step)

    async def status(self, name: str, *, deep: bool = False) -> ProviderStatus:
        """What is known of a provider. `deep` asks for its version too, and for its login anew."""
        await self._breakers.refresh()
        return await self._status(name, deep=deep)

    async def _status(self, name: str, *, deep: bool = False) -> ProviderStatus:
        profile, settings = self.adapters[name].profile, self._configuration.provider(name)
        access = f"{settings.access} ({profile.strength.get(settings.access, 'none')})"
        status = ProviderStatus(
            name=name,
            title=profile.title,
            state="ready",
            access=access,
            capabilities=_capabilities(profile),
            needs_login=profile.billing != "local",
        )

        def lacking(state: ProviderState, reason: str, next_step: str) -> ProviderStatus:
            return status.model_copy(update={"state": state, "reason": reason, "next_step": next_step})

        if not settings.enabled:
            return lacking("disabled", "disabled in the configuration", f"set enabled = true under [providers.{name}]")
        program = self._find(name)
        if isinstance(program, Missing):
            return lacking("missing", program.reason, program.next_step)
        model, circuit = self._breakers.status(name, self._account(name)) or ("", None)
        status = status.model_copy(update={"path": program.path, "circuit": circuit})
        variables = build_environment(profile, settings, self._environ).variables
        if deep:
            found = await self._versions.ask(profile, program, variables)
            if isinstance(found, Missing):
                return lacking("broken", found.reason, found.next_step)
        else:
            found = self._versions.remembered(program, variables)
        logged_in = await self._login(name, program, anew=deep)
        status = status.model_copy(
            update={
                "version": found.version_text or None if found else None,
                "transport": _transport(profile, found),
                "logged_in": logged_in,
            }
        )
        if logged_in is False and profile.login is not None:
            return lacking("logged_out", "nobody is logged in", profile.login.hint)
        if circuit is not None and circuit["state"] is CircuitState.OPEN:
            return lacking(
                "ready",
                f"{f'its model {model!r} is ' if model else ''}left alone until {circuit['reset_at']}: "
                f"it failed, the last time with {circuit['last_failure']}",
                "ask another provider until then, or `dragoman doctor --deep`, which asks all the same",
            )
        return status

    async def statuses(self, *, deep: bool = False) -> list[ProviderStatus]:
        """What is known of every provider, in order; asked for all at once."""
        found: dict[str, ProviderStatus] = {}
        await self._breakers.refresh()

        async def ask(name: str) -> None:
            found[name] = await self._status(name, deep=deep)

        async with anyio.create_task_group() as asking:
            for name in self.adapters:
                asking.start_soon(ask, name)
        broken = [
            ProviderStatus(
                name=name, title=name, state="broken", reason=reason, next_step="update or remove its package"
            )
            for name, reason in self._broken.items()
        ]
        return [*(found[name] for name in self.adapters), *broken]

    def others(self, name: str) -> Iterable[CircuitKey]:
        """The circuits of the other providers that are present and not known to be logged out. Starts nothing."""
        return (
            self._circuit(other)
            for other in self.present()
            if other != name and self._logins.get(other, (0.0, None))[1] is not False
        )

    async def is_logged_in(self, name: str) -> bool:
        """Whether the CLI itself says, now, that somebody is logged in."""
        program = self._find(name)
        return isinstance(program, Program) and await self._login(name, program, anew=True) is True

    def identity(self, name: str) -> str | None:
        """What makes the answers of a provider its own: its program as it is now, its account, how it is set up.

        None: it cannot be asked. Starts nothing.
        """
        if name not in self.adapters or not self._enabled(name) or isinstance(program := self._find(name), Missing):
            return None
        try:
            file = identity_of(program)
        except OSError:
            return None
        settings = self._configuration.provider(name)
        setup = settings.model_dump_json(include={"args", "env", "model", "credentials"})
        return repr((name, self._account(name), file, setup))

    def forget_login(self, name: str) -> None:
        """A call found the login missing, or working again: ask anew next time."""
        self._logins.pop(name, None)

    def _route(self, name: str) -> Route:
        if name not in self.adapters:
            raise self.unknown(name)
        if not self._enabled(name):
            raise _not_found(f"{name} is disabled in the configuration", f"set enabled = true under [providers.{name}]")
        program = self._found_lately(name)
        if isinstance(program, Missing):
            raise _not_found(f"{name}: {program.reason}", program.next_step)
        settings = self._configuration.provider(name)
        if name not in self._timeouts:
            longer = self.adapters[name].profile.timeouts
            self._timeouts[name] = settings.timeouts.over(TimeoutConfig().raised(longer), longer)
        timeouts = self._timeouts[name]
        return Route(name, self.adapters[name], settings, program, timeouts, self._account(name))

    def _circuit(self, name: str, model: str | None = None) -> CircuitKey:
        return records.CircuitKey(name, self._account(name), model or self._configuration.provider(name).model or "")

    def _account(self, name: str) -> str:
        if name not in self._accounts:
            profile, settings = self.adapters[name].profile, self._configuration.provider(name)
            variables = build_environment(profile, settings, self._environ).variables
            self._accounts[name] = account_of(profile, settings, variables)
        return self._accounts[name]

    def _enabled(self, name: str) -> bool:
        return self._configuration.provider(name).enabled

    def _found_lately(self, name: str) -> Program | Missing:
        """The program, looked for anew when it is gone or was last found a while ago."""
        until, program = self._lately.get(name, (0.0, None))
        if program is None or time.monotonic() > until or not os.access(program.argv[0], os.X_OK):
            program = self._find(name)
            if isinstance(program, Missing):
                return program
            self._lately[name] = (time.monotonic() + FOUND_S, program)
        return program

    def _find(self, name: str) -> Program | Missing:
        return find_program(self.adapters[name].profile, self._configuration.provider(name), self._environ)

    async def _login(self, name: str, program: Program, *, anew: bool) -> bool | None:
        adapter = self.adapters[name]
        login = adapter.profile.login
        if login is None:
            return None
        wanted_since = anyio.current_time() - (0 if anew else LOGIN_KNOWN_S)
        # One at a time, whose answer is that of all who wait: many would race for the refresh token.
        async with self._asking.setdefault(name, anyio.Lock()):
            known = self._logins.get(name)
            if known is not None and known[0] > wanted_since:
                return known[1]
            environment = build_environment(adapter.profile, self._configuration.provider(name), self._environ)
            logged_in = None
            with suppress(SpawnError):
                said = await inquire(self._spawner, program, login.argv, environment.variables, LOGIN_TIMEOUT_S)
                if said.code is not None:
                    logged_in = adapter.logged_in(said.code, said.stdout, said.stderr)
            self._logins[name] = (anyio.current_time(), logged_in)
            return logged_in


def _transport(profile: Profile, found: Installed | None) -> str | None:
    if found is not None:
        return profile.transport(found)
    return profile.transports[0].name if len(profile.transports) == 1 else None


def _capabilities(profile: Profile) -> tuple[Capability, ...]:
    has: Mapping[Capability, bool] = {
        "model": profile.takes_model,
        "system_prompt": profile.takes_system_prompt,
        "cwd": profile.reads_folder,
        # What prints only at its end has no clock for a silence.
        "streaming": "idle" in profile.clocks,
    }
    return tuple(word for word, true in has.items() if true)


def _not_found(message: str, next_step: str) -> Exception:
    return error_of(ErrorCode.NOT_FOUND, message, next_step=next_step)
