"""The layer that makes a call a turn of its conversation. A turn is on disk before anyone hears of it.

A turn that did not go well stays to be seen, but is not part of what is told to providers later.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from dragoman import store as records
from dragoman.adapters.base import Failed, Outcome
from dragoman.config import Configuration, ConversationSettings
from dragoman.engine.attempt.clocks import timed_out
from dragoman.engine.attempt.layout import forget_kept
from dragoman.engine.call import HURRY_S, Call
from dragoman.engine.context import Context, Handler, OpenTurn
from dragoman.engine.layers.sessions import busy
from dragoman.engine.layers.thread import Known, Said, Thread
from dragoman.engine.locks import Held, Locks
from dragoman.engine.record import KEPT_S, Recorder
from dragoman.log import logger
from dragoman.schemas import ErrorCode, ErrorInfo, LLMRequest, LLMResponse, Notice, TimeoutConfig

if TYPE_CHECKING:
    from dragoman.store import ConversationRow, SessionRow, Store, TurnEnded

NOT_PART = "this turn is not part of its conversation"
LOADED = 50
"""How many of its last turns are read, unless more of them are to be told again: some microseconds each."""


def new_conversation_id() -> str:
    """A name that nobody has."""
    return f"c{secrets.token_hex(8)}"


def is_kept(request: LLMRequest, settings: ConversationSettings) -> bool:
    """Whether the call is to be a turn of a conversation."""
    if request.remember is not None:
        return request.remember
    return settings.remember or request.conversation_id is not None


class Turns:
    """See the module."""

    def __init__(
        self,
        configuration: Configuration,
        recorder: Recorder,
        locks: Locks,
        finish: Callable[[str], Awaitable[None]],
    ) -> None:
        """`finish` waits for the end of a call that goes on though its server is gone."""
        self._settings = configuration.conversations
        self._recorder = recorder
        self._locks = locks
        self._finish = finish
        self._unsettled: set[str] = set()
        """Conversations of which it is not known whether their last turn will be written."""

    def around(self, following: Handler) -> Handler:
        """The layer around the next one."""

        async def in_conversation(context: Context) -> Outcome:
            request = context.request
            if not is_kept(request, self._settings) and request.conversation_id is None:
                return await following(context)
            name = request.conversation_id or context.call.conversation_id or new_conversation_id()
            # Whoever has it may take as long as this call may.
            patience_s = request.timeouts.over(TimeoutConfig()).call
            waits_s = min(patience_s, KEPT_S) if name in self._unsettled else patience_s
            lock = await self._take(name, waits_s if request.if_busy == "wait" else 0, context.call)
            if lock is None:
                if name in self._unsettled:
                    return Failed(_unwritten(name))
                if request.if_busy == "fail":
                    return Failed(busy(f"conversation {name!r}"))
                return timed_out("call", patience_s, because=f"conversation {name!r} was in use by another call")
            try:
                failed = self._open(context, name, lock)
            except BaseException:
                lock.release()
                raise
            return failed or await following(context)

        return in_conversation

    async def _take(self, name: str, patience_s: float, call: Call) -> Held | None:
        """The conversation, once it has no open turn; None: that would take too long."""
        until = anyio.current_time() + patience_s
        lock = self._locks.take_now(f"conversation:{name}")
        if lock is None:
            with self._behind(name, call, patience_s):
                lock = await self._locks.take(f"conversation:{name}", patience_s)
        if lock is None or call.is_taken_over or (unfinished := self._open_call(name, call)) is None:
            return lock
        # The server that had it was killed. Its child may go on, and what it says comes first.
        lock.release()
        with self._behind(name, call, patience_s), anyio.move_on_after(patience_s):
            await self._finish(unfinished)
            return await self._locks.take(f"conversation:{name}", max(0.0, until - anyio.current_time()))
        return None

    def _behind(self, name: str, call: Call, patience_s: float) -> AbstractContextManager[None]:
        what = f"conversation {name!r}, which another call has"
        if patience_s > 0:
            # Not a notice of the reply: it is of use while nobody answers.
            call.log.append(Notice(message=f"waits for {what}"))
        return call.standing_behind(what)

    def _open_call(self, name: str, call: Call) -> str | None:
        store = self._recorder.store
        if call.request.conversation_id is None:
            return None  # it begins with this call
        with suppress(records.StoreError):
            return store.open_call(name) if store else None
        return None

    async def keep(self, context: Context, reply: LLMResponse) -> LLMResponse:
        """Write the turn down and free the conversation; the reply, which says so if it could not be kept.

        Where the disk takes longer than there is time, it says so, too, and `settle` is to follow.
        """
        turn, store, call = context.turn, self._recorder.store, context.call
        if turn is None:
            return reply
        if store is None:
            self._free(turn)
            return _not_kept(context, reply, f"{NOT_PART}: the store is closed")
        known = context.thread.sessions
        for provider, account in turn.sessions.keys() - known.keys():
            store.post(records.SessionForgotten(turn.conversation_id, provider, account))
        turn.end = records.TurnEnded(
            conversation_id=turn.conversation_id,
            call_id=call.id,
            status=reply.status,
            text=reply.text,
            provider=reply.provider,
            model=reply.model,
            usage=reply.usage,
            code=reply.error.code if reply.error else None,
            finish_reason=reply.finish_reason,
            sessions=tuple(_row(key, session, context, turn) for key, session in known.items()),
            ended_at=call.ended_at or time.time(),
        )
        turn.ended = store.post(turn.end, waited=True)
        began = anyio.current_time()
        left_s = 0.0 if call.scope.cancel_called else context.deadline - began
        # Not from when it was cancelled, which may be long ago.
        call.keeping.deadline = began + max(HURRY_S, min(KEPT_S, left_s))
        with call.keeping:
            why = await self._settled(context, turn, store)
            return reply if why is None else _not_kept(context, reply, f"{NOT_PART}: {why}")
        if turn.is_settled:
            # It was late only with what is left to do then.
            return reply
        if turn.ended.error is not None:
            return _not_kept(context, reply, f"{NOT_PART}: {turn.ended.error}")
        self._unsettled.add(turn.conversation_id)
        late = store.hangs(anyio.current_time() - began)
        return _not_kept(context, reply, f"it is not known whether this turn is part of its conversation: {late}")

    async def settle(self, context: Context) -> None:
        """Keep the conversation until it is known what became of its turn, whose reply was told before that.

        Whoever went on with it meanwhile would not know the turn, but the provider's own session does.
        """
        turn, store = context.turn, self._recorder.store
        if turn is not None and store is not None and turn.ended is not None and not turn.is_settled:
            try:
                await self._settled(context, turn, store)
            finally:
                # Left meanwhile: whoever has the conversation next sees a turn without an end.
                self._free(turn)

    async def _settled(self, context: Context, turn: OpenTurn, store: Store) -> str | None:
        """Wait until it is known what became of a turn; why it is not kept, if it is not. Can be waited for again."""
        assert turn.end is not None and turn.ended is not None  # noqa: S101, PT018 - `keep` has posted it
        why: str | None = None
        try:
            await store.written(turn.ended)
        except records.ConversationGone:
            # Nor is it there when its beginning could not be written.
            begun = turn.begun and turn.begun.error
            why = str(begun) if begun else "it was deleted or reset meanwhile"
        except records.StoreError as error:
            why = str(error)
            with suppress(records.StoreError):
                if turn.taken_back is None:
                    logger.info("a turn could not be kept: {}", error)
                    turn.taken_back = store.post(_taken_back(context, turn, turn.end), waited=True)
                await store.written(turn.taken_back)
        turn.is_settled = True
        self._free(turn)
        if why is None:
            named = {(provider, session.native_id) for (provider, _), session in context.thread.sessions.items()}
            before = {(provider, session.native_id) for (provider, _), session in turn.sessions.items()}
            left = sorted(before - named)
            if left:
                await anyio.to_thread.run_sync(forget_kept, left)
        return why

    def _free(self, turn: OpenTurn) -> None:
        self._unsettled.discard(turn.conversation_id)
        turn.lock.release()

    def _open(self, context: Context, name: str, lock: Held) -> Failed | None:
        request, store = context.request, self._recorder.store if context.call.is_recorded else None
        if store is None:
            lock.release()
            if request.conversation_id is not None:
                return Failed(self._recorder.missing(f"conversation {name!r} could not be read").info)
            why = self._recorder.missing("the conversation is not kept").info
            context.take(Notice(message="; ".join(filter(None, (why.message, why.next_step)))))
            return None
        row: ConversationRow | None = None
        begun = False
        if request.conversation_id is not None or context.call.is_taken_over:
            try:
                row = store.conversation(name)
                unfinished = store.open_call(name)
                begun = context.call.is_taken_over and unfinished == context.call.id
                history = self._settings.max_history if request.max_history is None else request.max_history
                thread = _thread(name, row, store, max(LOADED, history // 2))
                if unfinished is not None and not begun:
                    # Nobody has it, so its end could not be written; but whoever was asked may have it.
                    for known in thread.sessions.values():
                        known.dirty = True
            except records.StoreError as error:
                lock.release()
                return Failed(_unreadable(name, error.told))
        else:
            thread = Thread(name)
        most = self._settings.max_turns if request.max_turns is None else request.max_turns
        if most and thread.count >= most:
            lock.release()
            return Failed(_full(name, most))
        sessions = {key: replace(known) for key, known in thread.sessions.items()}
        if request.system_prompt not in (None, thread.system_prompt):
            thread.system_prompt = request.system_prompt
            # Some CLIs go on with that of a session's first turn, whatever they are told.
            thread.sessions.clear()
        context.thread = thread
        context.call.conversation_id = name
        if is_kept(request, self._settings):
            number = (row.turns if row else 0) + (0 if begun else 1)
            turn = context.turn = OpenTurn(name, number, lock, sessions)
            if begun:
                return None
            turn.begun = store.post(
                records.TurnStarted(
                    conversation_id=name,
                    call_id=context.call.id,
                    prompt=request.prompt,
                    provider=request.provider,
                    model=request.model,
                    system_prompt=request.system_prompt,
                    started_at=context.call.created_at if context.call.is_taken_over else time.time(),
                )
            )
        else:
            context.thread.conversation_id = None
            lock.release()
        return None


def _thread(name: str, row: ConversationRow | None, store: Store, last: int) -> Thread:
    if row is None:
        return Thread(name)
    return Thread(
        name,
        row.system_prompt,
        [Said(turn.number, turn.prompt, turn.text) for turn in store.good_turns(name, last)],
        {
            (each.provider, each.account): Known(
                each.native_id, each.knows, each.native_turn, each.cwd, dirty=each.dirty
            )
            for each in row.sessions
        },
        row.completed,
    )


def _row(key: tuple[str, str], known: Known, context: Context, turn: OpenTurn) -> SessionRow:
    # Feedback to an answer counts turns that the conversation does not have.
    knows = turn.number if known.knows > context.thread.last else known.knows
    return records.SessionRow(
        turn.conversation_id, *key, known.native_id, known.native_turn, known.cwd, knows, known.dirty
    )


def _taken_back(context: Context, turn: OpenTurn, end: TurnEnded) -> TurnEnded:
    """Of a turn whose end was too much for the disk, what may fit: that it is over, and not to be told."""
    sessions = tuple(_row(key, replace(known, dirty=True), context, turn) for key, known in turn.sessions.items())
    return replace(end, status="interrupted", text="", sessions=sessions)


def _not_kept(context: Context, reply: LLMResponse, notice: str) -> LLMResponse:
    # The answer was told by now to whoever follows the call, who may be about to go on with the next question.
    context.call.log.append(Notice(message=notice))
    return reply.model_copy(update={"conversation_id": None, "notices": (*reply.notices, notice)})


def _unreadable(name: str, why: object) -> ErrorInfo:
    return ErrorInfo.of(
        ErrorCode.INTERNAL,
        f"conversation {name!r} could not be read: {why}",
        next_step="put right what the message says, or ask without `conversation_id`",
    )


def _unwritten(name: str) -> ErrorInfo:
    return ErrorInfo.of(
        ErrorCode.OVERLOADED,
        f"conversation {name!r} cannot be gone on with: its last turn is not on disk yet",
        next_step="see that the disk answers and no other program holds the store, or ask without `conversation_id`",
    )


def _full(name: str, most: int) -> ErrorInfo:
    return ErrorInfo.of(
        ErrorCode.BAD_REQUEST,
        f"conversation {name!r} has had its {most} turns",
        next_step="begin a new conversation, reset this one, or raise `max_turns`",
    )
