"""A channel that is open: one child process, the dialogue with it, and the turns it works on.

`DialogueHost.serve` owns the child from the spawn to its end and runs in the engine's task group. Turns are put to it
by `DialogueHost.turn`; whoever waits there may go away at any moment, and `stop` then does the rest in the background.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from dragoman.adapters.base import (
    Act,
    Close,
    Dialogue,
    Done,
    Emit,
    Exit,
    Failed,
    Framing,
    Launch,
    Outcome,
    Poison,
    Ready,
    Stdout,
    StopStep,
    Stream,
    Turn,
    TurnId,
    Write,
)
from dragoman.engine.attempt.open_turns import Listener, OpenTurns, crashed, merged, wrote_too_much
from dragoman.engine.attempt.outbox import Outbox
from dragoman.engine.jobs.detached import forget
from dragoman.latch import Latch
from dragoman.log import logger
from dragoman.processes import Child, Detached, LineFramer, Tail
from dragoman.schemas import ErrorCode, ErrorInfo, Notice, Retrying

DRAIN_S = 0.5
"""How long output may still come after the child itself ended: a grandchild can hold the streams for ever."""
STAY_S = 0.5
"""How long a child may stay after it closed its output."""
KILL_S = 1.0
"""How long a killed child may take to be gone; what is still there then is left to `Child.gone`."""
FILE_BYTES = Detached.stdout_bytes
"""The most that a child may write into a file that stands for a stream: unlike a pipe it takes room on the disk."""


REPLY_FIRST_S = 0.005
"""How long what is to be done behind a reply waits: one thread does it all, and the reply is on its way meanwhile."""


class DialogueHost:
    """See the module. One host serves as many turns as its plan's capacity says."""

    def __init__(
        self,
        child: Child,
        dialogue: Dialogue,
        launch: Launch,
        *,
        line_bytes: int,
        stderr_bytes: int,
        grace_s: float,
        outlives_in: Path | None = None,
        mark: str = "",
        may_outlive: Callable[[], Detached] | None = None,
        calm: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
        is_adopted: bool = False,
    ) -> None:
        self.child = child
        self.outlives_in = outlives_in
        """The folder of a child that is to go on when this process ends, unless it is stopped before."""
        self.mark = mark
        """What all that the child started is known by; see `sweep`."""
        self.is_adopted = is_adopted
        """Whether an earlier server started the child, and wrote that down."""
        self.is_left = False
        self._may_outlive = may_outlive
        self._calm = calm
        """Waits until others that are being started need the processor no more."""
        self._begun = Latch()
        self._outlives: Latch | None = None
        """Somebody wants the child to go on when this process ends; set when it is known whether it does."""
        self.gone = Latch()
        self.stderr = Tail(stderr_bytes)
        self.poisoned: str | None = None
        self._dialogue = dialogue
        self._launch = launch
        self._line_bytes = line_bytes
        self._turns = OpenTurns()
        self._ready = Latch()
        self._is_stopping = False
        self._tasks: TaskGroup | None = None
        self._finished = False
        self._grace_s = grace_s
        self._drained = 0
        self._all_drained = Latch()
        self._stdout_drained = Latch()
        self._draining: anyio.CancelScope | None = None
        self._outbox = Outbox(child)

    @property
    def finishing(self) -> bool:
        """Whether the child gave its answer and may end by itself."""
        return self._finished and self._is_stopping

    async def serve(self) -> None:
        """Run the channel until the child ended. Cancelled, it has the child stopped without waiting for that."""
        try:
            await self._calm()
            if self.is_left:
                # It was left before this task came so far.
                return
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._read, Stream.STDOUT)
                tasks.start_soon(self._read, Stream.STDERR)
                self._tasks = tasks
                if self._is_stopping:
                    tasks.start_soon(self._stop_steps)
                if self._outlives is not None:
                    tasks.start_soon(self._go_on_alone, self._outlives)
                self._perform(self._dialogue.start)
                code = await self.child.wait()
                await self._drain()
                replies_now = self._turns.are_awaited
                self._end_all(code)
                # Whoever stops it from here on finds it stopped: a group that is being left takes no more tasks.
                self._tasks = None
                is_busy = self._drained < len(Stream) or self._outbox.is_writing or self._is_stopping
                if replies_now:
                    await anyio.sleep(REPLY_FIRST_S)
                if is_busy or self._outlives is not None:
                    tasks.cancel_scope.cancel()
        finally:
            self._tasks = None
            if self.is_left:
                self.child.leave()
            else:
                self.child.close()
            self._end_all(self.child.exit_code)
            self.gone.set()
            self._ready.set()
            if self._outlives is not None:
                self._outlives.set()

    async def turn(self, turn: Turn, listener: Listener) -> Outcome:
        """Put a turn to the child and wait for its end. The last one is not put twice: its end is waited for again."""
        await self._ready.wait()
        open_turn = self._turns.opened(turn.id)
        if open_turn is None:
            open_turn = self._turns.open(turn, listener)
            self._perform(lambda: self._dialogue.begin(turn))
            self._begun.set()
            if self.gone.is_set():
                # It ended before it took the question; why is in what it said.
                self._end_all(self.child.exit_code)
        return await open_turn.ended(listener)

    def stop(self, *, finished: bool) -> None:
        """Stop the child in the background; `gone` tells when it is. Only the first call counts.

        `finished`: it gave its answer and may end by itself for a moment. From here on no turn's end is the child's
        to tell, whatever it says and however it exits.
        """
        if self._is_stopping:
            return
        self._finished = finished
        self._is_stopping = True
        if self._draining is not None:
            self._draining.cancel()
        if self._turns:
            # They stay open, to be interrupted, but what becomes of them is known.
            self._turns.settle_all(crashed("it was stopped"))
        if self._tasks is not None:
            self._tasks.start_soon(self._stop_steps)

    async def outlive(self) -> bool:
        """Have the child go on when this process ends, if that can be; whether it does. Not told of it before a turn.

        Giving up this wait changes nothing.
        """
        if self._may_outlive is not None and self._outlives is None and not self.gone.is_set():
            self._outlives = Latch()
            if self._tasks is not None:
                self._tasks.start_soon(self._go_on_alone, self._outlives)
        if self._outlives is not None:
            await self._outlives.wait()
        return self.outlives_in is not None

    async def _go_on_alone(self, known: Latch) -> None:
        assert self._may_outlive is not None  # noqa: S101 - asked by `outlive`
        detached: Detached | None = None
        try:
            await self._begun.wait()
            # Nothing more is said to it: what it can do with its input closed is all it is asked to do.
            self._post(None)
            await self._outbox.input_ended.wait()
            if self._is_stopping:
                return
            detached = self._may_outlive()
            if await self.child.detach(detached):
                self.outlives_in = detached.folder
                by_signal = tuple(step for step in self._launch.stop if step.act in ("term", "kill"))
                self._launch = replace(self._launch, stop=by_signal)
        except Exception as error:  # noqa: BLE001 - no room on the disk, or a stranger's adapter
            logger.opt(exception=error).warning("a job that was handed out ends with this process: {!r}", error)
        finally:
            if detached is not None and self.outlives_in is None:
                # Its shepherd, if it is just taking it over, stops it then.
                forget(detached.folder)
            known.set()

    def leave(self) -> None:
        """Let the child go on without us: nothing of it is heard any more."""
        if not self._is_stopping:
            self.is_left = True
            if self._tasks is not None:
                # Before the child is left, which whoever waits for it would take for a fault.
                self._tasks.cancel_scope.cancel()
            self.child.leave()

    def terminate(self) -> None:
        """Tell the whole group to end, now."""
        self.child.signal(signal.SIGTERM)

    async def _stop_steps(self) -> None:
        if self._finished:
            self._post(None)
            if await self._exits_within(self._launch.finish_s):
                return
        killed_at = anyio.current_time() + self._grace_s
        for step in (*(step for step in self._launch.stop if step.act != "kill"), StopStep("kill", KILL_S)):
            rest = KILL_S if step.act == "kill" else killed_at - anyio.current_time()
            patience = rest if step.wait_s is None else min(step.wait_s, rest)
            if self._take(step) and await self._exits_within(patience):
                return
        if self._tasks is not None:
            # Nothing ends it, or nobody tells us of its end: closing it has the tree killed from outside.
            self._tasks.cancel_scope.cancel()

    def _take(self, step: StopStep) -> bool:
        """Take a step; False: it came to nothing, so there is nothing to wait for."""
        match step.act:
            case "interrupt":
                asked = [self._interrupt(turn_id) for turn_id in self._turns]
                return any(asked)
            case "eof":
                # Not behind what waits to be written: a child that never reads would never see it.
                self.child.close_stdin()
            case "term":
                self.child.signal(signal.SIGTERM)
            case "kill":
                self.child.signal(signal.SIGKILL)
        return True

    def _interrupt(self, turn_id: TurnId) -> bool:
        asked = False

        def ask() -> Iterable[Act]:
            nonlocal asked
            acts = self._dialogue.interrupt(turn_id)
            asked = acts is not None
            return acts or ()

        self._perform(ask)
        return asked

    async def _exits_within(self, seconds: float) -> bool:
        if not self.child.exited.is_set():
            with anyio.move_on_after(seconds):
                await self.child.exited.wait()
        return self.child.exit_code is not None

    async def _read(self, stream: Stream) -> None:
        is_stdout = stream is Stream.STDOUT
        read = self.child.read_stdout if is_stdout else self.child.read_stderr
        # Adapters keep some lines of stderr: none of them is longer than all that is kept of it.
        longest = self._line_bytes if is_stdout else min(self._line_bytes, self.stderr.limit)
        framer = LineFramer(longest) if not is_stdout or self._launch.framing is Framing.LINES else None
        if self._ready.is_set():
            # It is asked without a word before: what it says is of the turn, which may be about to begin.
            await self._begun.wait()
        total = 0
        while chunk := await read():
            total += len(chunk)
            if total > FILE_BYTES and self._is_file(stream):
                self._turns.settle_all(wrote_too_much(stream.name.lower(), FILE_BYTES))
                self.stop(finished=False)
                self.child.kill()
            if not is_stdout:
                self.stderr.feed(chunk)
            frames = framer.feed(chunk) if framer else [chunk]
            self._report_skipped(framer)
            self._receive(stream, frames)
        frames = framer.finish() if framer else []
        self._report_skipped(framer)
        self._receive(stream, frames)
        if is_stdout:
            self._stdout_drained.set()
        self._drained += 1
        if self._drained == len(Stream):
            self._all_drained.set()
        if is_stdout and not await self._exits_within(STAY_S) and not self._is_stopping:
            # Nothing can come any more, yet it stays: whoever waits for an answer waits in vain.
            self._turns.settle_all(crashed("it closed its output without an answer, and stayed"))
            self.stop(finished=False)

    async def _drain(self) -> None:
        """Read what the child left, unless nobody waits for it any more."""
        if self._drained == len(Stream) or self._is_stopping:
            return
        with anyio.CancelScope() as self._draining:
            if self._is_file(Stream.STDOUT):
                # Unlike a pipe it may hold any amount, and it has an end.
                await self._stdout_drained.wait()
            with anyio.move_on_after(DRAIN_S):
                await self._all_drained.wait()

    def _is_file(self, stream: Stream) -> bool:
        return self.outlives_in is not None or (stream is Stream.STDOUT and self._launch.stdout is Stdout.FILE)

    def _receive(self, stream: Stream, frames: Sequence[bytes]) -> None:
        if frames:
            self._perform(lambda: self._dialogue.receive(stream, frames), from_stdout=stream is Stream.STDOUT)

    def _report_skipped(self, framer: LineFramer | None) -> None:
        if framer is not None and framer.skipped:
            notice = Notice(message=f"{framer.skipped} line(s) over {framer.max_line} bytes were skipped")
            framer.skipped = 0
            self._turns.emit_to_all(notice)

    def _perform(self, ask: Callable[[], Iterable[Act]], *, from_stdout: bool = False) -> None:
        """Do what the dialogue says. Its errors end the turns, never the engine: an adapter may be a stranger's."""
        try:
            acts = list(ask())
        except Exception as error:  # noqa: BLE001 - whatever a stranger's adapter raises
            logger.opt(exception=error).error("an adapter's dialogue raised {}", type(error).__name__)
            failed = Failed(ErrorInfo.of(ErrorCode.INTERNAL, f"the adapter raised {error!r}", effects="possible"))
            acts = list[Act]()
            self._turns.settle_all(failed)
            self.stop(finished=False)
        events = [act.event for act in acts if isinstance(act, Emit)]
        retrying = any(isinstance(event, Retrying) for event in events)
        alive = (from_stdout and not retrying) or any(not isinstance(event, Retrying) for event in events)
        for act in merged(acts):
            match act:
                case Ready():
                    self._ready.set()
                case Write(data):
                    self._post(data)
                case Close():
                    self._post(None)
                case Emit(turn_id, event):
                    self._turns.emit(turn_id, event)
                case Done(turn_id, outcome):
                    self._turns.end(turn_id, outcome)
                case Poison(reason):
                    self.poisoned = reason
        if alive:
            self._turns.alive()

    def _end_all(self, code: int | None) -> None:
        """The child is gone: whatever turn is open ends, with what the dialogue makes of it."""
        if not self._turns:
            return
        if code is None:
            self._turns.end_all(crashed("it was stopped"))
        elif self.child.lost:
            self._turns.end_all(crashed("what watches over it was killed, and with it the provider's process"))
        else:
            self._perform(lambda: self._dialogue.closed(Exit(code)))
            if self._turns:
                self._turns.end_all(crashed("the adapter left the turn open"))

    def _post(self, data: bytes | None) -> None:
        if self._tasks is None:
            return  # the child is gone
        if self._outbox.is_full:
            self._turns.settle_all(crashed(f"it left {len(self._outbox)} messages unread"))
            self.stop(finished=False)
            return
        self._outbox.put(data, self._tasks)
