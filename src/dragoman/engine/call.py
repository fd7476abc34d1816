"""A call as the engine owns it, from the request to the reply."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio

from dragoman.engine.events import EventLog
from dragoman.latch import Latch
from dragoman.schemas import ErrorCode, ErrorInfo, LLMRequest, LLMResponse

if TYPE_CHECKING:
    from dragoman.engine.attempt.host import DialogueHost
    from dragoman.engine.context import Handler
    from dragoman.engine.jobs.detached import Adopted
    from dragoman.schemas.errors import Effects
    from dragoman.store import Posted
    from dragoman.structured import AsyncValidationStrategy, OutputSchema


HURRY_S = 1.0
"""How long a call that was cancelled, or has no time left, gives the disk to keep what came of it."""


class Call:
    """One question on its way. It runs in the engine's task: a caller that goes away does not end it, `cancel` does.

    `streams`: its face hands text on as it comes and cannot take it back, so after the first piece of an answer nobody
    else may begin another one; a face that begins to do so later sets it then. `insists`: the provider is asked even if
    its circuit breaker is open.
    """

    def __init__(
        self,
        request: LLMRequest,
        face: str,
        *,
        streams: bool = False,
        insists: bool = False,
        call_id: str | None = None,
    ) -> None:
        self.id = call_id or secrets.token_hex(8)
        self.conversation_id: str | None = None
        """Known once the call began to be answered."""
        self.request = request
        self.face = face
        self.streams = streams
        self.insists = insists
        self.schema: OutputSchema | None = None
        """What the answer is to match, where it is more than the request can say, such as a Pydantic class."""
        self.validators: tuple[AsyncValidationStrategy, ...] | None = None
        """The same for what it must pass."""
        self.work: Handler | None = None
        """What answers it instead of a provider, such as by asking several."""
        self.adopted: Adopted | None = None
        """The child of an earlier server that answers it."""
        self.taken_over_at: float | None = None
        """When it was taken over from an earlier server, on the scale of `created`."""
        self.caught_up = Latch()
        """Set when what its child had said before it was taken over was heard here, or it ended."""
        self.host: DialogueHost | None = None
        """The channel of the child that works on it, once there is one."""
        self.handed_out = False
        """Whether somebody who does not wait for it was told its id: from then on its children are to outlive us."""
        self.left = False
        """Whether it goes on without us, since this process ends."""
        self.job = False
        """Whether it is written down so that it can be fetched by its id."""
        self.is_recorded = False
        """Whether the store was open when it began: then it has its beginning, or is about to."""
        self.is_kept = False
        """Whether, as a job, it is written down or about to be: no other may have a child that outlives us."""
        self.written: Posted | None = None
        """What becomes of its record as a job; None: that is known."""
        self.goes_on = False
        """Whether the next server goes on with it, even where it has no child just then."""
        self.created = time.monotonic()
        self.created_at = time.time()
        self.ended_at: float | None = None
        """When it ended, in seconds since 1970. Known before its reply is told."""
        self.deadline: float | None = None
        """When the clock `call` ends it, on the scale of `created`. Known once it is known who answers."""
        self.log = EventLog()
        self.scope = anyio.CancelScope()
        self.is_safe = False
        """Whether nobody will ever look for what its child said: its reply is on disk, where that is looked for."""
        self.keeping = anyio.CancelScope()
        """Around the wait for the disk when it has its reply. Its deadline is that of the wait."""
        self._reply: LLMResponse | None = None
        self._done = Latch()
        self._told: list[Callable[[Call], None]] = []
        self._settled: anyio.Event | None = None
        self.waits_for: str | None = None
        """What others have that it needs before it can begin, in words."""
        self._is_cancelled = False

    @property
    def reply(self) -> LLMResponse | None:
        """The reply, once there is one."""
        return self._reply

    async def outcome(self) -> LLMResponse:
        """Wait for the reply. A failure is a reply too and raises nothing. Giving up the wait does not end the call."""
        await self._done.wait()
        assert self._reply is not None  # noqa: S101 - set before the event
        return self._reply

    @property
    def is_taken_over(self) -> bool:
        """Whether it was begun by an earlier server, of which nothing but the job may have come to the disk."""
        return self.taken_over_at is not None

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody ended it, though it may not have its reply yet."""
        return self._is_cancelled

    @property
    def is_interrupted(self) -> bool:
        """Whether its end, if it has come to none by itself, is that of its server: nobody has cancelled it."""
        return self.job and not self._is_cancelled

    @property
    def outlives_us(self) -> bool:
        """Whether the child that works on it goes on when this process ends."""
        return self.adopted is not None or (self.host is not None and self.host.outlives_in is not None)

    @property
    def can_be_left(self) -> bool:
        """Whether the next server can go on with it, from its child or, if it has none just now, from its beginning."""
        if self.host is None and self.adopted is None:
            return self.goes_on
        return self.outlives_us and not (self.host is not None and self.host.finishing)

    @contextmanager
    def standing_behind(self, what: str) -> Generator[None]:
        """While it waits for others: when it will have a child, nobody knows. For layers that have it wait."""
        self.waits_for = what
        self.settle()
        try:
            yield
        finally:
            self.waits_for = None

    async def settled(self) -> None:
        """Wait until what becomes of its child is known, where it was handed out before it had one; or it ended, or
        waits for others."""
        self._settled = self._settled or anyio.Event()
        if self._reply is None and self.waits_for is None:
            await self._settled.wait()

    def settle(self) -> None:
        """It is known. For whoever hands its child over."""
        if self._settled is not None:
            self._settled.set()

    def cancel(self) -> None:
        """End the call. Its child is stopped in the background; `outcome` gives what was received."""
        self._is_cancelled = True
        self.stop()

    def stop(self) -> None:
        """End what it waits for. For the engine, which ends it without anybody having cancelled it."""
        self.scope.cancel()
        # Of no effect before that wait begins.
        self.keeping.deadline = min(self.keeping.deadline, anyio.current_time() + HURRY_S)

    def finish(self, reply: LLMResponse) -> None:
        """Set the reply. For the engine."""
        self._reply = reply
        self.log.close()
        self.caught_up.set()
        self._done.set()
        self.settle()
        for act in self._told:
            act(self)

    def on_end(self, act: Callable[[Call], None]) -> None:
        """Have `act` called once the reply is there. It must neither wait nor raise."""
        self._told.append(act)

    @asynccontextmanager
    async def owned(self) -> AsyncGenerator[Call]:
        """Tie the call to the block: leaving it before the reply is there cancels the call."""
        try:
            yield self
        finally:
            if self._reply is None:
                self.cancel()


def interruption(effects: Effects) -> ErrorInfo:
    """Why a job has no answer whose server ended."""
    return ErrorInfo.of(
        ErrorCode.INTERNAL,
        "the server that worked on it ended before it was done",
        next_step="ask again, in the same conversation",
        effects=effects,
    )


def session_told(provider: str | None, session: str | None) -> tuple[str, ...]:
    """Where what an interrupted job did can be looked at: in the provider's own session."""
    return (f"{provider}'s own session of it is {session}",) if session is not None else ()
