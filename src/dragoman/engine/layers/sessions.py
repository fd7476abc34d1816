"""The layer that decides how a provider hears of what was said before: by its own session, or by being told again.

A provider's session is gone on with by its id, and only while it has nothing but what went well. It may lack turns that
another provider answered: those are told first. Where there is no such session, the conversation is told again as text,
or as messages where the CLI takes them.
"""

from __future__ import annotations

import uuid
from typing import Literal

import anyio

from dragoman.adapters.base import FLUSH_S, Completed, Failed, Outcome, Session
from dragoman.config import Configuration
from dragoman.engine.context import Context, Handler, Route, Saying
from dragoman.engine.layers.thread import Known, Said, Thread, recent, told_again
from dragoman.engine.locks import Locks
from dragoman.schemas import ErrorCode, ErrorInfo, Notice

TRIES = 3
"""A session that turns out to be lost, a copy of one that is busy, and a new one."""
REPLAY_CHARS = 400_000
"""How long a prompt may become by telling a conversation again: about 100,000 tokens."""
WRITTEN_S = 2 * FLUSH_S
"""How long even a call that is not to wait gives a CLI that writes its session down: the call it was for has ended."""


class Sessions:
    """See the module."""

    def __init__(self, configuration: Configuration, locks: Locks) -> None:
        self._settings = configuration.conversations
        self._locks = locks

    def around(self, following: Handler) -> Handler:
        """The layer around the next one, which is one attempt."""

        async def in_session(context: Context) -> Outcome:
            for _ in range(TRIES):
                outcome = await self._once(context, following)
                if not (isinstance(outcome, Failed) and outcome.session):
                    return outcome
                context.forget()
                _tell(context, _without(context, outcome.session))
            return Failed(ErrorInfo.of(ErrorCode.INTERNAL, "no session could be had", next_step="ask again"))

        return in_session

    async def _once(self, context: Context, following: Handler) -> Outcome:
        thread, route = context.thread, context.route
        if route is None:
            raise ValueError("sessions stand behind the route")
        context.bound = None
        if not self._keeps(context, thread, route):
            context.saying = self._afresh(context, thread, route)
            return await following(context)
        # Whoever had it last may still be writing it down, though its reply is out.
        name = f"session:{thread.conversation_id}:{route.name}:{route.account}"
        patience_s = context.deadline - anyio.current_time()
        if context.request.if_busy == "fail":
            patience_s = min(patience_s, WRITTEN_S)
        context.session_lock = await self._locks.take(name, max(patience_s, 0))
        if context.session_lock is None:
            return Failed(busy(f"{route.name}'s session of conversation {thread.conversation_id!r}"))
        adopted = context.call.adopted
        if adopted is not None:
            # It was asked long ago.
            context.saying = saying = Saying(adopted.heard.turn.prompt, adopted.heard.turn.session)
        else:
            context.saying = saying = self._choose(context, thread, route)
        try:
            outcome = await following(context)
        except BaseException:
            _learn(context, saying, None)
            raise
        finally:
            _give_back(context)
        _learn(context, saying, outcome)
        return outcome

    def _keeps(self, context: Context, thread: Thread, route: Route) -> bool:
        return (
            thread.conversation_id is not None
            and context.keeps_sessions
            and route.adapter.profile.keeps_sessions
            and self._settings.native_sessions
            and context.request.max_history is None
        )

    def _choose(self, context: Context, thread: Thread, route: Route) -> Saying:
        """A saying in the provider's session; in a new one where there is none that can be gone on with."""
        known = thread.sessions.get((route.name, route.account))
        cwd = _folder(context)
        if known is None or known.cwd != cwd or (known.dirty and not route.adapter.profile.forks_sessions):
            return self._afresh(context, thread, route, Session(str(uuid.uuid4())))
        session = Session(known.native_id, is_new=False, fork=known.dirty, last_turn=known.native_turn)
        missing = thread.since(known.knows)
        kept = self._within_budget(context, missing)
        if len(kept) < len(missing) or thread.lacks(known.knows + 1):
            before = f"before turn {kept[0].number}" if kept else f"after turn {known.knows}"
            _tell(context, f"{route.name} was not told what others answered {before}")
        prompt = told_again(kept, context.prompt, self._settings.transcript, caught_up=True)
        return Saying(prompt, session)

    def _afresh(self, context: Context, thread: Thread, route: Route, session: Session | None = None) -> Saying:
        """A saying to somebody who knows nothing of the conversation."""
        prompt = context.prompt
        if not thread.turns:
            return Saying(prompt, session)
        kept = self._within_budget(context, thread.turns)
        self._tell_of(context, thread, route, len(kept))
        if route.adapter.profile.takes_history:
            return Saying(prompt, session, tuple(message for said in kept for message in said.messages()))
        return Saying(told_again(kept, prompt, self._settings.transcript), session)

    def _tell_of(self, context: Context, thread: Thread, route: Route, kept: int) -> None:
        """Say that the conversation was told again, where that is not what happens each time."""
        left_out = thread.count - kept
        rest = f"; {left_out} earlier turn(s) were left out" if left_out > 0 else ""
        if thread.count and (rest or self._keeps(context, thread, route)):
            _tell(context, f"{route.name} was told the conversation again, its last {2 * kept} message(s){rest}")

    def _within_budget(self, context: Context, turns: list[Said]) -> list[Said]:
        asked = context.request.max_history
        messages = self._settings.max_history if asked is None else asked
        return recent(turns, messages, max(0, REPLAY_CHARS - len(context.prompt)))


def busy(what: str) -> ErrorInfo:
    """The failure of a call that was not to wait."""
    return ErrorInfo.of(
        ErrorCode.OVERLOADED,
        f"{what} is in use by another call",
        next_step="ask again when that call is done, or fork the conversation",
    )


def _give_back(context: Context) -> None:
    """Free the session, unless a child was started that writes to it: then it is freed with that child's end."""
    if context.session_lock is not None:
        context.session_lock.release()


def _without(context: Context, reason: Literal["lost", "busy", "unkept"]) -> str:
    """Make the next try do without the provider's session as it is; the words that say so."""
    thread, route = context.thread, context.route
    assert route is not None  # noqa: S101 - it was just tried
    known = thread.sessions.get((route.name, route.account))
    if reason == "busy" and known is not None and not known.dirty:
        known.dirty = True
        return f"{route.name}'s own session is in use by another program, so a copy or a new one was gone on with"
    thread.sessions.pop((route.name, route.account), None)
    if reason == "unkept":
        context.keeps_sessions = False
        return f"{route.name}'s own session cannot be kept, so it will be told the conversation again"
    return f"{route.name}'s own session could not be gone on with, so a new one was begun"


def _learn(context: Context, saying: Saying, outcome: Outcome | None) -> None:
    """What is known of the session after an attempt. `outcome` None: it was cancelled."""
    thread, route, bound = context.thread, context.route, context.bound
    assert route is not None  # noqa: S101 - it was just tried
    key = (route.name, route.account)
    if isinstance(outcome, Completed):
        thread.sessions.pop(key, None)
        if bound is not None and outcome.session is None:
            thread.sessions[key] = Known(bound.native_session, thread.last + 1, bound.native_turn, _folder(context))
    elif bound is not None and not (isinstance(outcome, Failed) and outcome.session):
        # It may hold half a turn. A new session has no good turn to go back to.
        if saying.session is not None and not saying.session.is_new and key in thread.sessions:
            thread.sessions[key].dirty = True
        else:
            thread.sessions.pop(key, None)


def _folder(context: Context) -> str | None:
    return str(context.request.cwd) if context.request.cwd else None


def _tell(context: Context, message: str) -> None:
    context.take(Notice(message=message))
