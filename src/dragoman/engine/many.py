"""Many questions at once. Answers come as they are there, a failure is one answer among the others, and only so many
questions wait in the engine at a time that none of them is refused a place or waits its time away.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from dragoman.engine.call import Call
from dragoman.engine.combine import Group, judged, judges_request, vote
from dragoman.schemas import (
    Combine,
    Combined,
    ErrorCode,
    ErrorInfo,
    LLMRequest,
    LLMResponse,
    ManyAnswer,
    error_of,
)

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from dragoman.engine.engine import Engine

LOOKAHEAD = 64
"""How many questions are taken from the source beyond those that are asked, to find one whose provider is free."""
HELD = 256
"""How many answers wait at most for an earlier one, where they are wanted in order."""
PAUSE_S = 120.0
"""How long a provider is waited for at most that says when it can be asked again."""
PAUSES = 3
"""How often a question waits for that."""
PATIENCE_S = 86400.0
"""The clock `queue` of each: what its places are waited for is set by the clock of the call."""


def questions(
    prompts: Sequence[str] | None = None,
    providers: Sequence[str] | None = None,
    pairs: Sequence[tuple[str | None, str]] | None = None,
) -> list[tuple[str | None, str]]:
    """Provider and prompt of each question: every prompt to every provider, or the pairs, as they are.

    Raises:
        LLMError: that is no question (code ``bad_request``).
    """
    if pairs and not prompts and not providers:
        return list(pairs)
    if pairs:
        raise _wrong("`pairs` name their own prompts and providers", "give `pairs`, or `prompts` with `providers`")
    if not prompts:
        raise _wrong("there is no question", "give `prompts`, and `providers` if several are to answer, or `pairs`")
    return [(provider, prompt) for prompt in prompts for provider in providers or (None,)]


@dataclass(slots=True)
class _Question:
    number: int
    request: LLMRequest
    pauses: int = 0


@dataclass(slots=True)
class _Provider:
    """One that is asked: how many at once, and from when on."""

    width: int
    running: int = 0
    not_before: float = -math.inf


@dataclass(slots=True)
class _State:
    """What an iteration holds."""

    source: Iterator[_Question]
    send: MemoryObjectSendStream[Call]
    receive: MemoryObjectReceiveStream[Call]
    deadline: float
    waiting: deque[_Question] = field(default_factory=deque[_Question])
    running: dict[Call, _Question] = field(default_factory=dict[Call, _Question])
    providers: dict[str | None, _Provider] = field(default_factory=dict[str | None, _Provider])
    held: dict[int, ManyAnswer] = field(default_factory=dict[int, ManyAnswer])
    due: int = 1
    """The first question that was not handed out; only counted where answers come in order."""

    @property
    def is_late(self) -> bool:
        return anyio.current_time() >= self.deadline


class Many:
    """``async for answer in many``: each answer as soon as it is there. Leaving the iteration cancels what still runs.

    `requests` may be made as they are needed. Iterate once. Afterwards `combined` has what was made of the answers, one
    for each prompt in their order, if that was asked for.
    """

    def __init__(
        self,
        engine: Engine,
        requests: Iterable[LLMRequest],
        *,
        face: str = "library",
        concurrency: int | None = None,
        timeout_s: float | None = None,
        in_order: bool = False,
        combine: Combine = "none",
        judge: str | None = None,
    ) -> None:
        if combine == "judge" and judge is None:
            raise _wrong("nobody is named to judge", "name a provider as `judge`")
        if judge is not None and combine != "judge":
            raise _wrong("`judge` is for combine = 'judge' only", "leave one of them out, or say combine = 'judge'")
        if judge is not None and judge not in engine.providers.adapters:
            raise engine.providers.unknown(judge)  # before all the others were asked in vain
        self.done = 0
        """How many were answered."""
        self.total: int | None = len(requests) if isinstance(requests, Sequence) else None
        """How many questions there are, as far as that is known."""
        self.combined: list[Combined] = []
        self._engine = engine
        self._requests = requests
        self._face = face
        self._width = min(concurrency or math.inf, engine.configuration.limits.max_concurrency)
        self._timeout_s = timeout_s
        self._in_order = in_order
        self._combine: Combine = combine
        self._judge = judge
        self._groups: dict[str, Group] = {}
        self._answers: AsyncGenerator[ManyAnswer] | None = None

    def __aiter__(self) -> AsyncGenerator[ManyAnswer]:
        if self._answers is None:
            self._answers = self._ask()
        return self._answers

    async def aclose(self) -> None:
        """Give up: what still runs is cancelled."""
        if self._answers is not None:
            await self._answers.aclose()

    async def answers(self) -> list[ManyAnswer]:
        """All answers, in the order of the questions."""
        return sorted([answer async for answer in self], key=lambda answer: answer.number)

    @property
    def progress(self) -> str:
        """Such as ``3 of 7``."""
        return f"{self.done} of {self.total}" if self.total is not None else str(self.done)

    async def _ask(self) -> AsyncGenerator[ManyAnswer]:
        deadline = math.inf if self._timeout_s is None else anyio.current_time() + self._timeout_s
        source = (_Question(number, request) for number, request in enumerate(self._requests, 1))
        state = _State(source, *anyio.create_memory_object_stream[Call](math.inf), deadline)
        try:
            while (answers := await self._next(state)) is not None:
                for answer in answers:
                    yield answer
            await self._combine_all(deadline)
        finally:
            for call in state.running:
                call.cancel()
            state.send.close()
            state.receive.close()

    async def _next(self, state: _State) -> Sequence[ManyAnswer] | None:
        """What is to be handed out next, which may be nothing yet; None: that was all."""
        if state.is_late:
            for call in state.running:
                call.cancel()
            if (left := next(state.source, None) if not state.waiting else state.waiting.popleft()) is not None:
                return self._answered(state, left, LLMResponse(status="cancelled", provider=left.request.provider))
        else:
            self._feed(state)
        if not state.running and not state.waiting:
            return None
        call: Call | None = None
        with anyio.CancelScope(deadline=self._wake_at(state)):
            call = await state.receive.receive()
        if call is None or call.reply is None:
            return ()
        question = state.running.pop(call)
        provider = self._provider(state, question.request.provider)
        provider.running -= 1
        if self._waits(state, question, provider, call.reply):
            return ()
        return self._answered(state, question, call.reply)

    def _feed(self, state: _State) -> None:
        """Ask as much as may be asked at once."""
        while len(state.running) < self._width and (question := self._pick(state)) is not None:
            self._provider(state, question.request.provider).running += 1
            call = self._engine.submit(question.request, face=self._face)
            state.running[call] = question
            # The stream takes any number of them, and there are never more than run.
            call.on_end(lambda call: _tell(state.send, call))

    def _pick(self, state: _State) -> _Question | None:
        for index, question in enumerate(state.waiting):
            if self._may_ask(state, question):
                del state.waiting[index]
                return question
        while len(state.waiting) < LOOKAHEAD and len(state.held) < HELD:
            if (drawn := next(state.source, None)) is None:
                return None
            drawn.request = _patient(drawn.request)
            if self._may_ask(state, drawn):
                return drawn
            state.waiting.append(drawn)
        return None

    def _may_ask(self, state: _State, question: _Question) -> bool:
        provider = self._provider(state, question.request.provider)
        has_room = len(state.held) < HELD or question.number == state.due
        return has_room and provider.running < provider.width and anyio.current_time() >= provider.not_before

    def _provider(self, state: _State, name: str | None) -> _Provider:
        if name not in state.providers:
            widths = [
                self._engine.configuration.provider(each).max_concurrency
                # Whoever is the first that is ready.
                for each in ((name,) if name is not None else self._engine.providers.present())
            ]
            state.providers[name] = _Provider(min(widths, default=1))
        return state.providers[name]

    def _wake_at(self, state: _State) -> float:
        """When something is to be done although no answer came."""
        if state.is_late:
            return math.inf  # they were cancelled, and end at once
        now = anyio.current_time()
        pauses = [each.not_before for each in state.providers.values() if each.not_before > now]
        return min([state.deadline, *pauses]) if state.waiting else state.deadline

    def _waits(self, state: _State, question: _Question, provider: _Provider, reply: LLMResponse) -> bool:
        """Whether a question that was refused is asked once more when its provider says it can be."""
        error = reply.error
        if error is None or error.code not in (ErrorCode.CIRCUIT_OPEN, ErrorCode.RATE_LIMITED):
            return False
        wait_s = error.retry_after_s
        if wait_s is None and error.reset_at is not None:
            wait_s = max(0.0, error.reset_at.timestamp() - time.time())
        now = anyio.current_time()
        if wait_s is None or not error.retryable or wait_s > PAUSE_S or now + wait_s >= state.deadline:
            return False
        provider.not_before = max(provider.not_before, now + wait_s)
        question.pauses += 1
        if question.pauses > PAUSES:
            return False
        state.waiting.appendleft(question)
        return True

    def _answered(self, state: _State, question: _Question, reply: LLMResponse) -> Sequence[ManyAnswer]:
        self.done += 1
        if reply.status == "cancelled" and state.is_late:
            reply = _out_of_time(reply, self._timeout_s)
        answer = ManyAnswer(number=question.number, request=question.request, reply=reply)
        if self._combine != "none":
            self._groups.setdefault(answer.request.prompt, Group(answer.request.prompt)).answers.append(answer)
        if not self._in_order:
            return (answer,)
        state.held[answer.number] = answer
        ready: list[ManyAnswer] = []
        while (due := state.held.pop(state.due, None)) is not None:
            ready.append(due)
            state.due += 1
        return ready

    async def _combine_all(self, deadline: float) -> None:
        for group in self._groups.values():
            group.answers.sort(key=lambda answer: answer.number)
        groups = sorted(self._groups.values(), key=lambda group: group.answers[0].number)
        if self._combine == "vote":
            self.combined = [vote(group) for group in groups]
        elif self._judge is not None:
            left = None if deadline == math.inf else max(0.0, deadline - anyio.current_time())
            asked = [(group, judges_request(group, self._judge)) for group in groups]
            many = Many(
                self._engine, [request for _, request in asked if request is not None], face=self._face, timeout_s=left
            )
            replies = iter([answer.reply for answer in await many.answers()])
            self.combined = [judged(group, self._judge, next(replies) if request else None) for group, request in asked]


def _tell(send: MemoryObjectSendStream[Call], call: Call) -> None:
    try:
        send.send_nowait(call)
    except (anyio.ClosedResourceError, anyio.BrokenResourceError):
        return  # nobody wants the answers any more


def _patient(request: LLMRequest) -> LLMRequest:
    if request.timeouts.queue is not None:
        return request
    return request.model_copy(update={"timeouts": request.timeouts.model_copy(update={"queue": PATIENCE_S})})


def _out_of_time(reply: LLMResponse, timeout_s: float | None) -> LLMResponse:
    error = ErrorInfo.of(
        ErrorCode.TIMEOUT,
        f"the time for all questions together, {timeout_s:g} s, was over",
        next_step="give them more time, or ask fewer at once",
        clock="call",
        effects="possible" if reply.attempts else "none",
    )
    return reply.model_copy(update={"status": "failed", "finish_reason": "error", "error": error})


def _wrong(message: str, next_step: str) -> Exception:
    return error_of(ErrorCode.BAD_REQUEST, message, next_step=next_step)
