"""The innermost layer: one attempt, from the plan to the outcome."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import anyio

from dragoman.adapters.base import (
    Argument,
    Completed,
    Failed,
    Installed,
    Launch,
    Outcome,
    PrivateFile,
    Profile,
    Refused,
    Turn,
    Value,
)
from dragoman.config import Configuration, state_folder
from dragoman.engine.advice import advised
from dragoman.engine.clocks import Clocks, timed_out
from dragoman.engine.context import Context, Route, Saying
from dragoman.engine.detached import Heard, jobs_folder, set_up
from dragoman.engine.environment import Environment, Lineage, build_environment
from dragoman.engine.finding import Missing, Versions
from dragoman.engine.host import DialogueHost
from dragoman.engine.layout import lay_out, private_folder, read_settings
from dragoman.engine.resets import with_reset
from dragoman.engine.validation import Wanted
from dragoman.engine.workspaces import check_folder
from dragoman.log import logger, redact
from dragoman.processes import Child, Command, Detached, PrivateFolder, Spawner, SpawnError, empty_folder
from dragoman.schemas import Attempt, Effects, ErrorCode, ErrorInfo, Event, LLMRequest, Retrying, Started, error_from
from dragoman.schemas.text import plain

ARGUMENT_BYTES = 100 * 1024
"""The longest argument we send; Linux refuses 131,072 bytes, Windows much less."""
STDERR_TAIL_BYTES = 2000
MESSAGE_CHARS = 4000
"""How much of a CLI's own words an error has."""

Serve = Callable[[DialogueHost, PrivateFolder, Context], None]
"""Hands a host to the engine, which runs it to its end and then removes the folder and frees the session."""


class Runner:
    """See the module."""

    def __init__(
        self,
        configuration: Configuration,
        environ: Mapping[str, str],
        workspaces: tuple[Path, ...],
        spawner: Spawner,
        versions: Versions,
        serve: Serve,
    ) -> None:
        self._configuration = configuration
        self._environ = environ
        self._workspaces = workspaces
        self._spawner = spawner
        self._versions = versions
        self._serve = serve
        self._environments: dict[str, Environment] = {}
        self._empty_path: Path | None = None

    async def run(self, context: Context) -> Outcome:
        """Put the question to the provider once."""
        route = context.route
        if route is None:
            raise ValueError("running stands behind the route")
        started = time.monotonic()
        environment = self._environment(route)
        outcome = await self._attempt(context, route, environment)
        outcome = _with_key_hint(outcome, route.name, environment)
        error = outcome.error if isinstance(outcome, Failed) else None
        context.attempts.append(
            Attempt(
                number=len(context.attempts) + 1,
                provider=route.name,
                duration_s=round(time.monotonic() - started, 6),
                error=error,
                usage=outcome.usage or context.usage,
            )
        )
        return outcome

    async def _attempt(self, context: Context, route: Route, environment: Environment) -> Outcome:
        lineage = Lineage.read(self._environ, self._configuration.limits.max_depth)
        adopted, context.call.adopted = context.call.adopted, None
        heard: Heard | None = adopted.heard if adopted else None
        if heard is None:
            turn = self._turn(context, route)
            with anyio.move_on_after(context.deadline - anyio.current_time()):
                heard = Heard(route.name, turn, await self._installed(route, environment))
        if heard is None:
            return timed_out("call", route.timeouts.call, because=f"{route.program.path} did not tell its version")
        turn, installed = heard.turn, heard.installed
        try:
            plan = route.adapter.plan(turn, installed)
        except Refused as refused:
            return Failed(refused.error)
        launch = plan.channel
        outlives_in = None
        if turn.detached:
            outlives_in = adopted.folder if adopted else _job_folder(context)
        folder = private_folder(launch, route.name, outlives_in)
        context.argv_shape = argument_shape(route.program.argv, launch.argv)
        clocks = Clocks(route.timeouts, route.adapter.profile, context.deadline)
        listener = _Listener(context, clocks)
        host: DialogueHost | None = None
        outcome: Outcome | None = None
        before = time.monotonic()
        try:
            with clocks.scope:
                clocks.spawning()
                runs_in = self._folder(launch, folder, turn)
                if adopted is None:
                    variables = {
                        **route.program.env,
                        **environment.variables,
                        **lay_out(launch, folder, environment.variables),
                        **lineage.child(context.call.id),
                    }
                    detached = None
                    if outlives_in is not None:
                        detached = set_up(outlives_in, heard, route.adapter, plan, context.deadline)
                    child = await self._start(route, launch, folder, variables, runs_in, detached)
                else:
                    child = adopted.child
                host = DialogueHost(
                    child,
                    route.adapter.dialogue(plan),
                    launch,
                    line_bytes=self._configuration.limits.line_bytes,
                    stderr_bytes=self._configuration.limits.stderr_bytes,
                    grace_s=route.timeouts.grace,
                    outlives_in=outlives_in,
                )
                self._serve(host, folder, context)
                context.channel = f"{os.getpid()}:{child.pid}"
                clocks.starting()
                context.take(Started(provider=route.name, model=turn.model, version=installed.version_text or None))
                outcome = await host.turn(replace(turn, runs_in=runs_in), listener)
        except anyio.get_cancelled_exc_class():
            if host is not None and host.outlives_in is not None and not context.call.scope.cancel_called:
                # Not the call is cancelled but whoever opened the engine.
                context.call.left = True
            raise
        except SpawnError as error:
            return Failed(_spawn_failure(error))
        except OSError as error:
            # A private file could not be written, or no pipe made: the disk is full, or there are too many files open.
            return Failed(ErrorInfo.of(ErrorCode.INTERNAL, f"the call could not be set up: {error}"))
        finally:
            if host is None:
                folder.close()
            elif context.call.left:
                host.leave()
            else:
                host.stop(finished=outcome is not None)
            logger.bind(
                call=context.call.id,
                argv=context.argv_shape,
                seconds=round(time.monotonic() - before, 3),
                ended=_ending(outcome, clocks),
            ).info("{} ran", route.name)
        if outcome is None:
            outcome = listener.timeout()
        return _checked(outcome, context, host)

    def _environment(self, route: Route) -> Environment:
        """Nothing it is made of changes while this runs."""
        if route.name not in self._environments:
            built = build_environment(route.adapter.profile, route.settings, self._environ)
            self._environments[route.name] = built
        return self._environments[route.name]

    def _turn(self, context: Context, route: Route) -> Turn:
        request, profile = context.request, route.adapter.profile
        settings_access = route.settings.access
        if request.access not in profile.strength:
            raise _refusal(
                f"{route.name} cannot be held to access {request.access!r}",
                f"ask with one of: {', '.join(profile.strength)}",
            )
        if _rank(request.access) > _rank(settings_access):
            raise _refusal(
                f"access {request.access!r} is more than the configured {settings_access!r}",
                f"set `access` under [providers.{route.name}] in your own configuration file",
            )
        for name, given, taken in (
            ("model", request.model, profile.takes_model),
            ("system_prompt", request.system_prompt, profile.takes_system_prompt),
            ("cwd", request.cwd, profile.reads_folder),
            ("effort", request.effort, bool(profile.efforts)),
            ("temperature", request.temperature, profile.takes_temperature),
            ("max_tokens", request.max_tokens, profile.takes_max_tokens),
            ("background", request.background or None, profile.detaches),
        ):
            if given is not None and not taken:
                raise _refusal(f"{route.name} has no use for `{name}`", f"leave out `{name}`", ErrorCode.BAD_REQUEST)
        if request.effort is not None and request.effort not in profile.efforts:
            raise _refusal(
                f"{route.name} has no effort {request.effort!r}",
                f"use one of: {', '.join(profile.efforts)}",
                ErrorCode.BAD_REQUEST,
            )
        if len(request.prompt.encode()) > self._configuration.limits.prompt_bytes:
            raise _refusal(
                f"the prompt is over {self._configuration.limits.prompt_bytes} bytes",
                "shorten it, or raise `prompt_bytes` under [limits]",
                ErrorCode.PROMPT_TOO_LARGE,
            )
        cwd = None
        if request.cwd is not None:
            own = route.settings.workspaces
            cwd = check_folder(request.cwd, self._workspaces if own is None else own)
        saying = context.saying or Saying(context.prompt)
        wanted = context.wanted
        system = context.thread.system_prompt if request.system_prompt is None else request.system_prompt
        return Turn(
            id=context.call.id,
            prompt=saying.prompt,
            system=system if profile.takes_system_prompt else None,
            model=request.model or route.settings.model,
            access=request.access,
            cwd=cwd,
            session=saying.session,
            history=saying.history,
            schema=wanted.native.schema if wanted and wanted.native else None,
            effort=request.effort,
            temperature=_temperature(request, profile, wanted),
            max_tokens=request.max_tokens,
            detached=request.background and context.call.job,
        )

    async def _installed(self, route: Route, environment: Environment) -> Installed:
        names = frozenset(environment.variables)
        settings = read_settings(route.adapter.profile.settings, environment.variables)
        if not route.adapter.profile.plan_needs_version:
            return Installed(route.program.path, environment=names, settings=settings)
        found = await self._versions.ask(route.adapter.profile, route.program, environment.variables)
        if isinstance(found, Missing):
            raise error_from(ErrorInfo.of(ErrorCode.NOT_FOUND, found.reason, next_step=found.next_step))
        return replace(found, settings=settings)

    async def _start(
        self,
        route: Route,
        launch: Launch,
        folder: PrivateFolder,
        variables: Mapping[str, str],
        cwd: Path,
        detached: Detached | None,
    ) -> Child:
        argv = [*route.program.argv, *(_spelled(argument, folder) for argument in launch.argv), *route.settings.args]
        for argument in argv:
            if len(argument.encode()) > ARGUMENT_BYTES:
                raise _refusal(f"an argument is over {ARGUMENT_BYTES} bytes", "shorten it", ErrorCode.PROMPT_TOO_LARGE)
        stdout_file = folder.path / "stdout" if launch.stdout.value == "file" else None
        return await self._spawner.spawn(
            Command(argv, variables, cwd, stdout_file, remove=folder.made, detached=detached)
        )

    def _folder(self, launch: Launch, folder: PrivateFolder, turn: Turn) -> Path:
        """Where a child runs."""
        if launch.runs_in is not None:
            return folder.folder(launch.runs_in.name)
        return turn.cwd or self._empty(folder)

    def _empty(self, folder: PrivateFolder) -> Path:
        """Where a child runs that is to see no files."""
        with suppress(OSError):
            if self._empty_path is None:
                self._empty_path = state_folder() / "empty"
            if empty_folder(self._empty_path):
                return self._empty_path
        return folder.empty()


class _Listener:
    """Hears one attempt: keeps its events, keeps its clocks going."""

    def __init__(self, context: Context, clocks: Clocks) -> None:
        self._context = context
        self._clocks = clocks
        self._retrying: Retrying | None = None

    def event(self, event: Event) -> None:
        self._context.take(event)
        if isinstance(event, Retrying):
            self._retrying = event

    def alive(self) -> None:
        self._retrying = None
        self._clocks.alive()

    def timeout(self) -> Failed:
        """The failure when a clock fired."""
        because = f"the CLI was retrying by itself: {self._retrying.cause}" if self._retrying else ""
        return timed_out(self._clocks.fired, self._clocks.seconds(), because=because)


def _job_folder(context: Context) -> Path:
    """A folder for the next child: an earlier attempt's may still be in use."""
    number = len(context.attempts)
    return jobs_folder() / (f"{context.call.id}-{number}" if number else context.call.id)


def _temperature(request: LLMRequest, profile: Profile, wanted: Wanted | None) -> float | None:
    if request.temperature is not None or wanted is None or wanted.schema is None:
        return request.temperature
    return 0.0 if profile.takes_temperature and "temperature" not in wanted.unsupported else None


def argument_shape(program: tuple[str, ...], arguments: tuple[Argument, ...]) -> str:
    """An argv for the log: the program's name and the flags, nothing that a caller wrote."""
    words = [Path(program[0]).name, *program[1:]]
    for argument in arguments:
        match argument:
            case str():
                words.append(argument)
            case Value(prefix=prefix):
                words.append(f"{prefix}…")
            case PrivateFile(prefix=prefix, name=name):
                words.append(f"{prefix}<{name}>")
    return " ".join(words)


def _spelled(argument: Argument, folder: PrivateFolder) -> str:
    match argument:
        case str():
            return argument
        case Value(prefix=prefix, value=value):
            return prefix + value
        case PrivateFile(prefix=prefix, name=name, content=content):
            return prefix + str(folder.write(name, content))


def _checked(outcome: Outcome, context: Context, host: DialogueHost | None) -> Outcome:
    """The outcome, with the child's last words if it is a failure."""
    if isinstance(outcome, Completed):
        if outcome.text is not None or not context.lost_bytes:
            return outcome
        outcome = Failed(_overflow(context), model=outcome.model, usage=outcome.usage)
    error = outcome.error.with_effects(_effects(context))
    # Redacted before it is cut to its length: half a key has no recognisable shape.
    message = redact(plain(error.message[: 4 * MESSAGE_CHARS])).strip() or "it failed without saying why"
    if len(message) > MESSAGE_CHARS:
        message = f"{message[:MESSAGE_CHARS]}…"
    said = error.stderr_tail or (host.stderr.text(4 * STDERR_TAIL_BYTES) if host else "")
    tail = redact(plain(said)).strip()[-STDERR_TAIL_BYTES:]
    error = advised(error.model_copy(update={"message": message, "stderr_tail": tail or None}))
    return replace(outcome, error=with_reset(error, datetime.now().astimezone()))


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


def _with_key_hint(outcome: Outcome, name: str, environment: Environment) -> Outcome:
    if not (isinstance(outcome, Failed) and outcome.error.code is ErrorCode.AUTH and environment.held_back):
        return outcome
    keys = ", ".join(environment.held_back)
    hint = (
        f"{keys} is set but was kept from {name}, because it is billed per token; "
        f'to use it, set credentials = "inherit" under [providers.{name}] in your own configuration file'
    )
    steps = f"{outcome.error.next_step}; or: {hint}" if outcome.error.next_step else hint
    return replace(outcome, error=outcome.error.model_copy(update={"next_step": steps}))


def _spawn_failure(error: SpawnError) -> ErrorInfo:
    if error.errno == errno.E2BIG:
        return ErrorInfo.of(ErrorCode.PROMPT_TOO_LARGE, str(error), next_step="shorten what goes on the command line")
    return ErrorInfo.of(
        ErrorCode.NOT_FOUND, str(error), next_step="run `dragoman doctor` to see which programs work here"
    )


def _ending(outcome: Outcome | None, clocks: Clocks) -> str:
    match outcome:
        case Completed(finish_reason=reason):
            return f"completed ({reason})"
        case Failed(error=error):
            return f"failed ({error.code.value})"
        case None:
            return f"stopped ({clocks.fired} clock)" if clocks.scope.cancelled_caught else "cancelled"


def _rank(access: str) -> int:
    return ("read-only", "edit", "full").index(access)


def _refusal(message: str, next_step: str, code: ErrorCode = ErrorCode.POLICY) -> Exception:
    return error_from(ErrorInfo.of(code, message, next_step=next_step))
