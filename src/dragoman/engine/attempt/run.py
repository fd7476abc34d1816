"""The innermost layer: one attempt, from the plan to the outcome."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio

from dragoman.adapters.base import Adapter, Failed, Installed, Launch, Outcome, Plan, Refused, Turn
from dragoman.config import Configuration, state_folder
from dragoman.engine.advice import said_by_system
from dragoman.engine.attempt import arguments
from dragoman.engine.attempt.admission import admitted
from dragoman.engine.attempt.clocks import Clocks, timed_out
from dragoman.engine.attempt.endings import checked, ending, spawn_failure, with_key_hint
from dragoman.engine.attempt.environment import Environment, Lineage, build_environment
from dragoman.engine.attempt.host import DialogueHost
from dragoman.engine.attempt.layout import KEPT, lay_out, private_folder, read_settings
from dragoman.engine.call import Call
from dragoman.engine.context import Context, Route
from dragoman.engine.jobs.detached import Heard, next_folder, set_up
from dragoman.engine.providers.finding import Missing, Versions
from dragoman.log import logger
from dragoman.processes import (
    Child,
    Command,
    Detached,
    KeptFolder,
    PrivateFolder,
    Spawner,
    SpawnError,
    empty_folder,
    read_end,
)
from dragoman.schemas import Attempt, ErrorCode, ErrorInfo, Event, Retrying, Started, error_from

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
        on_disk: Callable[[Call, float], Awaitable[bool]],
    ) -> None:
        """`on_disk` is waited for before a child of the call is started; it is told how many seconds the call has."""
        self._configuration = configuration
        self._environ = environ
        self._workspaces = workspaces
        self._spawner = spawner
        self._versions = versions
        self._serve = serve
        self._on_disk = on_disk
        self._environments: dict[str, Environment] = {}
        self._state_path: Path | None = None
        self._kept: dict[str, KeptFolder] = {}
        """By provider."""

    async def run(self, context: Context) -> Outcome:
        """Put the question to the provider once."""
        route = context.route
        if route is None:
            raise ValueError("running stands behind the route")
        started, adopted = time.monotonic(), context.call.adopted
        environment = self._environment(route)
        outcome = await self._attempt(context, route, environment)
        took_s = time.monotonic() - started
        if adopted is not None:
            # It took as long as its child did, however late somebody came to read what that had said.
            end = read_end(adopted.folder)
            context.ended_at = end.at if end else None
            took_s = max(0.0, (context.ended_at or time.time()) - adopted.child.started_at)
        outcome = with_key_hint(outcome, route.name, environment)
        error = outcome.error if isinstance(outcome, Failed) else None
        context.attempts.append(
            Attempt(
                number=len(context.attempts) + 1,
                provider=route.name,
                duration_s=round(took_s, 6),
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
            turn = admitted(context, route, self._configuration.limits, self._workspaces)
            found = await self._installed(context, route, environment)
            if found is None:
                return timed_out("call", route.timeouts.call, because=f"{route.program.path} did not tell its version")
            heard = Heard(route.name, turn, found, mark=f"{context.call.id}.{secrets.token_hex(4)}")
        turn, installed = heard.turn, heard.installed
        try:
            plan = route.adapter.plan(turn, installed)
        except Refused as refused:
            return Failed(refused.error)
        launch = plan.channel
        outlives_in = None
        if turn.detached:
            outlives_in = adopted.folder if adopted else next_folder(context.call.id)
        may_outlive = None
        if launch.can_be_left and context.call.job and not turn.detached:
            may_outlive = partial(_later_detached, context, heard, route.adapter, plan)
        folder = private_folder(launch, route.name, outlives_in, self._state)
        context.argv_shape = arguments.shape(route.program.argv, launch.argv)
        clocks = Clocks(route.timeouts, route.adapter.profile, context.deadline)
        listener = _Listener(context, clocks)
        host: DialogueHost | None = None
        outcome: Outcome | None = None
        before = time.monotonic()
        try:
            with clocks.scope:
                runs_in = self._folder(launch, folder, turn)
                if adopted is None:
                    variables = {
                        **route.program.env,
                        **environment.variables,
                        **lay_out(launch, folder, environment.variables),
                        **lineage.child(heard.mark),
                    }
                    detached = None
                    if outlives_in is not None:
                        detached = set_up(outlives_in, heard, route.adapter, plan, context.deadline)
                    command = self._command(route, launch, folder, variables, runs_in)
                    command = replace(command, detached=detached, may_detach=may_outlive is not None)
                    await self._on_disk(context.call, clocks.scope.deadline - anyio.current_time())
                    clocks.spawning()
                    child = await self._spawned(command, clocks.scope.deadline)
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
                    mark=heard.mark,
                    may_outlive=may_outlive,
                    calm=self._spawner.calm,
                    is_adopted=adopted is not None,
                )
                self._serve(host, folder, context)
                context.channel = f"{os.getpid()}:{child.pid}"
                clocks.starting()
                context.take(Started(provider=route.name, model=turn.model, version=installed.version_text or None))
                turn = replace(turn, runs_in=runs_in)
                outcome = await host.turn(turn, listener)
            while outcome is None and host is not None and clocks.overslept():
                with clocks.wound_up():
                    outcome = await host.turn(turn, listener)
        except anyio.get_cancelled_exc_class():
            if host is not None and host.outlives_in is not None and not context.call.scope.cancel_called:
                # Not the call is cancelled but whoever opened the engine.
                context.call.left = True
            raise
        except SpawnError as error:
            return Failed(spawn_failure(error))
        except OSError as error:
            # A private file could not be written, or no pipe made: the disk is full, or there are too many files open.
            reason, step = said_by_system(error)
            failure = ErrorInfo.of(ErrorCode.INTERNAL, f"the call could not be set up: {reason}", next_step=step)
            # Or there is no such place any more.
            self._state_path = None
            self._kept.clear()
            return Failed(failure, session="unkept" if launch.keeps_session else None)
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
                ended=ending(outcome, clocks),
            ).info("{} ran", route.name)
        if outcome is None:
            outcome = listener.timeout()
        elif isinstance(outcome, Failed) and adopted and getattr(adopted.child, "stopped_by", None) == "time":
            outcome = timed_out("call", route.timeouts.call)
        return checked(outcome, context, host)

    async def _spawned(self, command: Command, until: float) -> Child:
        if command.detached is None:
            return await self._spawner.spawn(command)
        # Whoever leaves meanwhile leaves it as one that runs: with one that is half-started nobody could go on.
        with anyio.CancelScope(deadline=until, shield=True):
            return await self._spawner.spawn(command)
        await anyio.sleep_forever()
        raise AssertionError("the clock ends the wait")

    def _environment(self, route: Route) -> Environment:
        """Nothing it is made of changes while this runs."""
        if route.name not in self._environments:
            built = build_environment(route.adapter.profile, route.settings, self._environ)
            self._environments[route.name] = built
        return self._environments[route.name]

    async def _installed(self, context: Context, route: Route, environment: Environment) -> Installed | None:
        """What is known of the CLI; None: it did not tell in time."""
        names = frozenset(environment.variables)
        settings = read_settings(route.adapter.profile.settings, environment.variables)
        if not route.adapter.profile.plan_needs_version:
            return Installed(route.program.path, environment=names, settings=settings)
        found = None
        with anyio.move_on_after(context.deadline - anyio.current_time()):
            found = await self._versions.ask(route.adapter.profile, route.program, environment.variables)
        if found is None:
            return None
        if isinstance(found, Missing):
            raise error_from(ErrorInfo.of(ErrorCode.NOT_FOUND, found.reason, next_step=found.next_step))
        return replace(found, settings=settings)

    def _command(
        self, route: Route, launch: Launch, folder: PrivateFolder, variables: Mapping[str, str], cwd: Path
    ) -> Command:
        kept = self._kept.get(route.name)
        if kept is None:
            kept = self._kept[route.name] = KeptFolder(lambda: self._state() / KEPT / route.name)
        argv = [*route.program.argv, *arguments.spelled(launch.argv, folder, kept), *route.settings.args]
        arguments.check_lengths(argv)
        stdout_file = folder.path / "stdout" if launch.stdout.value == "file" else None
        return Command(argv, variables, cwd, stdout_file, remove=folder.made, claim=folder.claim)

    def _folder(self, launch: Launch, folder: PrivateFolder, turn: Turn) -> Path:
        """Where a child runs."""
        if launch.runs_in is not None:
            return folder.folder(launch.runs_in.name)
        return turn.cwd or self._empty(folder)

    def _empty(self, folder: PrivateFolder) -> Path:
        """Where a child runs that is to see no files."""
        with suppress(OSError):
            empty = self._state() / "empty"
            if empty_folder(empty):
                return empty
        return folder.empty()

    def _state(self) -> Path:
        """The state folder; to look whether it is there costs more than what is done in it."""
        if self._state_path is None:
            self._state_path = state_folder()
        return self._state_path


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
        self._context.was_retrying = self._retrying is not None
        because = f"the CLI was retrying by itself: {self._retrying.cause}" if self._retrying else ""
        return timed_out(self._clocks.fired, self._clocks.seconds(), because=because)


def _later_detached(context: Context, heard: Heard, adapter: Adapter, plan: Plan) -> Detached:
    """What becomes of a child of this attempt, while it runs, if its call is handed out."""
    heard = replace(heard, turn=replace(heard.turn, detached=True))
    return set_up(next_folder(context.call.id), heard, adapter, plan, context.deadline)
