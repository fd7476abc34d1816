"""The engine: it owns every call, from the request to the reply, and every process a call starts."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from dragoman.adapters.base import Adapter, Failed, Outcome
from dragoman.adapters.registry import load_adapters
from dragoman.config import Configuration, state_folder
from dragoman.engine.alone import Alone
from dragoman.engine.attempt.environment import Lineage
from dragoman.engine.attempt.host import REPLY_FIRST_S, DialogueHost
from dragoman.engine.attempt.layout import forget_unused
from dragoman.engine.attempt.run import Runner
from dragoman.engine.attempt.workspaces import default_workspaces
from dragoman.engine.call import Call
from dragoman.engine.context import Context, Handler
from dragoman.engine.conversations import Conversations
from dragoman.engine.jobs.detached import forget
from dragoman.engine.jobs.job import running_reply
from dragoman.engine.jobs.jobs import Jobs
from dragoman.engine.layers.breakers import Breakers
from dragoman.engine.layers.cache import Cache
from dragoman.engine.layers.fallback import Fallback
from dragoman.engine.layers.limit import Limiter, StartGate
from dragoman.engine.layers.places import Machine
from dragoman.engine.layers.rates import Rates
from dragoman.engine.layers.retry import Retrier
from dragoman.engine.layers.sessions import Sessions
from dragoman.engine.layers.turns import Turns
from dragoman.engine.layers.validation import Shaping, Validation
from dragoman.engine.locks import Held, Locks
from dragoman.engine.providers.finding import Versions
from dragoman.engine.providers.providers import Providers
from dragoman.engine.record import Recorder
from dragoman.latch import Latch
from dragoman.log import logger
from dragoman.processes import Leftover, PrivateFolder, Spawner, remove_abandoned, sweep
from dragoman.schemas import ErrorCode, ErrorInfo, LLMError, LLMRequest

if TYPE_CHECKING:
    from dragoman.structured import AsyncValidationStrategy, OutputSchema

FINISH_S = 2.0
"""How long children that gave their answer may take to end, when the engine is left in the ordinary way."""
TIDY_AFTER_S = 1.0
"""When after the start leftovers of earlier servers are looked for: whoever waits for the start comes first."""
TIDY_EVERY_S = 600.0
"""How often a server that lives for long looks again."""
READ_S = 60.0
"""How long reading what a child of an earlier server has said may take when its time is over."""
BEGIN_S = 2.0
"""How long leaving waits for jobs that are being started: the next Dragoman is to find them."""
STOP_S = 0.15
"""How long leaving waits for children that were told to stop; their shepherds do the rest. Claude Code kills a server
0.3 s after it told it to stop."""


class Engine:
    """An async context manager. Leaving it stops what still runs; nothing it started is left behind.

    `folder` is where relative folders begin and the default workspace; `environ` is what children may get parts of.
    `spawner` is closed with the engine. `clock` gives seconds since 1970, for what processes share.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        adapters: Mapping[str, Adapter] | None = None,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
        store_file: Path | None = None,
        spawner: Spawner | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.configuration = configuration
        environ = dict(os.environ) if environ is None else environ
        found, broken = load_adapters() if adapters is None else (adapters, dict[str, str]())
        self._spawner = spawner or Spawner()
        versions = Versions(self._spawner)
        self.workspaces = configuration.workspaces or default_workspaces(folder or Path.cwd())
        alone = Alone()
        self._recorder = Recorder(store_file, Lineage.told(environ), alone)
        machine = self._machine = Machine(lambda: state_folder() / "locks", clock, alone)
        breakers = Breakers(
            configuration.breaker, machine, lambda: self._recorder.store, clock, self._recorder.open_if_there
        )
        self.providers = Providers(configuration, found, broken, environ, self._spawner, versions, breakers)
        self._locks = Locks(lambda: state_folder() / "conversations.lock", alone)
        self.jobs = Jobs(self._recorder, self._start, self.providers.check, configuration.conversations)
        self._turns = Turns(configuration, self._recorder, self._locks, self.jobs.finish)
        self.conversations = Conversations(self._recorder, self._locks, self.jobs)
        on_disk = self.jobs.records.on_disk
        runner = Runner(configuration, environ, self.workspaces, self._spawner, versions, self._serve, on_disk)
        # Read from below: each layer goes around what stands above it.
        way = Shaping().around(Sessions(configuration, self._locks).around(runner.run))
        way = self.resilient(way, machine, breakers)
        way = Validation(configuration.retry).around(way)
        way = Fallback(configuration).around(way)
        way = Cache(configuration.cache, self._recorder, self.providers).around(way)
        self._way = self.providers.known_layer(self._recorder.around(self._turns.around(way)))
        self._calls: set[Call] = set()
        self._hosts: dict[DialogueHost, Latch] = {}
        """Those whose children may still be there; the event is set when nothing of them is left."""
        self._tasks: TaskGroup | None = None

    def resilient(self, way: Handler, machine: Machine, breakers: Breakers) -> Handler:
        """The route, and the layers between it and an attempt. Read from below."""
        attempts = Retrier(self.configuration.retry).around(StartGate(machine).around(way))
        way = Limiter(self.configuration, machine).around(breakers.around(attempts, self.providers))
        self.rates = Rates(self.configuration)
        asked = breakers.ahead(self.rates.around(way), self.providers)

        async def admitted(context: Context) -> Outcome:
            # What an earlier server's child says is not asked for any more: nobody may refuse it, or have it wait.
            return await (asked if context.call.adopted is None else attempts)(context)

        return self.providers.route_layer(admitted)

    async def __aenter__(self) -> Self:
        self._tasks = self._recorder.tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._tidy)
        self._tasks.start_soon(self.jobs.watch)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = self._running()
        with anyio.CancelScope(shield=True):
            self._recorder.leaving()
            await self._leave(FINISH_S if kind is None else 0)
            tasks.cancel_scope.cancel()
        # The group is not told of the error, which it would wrap in an ExceptionGroup: the caller gets it as it is.
        try:
            await tasks.__aexit__(None, None, None)
        finally:
            for host in self._hosts:
                # Its task was cancelled before its first step, so nobody else closes this child.
                if host.is_left:
                    host.child.leave()
                else:
                    host.child.close()
            self._spawner.close()
            with anyio.CancelScope(shield=True):
                await self._recorder.close()
            self._locks.close()
            self._machine.close()

    def submit(
        self,
        request: LLMRequest,
        *,
        face: str = "library",
        streams: bool = False,
        insists: bool = False,
        schema: OutputSchema | None = None,
        validators: tuple[AsyncValidationStrategy, ...] | None = None,
    ) -> Call:
        """Start a call. It goes on until it ends or is cancelled, whoever waits for it. See `Call`."""
        call = Call(request, face, streams=streams, insists=insists)
        call.schema, call.validators = schema, validators
        self._start(call)
        return call

    def _start(self, call: Call) -> None:
        tasks = self._running()
        self._calls.add(call)
        tasks.start_soon(self._run, call)

    @asynccontextmanager
    async def asking(
        self,
        request: LLMRequest,
        *,
        face: str = "library",
        streams: bool = False,
        insists: bool = False,
        schema: OutputSchema | None = None,
        validators: tuple[AsyncValidationStrategy, ...] | None = None,
    ) -> AsyncGenerator[Call]:
        """A call that is cancelled when the block is left before its reply is there. See `Call`."""
        call = self.submit(request, face=face, streams=streams, insists=insists, schema=schema, validators=validators)
        async with call.owned():
            yield call

    def kill(self) -> None:
        """Kill every child that is not to outlive us, without waiting. For a process that is about to leave."""
        for host in self._ours():
            host.child.kill()

    def terminate(self) -> None:
        """Tell every child to end that is not to outlive us, without waiting."""
        for host in self._ours():
            host.terminate()

    def _ours(self) -> list[DialogueHost]:
        return [host for host in self._hosts if host.outlives_in is None or host.finishing]

    async def _run(self, call: Call) -> None:
        context = Context(call, self.configuration.limits.capture_bytes)
        if call.adopted is not None:
            # What it said in its time is an answer, however late somebody comes to read it.
            context.deadline = anyio.current_time() + max(call.adopted.heard.until - time.time(), READ_S)
        outcome: Outcome | None = None
        try:
            with call.scope:
                try:
                    way = self._way if call.work is None else self._recorder.around(call.work)
                    outcome = await way(context)
                except LLMError as error:
                    outcome = Failed(error.info)
                except Exception as error:  # noqa: BLE001 - a fault of ours must end as a reply, not as a hang
                    outcome = _fault(call, error)
        finally:
            # Also when what is cancelled is whoever opened the engine: others may wait for the reply.
            with anyio.CancelScope(shield=True):
                await self._end(call, context, outcome)
        await self._turns.settle(context)

    async def _end(self, call: Call, context: Context, outcome: Outcome | None) -> None:
        if outcome is None and call.can_be_left and not call.scope.cancel_called:
            # Not the call is cancelled but whoever opened the engine.
            call.left = True
        if call.adopted is not None:
            # Nobody came to listen to it.
            if call.left:
                call.adopted.child.leave()
            else:
                call.adopted.child.close()
        if call.left:
            if context.turn is not None:
                context.turn.lock.release()
            self._calls.discard(call)
            call.finish(running_reply(call))
            return
        try:
            reply = context.reply(outcome)
        except Exception as error:  # noqa: BLE001 - such as a strange adapter's outcome, which fits into no reply
            reply = Context(call, 0).reply(_fault(call, error))
        # Clocks are set back.
        call.ended_at = max(call.created_at, context.ended_at or time.time())
        if context.turn is not None:
            reply = reply.model_copy(update={"conversation_id": context.turn.conversation_id})
        if context.route is not None and reply.error is not None and reply.error.code is ErrorCode.AUTH:
            self.providers.forget_login(context.route.name)
        if self.configuration.log.content:
            logger.bind(call=call.id, prompt=call.request.prompt, answer=reply.text).info("content of the call")
        try:
            self.jobs.records.ending(call, reply)
            # Nobody hears of a turn before it is on disk, nor of an answer that is to be fetched.
            reply = await self._turns.keep(context, reply)
            if context.turn is None or context.turn.is_settled:
                call.is_safe = await self.jobs.records.safe(call)
        finally:
            call.finish(reply)
            call.host = None
        await anyio.sleep(REPLY_FIRST_S)
        self._recorder.ended(context, reply)
        self.jobs.ended(call, reply, context.other_bytes)
        self._calls.discard(call)

    async def _tidy(self) -> None:
        """Look after what other servers left, and let go of what is old, now and again."""
        await anyio.sleep(TIDY_AFTER_S)
        # Imported only now, for the sake of the start, and in a thread, so that the first call seldom waits for it.
        await anyio.to_thread.run_sync(import_module, "dragoman.store.names")
        while True:
            try:
                await self._recorder.tidy()
                await self.jobs.tidy()
                if self._recorder.store is not None:
                    kept = self.configuration.conversations
                    await self.conversations.expire(kept.keep_days, kept.keep_mb)
                await anyio.to_thread.run_sync(forget_unused, time.time(), self.configuration.conversations.keep_days)
                await anyio.to_thread.run_sync(remove_abandoned)
            except LLMError as error:
                # A store that takes nothing has said so where it mattered more.
                logger.info("what is old could not be let go of: {}", error)
            except Exception as error:  # noqa: BLE001 - what others left must not end our own calls
                logger.opt(exception=error).error("what earlier servers left could not be looked after")
            await anyio.sleep(TIDY_EVERY_S)

    def _serve(self, host: DialogueHost, folder: PrivateFolder, context: Context) -> None:
        # Entered here and not in the task: between the spawn and the task's first step nobody may lose the child.
        self._hosts[host] = Latch()
        call = context.call
        call.host = host
        if not host.is_adopted:
            self._recorder.process_started(host.child, call, folder.made)
            self.jobs.records.detached(call, host)
        if call.handed_out:
            self._running().start_soon(self.jobs.leave_alone, call, host)
        session, context.session_lock = context.session_lock, None
        self._running().start_soon(self._keep, host, folder, session, call)

    async def _keep(self, host: DialogueHost, folder: PrivateFolder, session: Held | None, call: Call) -> None:
        try:
            try:
                await host.serve()
            except Exception as error:  # noqa: BLE001 - one channel's fault must not end the others' calls
                logger.opt(exception=error).error("a channel failed inside Dragoman")
            if host.is_left:
                folder.leave()
                return
            if host.child.lost:
                self._spawner.rouse()
                # Its shepherd was killed. If the guardian was, too, nobody else knows what it had. The call may have
                # begun another attempt by now, which its id would find as well.
                await anyio.to_thread.run_sync(sweep, [Leftover(host.child.pid, None, host.mark)])
            if await host.child.gone():
                self._recorder.process_ended(host.child, call, is_adopted=host.is_adopted)
                folder.close()
                if session is not None:
                    session.release()
                if host.outlives_in is not None:
                    # Not before its reply is on disk: who comes after our death takes a job without a folder for new.
                    reply = await call.outcome()
                    # A job that goes on without us has a later child.
                    if call.is_safe or reply.status == "running":
                        await anyio.to_thread.run_sync(forget, host.outlives_in)
            else:
                logger.error("process {} could not be killed", host.child.pid)
        finally:
            if session is not None:
                session.release()
            self._hosts.pop(host).set()

    async def _leave(self, patience_s: float) -> None:
        self._stop_calls()
        with anyio.move_on_after(BEGIN_S):
            # What is being written down, to go on without us, may wait for the disk just now.
            await self.jobs.begun()
        self._stop_calls()
        for call in list(self._calls):
            # Cancelled, a call waits for nothing: its child is stopped without it.
            await call.outcome()
        with anyio.move_on_after(patience_s):
            for host in list(self._hosts):
                if host.finishing:
                    await host.gone.wait()
        self.terminate()
        with anyio.move_on_after(STOP_S):
            for cleared in list(self._hosts.values()):
                await cleared.wait()
        self.jobs.leave()

    def _stop_calls(self) -> None:
        for call in list(self._calls):
            if call.can_be_left and not call.scope.cancel_called:
                call.left = True
            call.stop()

    def _running(self) -> TaskGroup:
        if self._tasks is None:
            raise RuntimeError("the engine is not open: use `async with Engine(…)`")
        return self._tasks


def _fault(call: Call, error: Exception) -> Failed:
    logger.opt(exception=error).error("call {} failed inside Dragoman", call.id)
    return Failed(ErrorInfo.of(ErrorCode.INTERNAL, f"a fault in Dragoman: {error!r}", effects="possible"))
