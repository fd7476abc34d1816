"""A conversation that a program has turn by turn, and what it knows of it without asking the store."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import anyio
import anyio.to_thread

from dragoman.client import Dragoman
from dragoman.engine.conversations import replace_whole
from dragoman.engine.layers.turns import new_conversation_id
from dragoman.options import TurnOptions
from dragoman.schemas import ErrorCode, LLMError, LLMResponse, Message, TurnInfo


class ConversationManager:
    """One conversation with one provider, or with several in turn. Every turn is kept before it is returned.

    ::

        talk = d.conversation("claude", system_prompt="You are a code reviewer.")
        print(await talk.send_message("What is a race condition?"))
        print(await talk.send_message("Show me one.", provider="codex"))

    A turn that fails is not part of the conversation: it is not counted, and no provider is told of it later.

    Args:
        dragoman: who asks; None: one of its own, in ``async with ConversationManager() as talk``.
        provider: who answers when a message names nobody; None: the first that is ready.
        conversation_id: the conversation to go on with, or to begin under this name; None: a new one.
        system_prompt: instructions above all turns; None: those it has.
        max_turns: more turns are refused; 0: any number.
        **options: of every turn; see `TurnOptions`.
    """

    def __init__(
        self,
        dragoman: Dragoman | None = None,
        provider: str | None = None,
        conversation_id: str | None = None,
        *,
        system_prompt: str | None = None,
        max_turns: int = 10,
        **options: Unpack[TurnOptions],
    ) -> None:
        self.provider = provider
        self.conversation_id = conversation_id or new_conversation_id()
        self.max_turns = max_turns
        self.messages: list[Message] = []
        """What was said, oldest first; of an earlier conversation after `load` or the first message. What others do to
        the conversation meanwhile (a turn, `d.conversations.reset`, `delete`) is not in it; `max_turns` heeds it."""
        self.last_reply: LLMResponse | None = None
        """That of the last message, with its tokens and times."""
        self._system_prompt = system_prompt
        self._options = options
        self._dragoman = dragoman
        self._is_loaded = conversation_id is None
        self._own = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self._dragoman is None:
            self._dragoman = await self._own.enter_async_context(Dragoman())
        await self.load()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._own.__aexit__(kind, error, trace)

    @property
    def message_count(self) -> int:
        """Questions and answers."""
        return len(self.messages)

    @property
    def turn_count(self) -> int:
        """Questions that were answered."""
        return len(self.messages) // 2

    async def load(self) -> None:
        """Read what was said earlier, once. A conversation that does not exist yet has nothing.

        Raises:
            LLMError: it cannot be read.
        """
        if self._is_loaded:
            return
        try:
            _, turns, _ = await self._asker().conversations.show(self.conversation_id, None)
        except LLMError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                raise
            turns = ()
        self.messages = _messages(turns)
        self._is_loaded = True

    async def send_message(
        self, user_input: str, *, provider: str | None = None, **options: Unpack[TurnOptions]
    ) -> str:
        """Say something; the answer. `provider` and `options` hold for this turn, over those of the manager.

        Raises:
            LLMError: it failed, and the conversation is as it was before; ``bad_request`` when it has had `max_turns`.
            pydantic.ValidationError: an argument is wrong.
        """
        await self.load()
        begun = datetime.now(UTC)
        turn: TurnOptions = {**self._options, **options}
        reply = await self._asker().ask(
            provider or self.provider,
            user_input,
            system_prompt=self._system_prompt,
            conversation_id=self.conversation_id,
            max_turns=self.max_turns,
            **turn,
        )
        self.last_reply = reply
        facts = {"provider": reply.provider, "model": reply.model, "call_id": reply.call_id}
        self.messages += (
            Message(role="user", content=user_input, timestamp=begun),
            Message(role="assistant", content=reply.text, metadata=facts),
        )
        return reply.text

    async def reset(self) -> None:
        """Forget every turn. The id and the system prompt stay.

        Raises:
            LLMError: another call has the conversation (code ``overloaded``).
        """
        try:
            await self._asker().conversations.reset(self.conversation_id)
        except LLMError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                raise
        self.messages = []
        self.last_reply = None
        self._is_loaded = True

    async def export_history(self, filepath: str | Path) -> None:
        """Write the whole conversation to a file: Markdown if its name ends in ``.md``, else JSON to be taken in again.

        An earlier export in that place is replaced once the new one is whole, and keeps its mode. Pipes, streams
        (``/dev/stdout``), mounts and files in a folder that cannot be written are written as they stand.

        Raises:
            LLMError: there is no turn yet (code ``not_found``).
            OSError: the file cannot be written; one that can be replaced stays as it is.
        """
        file = Path(filepath)
        form = "markdown" if file.suffix.lower() in {".md", ".markdown"} else "json"
        text = await self._asker().conversations.export(self.conversation_id, form)
        await anyio.to_thread.run_sync(replace_whole, file, text)

    def _asker(self) -> Dragoman:
        if self._dragoman is None:
            raise RuntimeError("not open: use `async with ConversationManager(…) as talk`, or `Dragoman.conversation`")
        return self._dragoman


def _messages(turns: Sequence[TurnInfo]) -> list[Message]:
    messages: list[Message] = []
    for turn in turns:
        if turn.status != "completed":
            continue
        facts = {"provider": turn.provider, "model": turn.model, "call_id": turn.call_id}
        asked = datetime.fromtimestamp(turn.started_at, UTC)
        answered = asked if turn.ended_at is None else datetime.fromtimestamp(turn.ended_at, UTC)
        messages += (
            Message(role="user", content=turn.prompt, timestamp=asked),
            Message(role="assistant", content=turn.text, timestamp=answered, metadata=facts),
        )
    return messages
