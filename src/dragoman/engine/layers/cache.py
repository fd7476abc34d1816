"""The layer that answers a question from an earlier answer, and calls that ask the same at once from one. Opt-in.

Only what depends on nothing but the question is answered so: never a call of a conversation, one with a folder or one
that may change something. An answer is found by all that could make it another one; see `_key`.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from typing import Any

import anyio
from pydantic import ValidationError

from dragoman import store as records
from dragoman.adapters.base import Completed, Failed, Outcome
from dragoman.config import CacheSettings
from dragoman.engine.context import Context, Handler
from dragoman.engine.providers.providers import Providers
from dragoman.engine.record import KEPT_S, Recorder
from dragoman.log import logger
from dragoman.schemas import ErrorCode, ErrorInfo, LLMRequest, LLMResponse, Text, TimeoutConfig

STALE_S = 86400.0
"""How long an answer is kept beyond its time, for callers that take one that is too old."""
LARGEST_SHARE = 0.1
"""How much of the cache one answer may be."""
MOST_BYTES = 4 << 20
"""No larger answer is kept: it is read in the thread of the event loop."""
TRIM_SHARE = 0.05
"""After so much was added, as a share of the whole, it is looked whether that is too much."""

_MATTERS = frozenset(
    {
        *("prompt", "model", "system_prompt", "effort", "temperature", "max_tokens"),
        *("output_schema", "validators", "strict"),
    }
)
_MATTERS_NOT = frozenset(
    {
        *("provider", "timeouts", "fallback", "remember", "max_history", "max_turns", "if_busy", "idempotency_key"),
        *("max_attempts", "cache", "allow_stale"),
    }
)
"""What cannot change an answer, or, as the provider, has a part in the key of its own."""
_DEFAULTS = LLMRequest(prompt="-")
_KEPT = {"text", "provider", "model", "billing", "finish_reason", "data", "mechanism", "extraction", "status"}


class Cache:
    """See the module.

    What is kept cannot be had while the store is not open; then everyone is asked, and only at once from one.
    """

    def __init__(
        self,
        settings: CacheSettings,
        recorder: Recorder,
        providers: Providers,
    ) -> None:
        self._settings = settings
        self._recorder = recorder
        self._providers = providers
        self._asked: dict[str, _Flight] = {}
        self._untrimmed = math.inf

    def around(self, following: Handler) -> Handler:
        """The layer around the next one."""

        async def cached(context: Context) -> Outcome:
            wish = context.request.cache
            if not (self._settings.enabled if wish is None else wish):
                return await following(context)
            provider, key = await self._key(context)
            if key is None:
                if wish == "only":
                    return Failed(_not_kept("such a call is never answered from the cache"))
                return await following(context)
            if self._answer(context, key, self._settings.ttl_s):
                return _completed(context)
            if wish == "only":
                if context.request.allow_stale and self._answer(context, key, None):
                    return _completed(context)
                return Failed(_not_kept("there is no answer to this question in the cache"))
            outcome = await self._once(context, key, provider, following)
            if (
                isinstance(outcome, Failed)
                and outcome.error.code is ErrorCode.CIRCUIT_OPEN
                and context.request.allow_stale
                and self._answer(context, key, None)
            ):
                context.notices.append(f"an earlier answer, since {outcome.error.message}")
                return _completed(context)
            return outcome

        return cached

    async def _once(self, context: Context, key: str, provider: str, following: Handler) -> Outcome:
        """Ask, or take the answer of a call that asks the same just now."""
        patience_s = context.request.timeouts.over(TimeoutConfig()).call
        until = anyio.current_time() + patience_s
        while (flight := self._asked.get(key)) is not None:
            with anyio.move_on_after(until - anyio.current_time()):
                await flight.landed.wait()
            if flight.reply is not None:
                self._take(context, flight.reply)
                return _completed(context)
            if flight.failed is not None:
                return flight.failed
            if anyio.current_time() >= until:
                break  # asking now gives the failure that names the clock
        flight = self._asked[key] = _Flight()
        try:
            outcome = await following(context)
            if isinstance(outcome, Completed):
                flight.reply = await self._keep(context, key, provider, outcome)
            elif outcome.error.code is not ErrorCode.TIMEOUT:
                # Another may have more time.
                flight.failed = outcome
            return outcome
        finally:
            # Also when this call is cancelled: then the next one that waits asks.
            if self._asked.get(key) is flight:
                del self._asked[key]
            flight.landed.set()

    async def _key(self, context: Context) -> tuple[str, str | None]:
        """Who is asked, and a name for the question; None: that is not answered from the cache."""
        call, request = context.call, context.request
        provider = request.provider or await self._providers.first_ready(request.model)
        identity = self._providers.identity(provider)
        if identity is None or call.validators is not None or call.is_taken_over or not _is_alone(request):
            return provider, None
        asked: dict[str, Any] = request.model_dump(mode="json", include=set(_MATTERS))
        if call.schema is not None:
            asked["schema"] = [call.schema.text, repr(call.schema.type)]
        return provider, hashlib.sha256(json.dumps([identity, asked], sort_keys=True).encode()).hexdigest()

    def _answer(self, context: Context, key: str, ttl_s: float | None) -> bool:
        """Take the answer that is kept, if there is one that is young enough."""
        if (store := self._recorder.store) is None:
            return False
        try:
            found = store.cached_answer(key)
            reply = None if found is None else LLMResponse.model_validate_json(found.reply)
        except (records.StoreError, ValidationError) as error:
            logger.warning("an answer of the cache could not be read: {}", error)
            return False
        if found is None or reply is None:
            return False
        age_s = time.time() - found.created_at
        if ttl_s is not None and age_s > ttl_s:
            return False
        self._take(context, reply.model_copy(update={"stale": age_s > self._settings.ttl_s}))
        return True

    def _take(self, context: Context, reply: LLMResponse) -> None:
        context.cached = reply.model_copy(update={"cached": True})
        context.take(Text(text=reply.text))

    async def _keep(self, context: Context, key: str, provider: str, outcome: Completed) -> LLMResponse | None:
        """Keep an answer, if another call may have it."""
        reply = context.reply(outcome)
        # Another provider may have stood in.
        is_its_own = context.route is not None and context.route.name == provider
        if context.acted or not is_its_own or reply.finish_reason != "stop" or context.lost_bytes:
            return None
        text = reply.model_dump_json(include=_KEPT)
        kept = LLMResponse.model_validate_json(text)
        size, room = len(text.encode()), self._settings.max_mb * 1e6
        if size > min(MOST_BYTES, LARGEST_SHARE * room):
            return kept
        self._untrimmed += size
        if (store := self._recorder.store) is not None:
            try:
                # Whoever asks next is to find it.
                await self._recorder.on_disk(store.post(records.AnswerCached(key, text), waited=True), KEPT_S)
                if self._untrimmed > TRIM_SHARE * room:
                    self._untrimmed = 0.0
                    store.post(records.CacheTrimmed(self._settings.ttl_s + STALE_S, self._settings.max_mb))
            except records.StoreError as error:
                logger.warning("an answer could not be kept in the cache: {}", error)
        return kept


class _Flight:
    """A question that is being asked, for those who ask the same."""

    def __init__(self) -> None:
        self.landed = anyio.Event()
        self.reply: LLMResponse | None = None
        self.failed: Failed | None = None


def _is_alone(request: LLMRequest) -> bool:
    """Whether the answer depends on nothing but the question: whatever else a request may have can change it."""
    others = LLMRequest.model_fields.keys() - _MATTERS - _MATTERS_NOT
    return all(getattr(request, name) == getattr(_DEFAULTS, name) for name in others)


def _completed(context: Context) -> Completed:
    assert context.cached is not None  # noqa: S101 - it was just taken
    return Completed(context.cached.text)


def _not_kept(message: str) -> ErrorInfo:
    return ErrorInfo.of(ErrorCode.NOT_FOUND, message, next_step='ask without cache = "only"')
