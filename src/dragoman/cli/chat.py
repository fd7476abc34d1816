"""``dragoman chat``: a conversation on a terminal, or line by line through pipes.

The engine runs in a thread of its own: the main one reads lines and draws, so Ctrl-C lands where a person expects it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal

from anyio.from_thread import BlockingPortal, start_blocking_portal
from pydantic import ValidationError

from dragoman.cli import output
from dragoman.cli.ask import CUT, FACE, STOPPED, continued, refuse
from dragoman.cli.chat_commands import Commands
from dragoman.cli.common import Common
from dragoman.cli.exits import CANCELLED, EXIT_CODES, OK, USAGE
from dragoman.cli.guard import report, tell
from dragoman.cli.keyboard import notice_signals, on_interrupt, silent_keys
from dragoman.cli.lines import Lines
from dragoman.cli.question import UsageError, one_conversation, shown_folder
from dragoman.cli.screen import DRAW_S, Screen, screen
from dragoman.cli.status import describe
from dragoman.config import state_folder
from dragoman.engine import Call, Engine
from dragoman.schemas import ErrorCode, Event, LLMError, LLMRequest, LLMResponse, Text

ANY_PROMPT = "?"
_Heard = SimpleQueue[Sequence[Event] | Literal["stop", "end"]]
"""What happens while an answer comes. Ctrl-C may put into it at any moment, also while something is taken out."""


def chat(common: Common, provider: str | None, options: Mapping[str, Any], *, last: bool) -> int:
    """Talk until the person leaves. Through pipes the exit code is that of the last message that failed."""
    try:
        one_conversation(options, last=last)
        request = LLMRequest.model_validate({"prompt": ANY_PROMPT, "provider": provider, **options})
    except UsageError as error:
        output.complain(str(error))
        return USAGE
    except ValidationError as error:
        refuse(error)
        return USAGE
    loaded = common.load(shown_folder(options))
    common.warn(loaded)
    engine = Engine(loaded.configuration)
    notice_signals()
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(engine):
        talk = Chat(engine, portal, request)
        try:
            return talk.run(last=last)
        except LLMError as error:
            # Told here: what leaves an engine as an exception comes out of it in a group.
            return report(error.info)


class Chat:
    """A conversation that goes on. `request` has what holds for the next message, all but its prompt."""

    def __init__(self, engine: Engine, portal: BlockingPortal, request: LLMRequest) -> None:
        self.engine = engine
        self.request = request
        self.do = portal.call
        self._portal = portal
        self._code = OK

    @property
    def conversation_id(self) -> str | None:
        """The conversation; None before the first message of a new one."""
        return self.request.conversation_id

    def change(self, **fields: object) -> None:
        """Let fields of the next messages have other values.

        Raises:
            pydantic.ValidationError: one cannot have it.
        """
        self.request = self._with(**fields)

    def run(self, *, last: bool) -> int:
        """Read messages and commands to the end; the exit code.

        Raises:
            LLMError: it cannot begin, such as for an unknown provider.
        """
        commands = Commands(self)
        if self.request.provider is not None:
            commands.check(self.request.provider)
        self.request = self.do(lambda: continued(self.engine, self.request, last=last))
        with Lines(_history(), commands.complete) as lines:
            if lines.is_terminal:
                output.remark("/help shows what can be done, Ctrl-C stops an answer, Ctrl-D leaves")
                if self.conversation_id is not None:
                    self._guarded(commands.recall)
            while True:
                try:
                    said = lines.read(f"{self.request.provider or 'dragoman'}> ")
                    if said.strip() and not self._guarded(lambda said=said: self._take(said, commands)):
                        break
                except EOFError:
                    if lines.is_terminal:
                        output.say()
                    break
                except KeyboardInterrupt:
                    if not lines.is_terminal:
                        return CANCELLED
                    output.say()
            if lines.is_terminal and self.conversation_id is not None:
                output.remark(f"to go on: dragoman chat -c {self.conversation_id}")
        return OK if lines.is_terminal else self._code

    def _take(self, said: str, commands: Commands) -> bool:
        """Do what was said; whether to go on."""
        if said.startswith("/") and not said.startswith("//"):
            return commands.run(said)
        self.say(said.removeprefix("/") if said.startswith("//") else said)
        return True

    def say(self, message: str) -> None:
        """Send a message and show the answer.

        Raises:
            pydantic.ValidationError: it cannot be sent.
        """
        heard = _Heard()
        # An exception between any two steps would leave a call that nobody follows, or an end that nobody hears of.
        with on_interrupt(lambda: heard.put("stop")):
            self._tell(self._show(self._with(prompt=message), heard))

    def _tell(self, reply: LLMResponse) -> None:
        if reply.conversation_id is not None:
            self.change(conversation_id=reply.conversation_id)
        if self.request.provider is None and reply.provider is not None and reply.error is None:
            self.change(provider=reply.provider)
        if reply.error is None:
            if output.is_terminal(sys.stderr):
                output.remark(_figures(reply))
            if reply.finish_reason == "max_tokens":
                output.remark(CUT)
        elif reply.error.code is ErrorCode.CANCELLED:
            self._code = EXIT_CODES[reply.error.code]
            output.remark(STOPPED)
        else:
            self._code = report(reply.error)

    def _show(self, request: LLMRequest, heard: _Heard) -> LLMResponse:
        call = self.do(lambda: _submit(self.engine, request))

        async def follow() -> None:
            async for batch in call.log.batches():
                heard.put(batch)
            heard.put("end")

        self._portal.start_task_soon(follow)
        written = False
        keys = silent_keys() if sys.stdin.isatty() else nullcontext()
        with keys, screen(request.provider or "asking") as shown:
            while (batch := _next(heard, shown)) != "end":
                if batch == "stop":
                    self._portal.start_task_soon(_cancel, call)
                    continue
                for event in batch:
                    if isinstance(event, Text):
                        written = written or bool(event.text)
                        shown.write(event.text)
                    elif (line := describe(event)) is not None:
                        shown.remark(line)
            reply = self.do(call.outcome)
            if not written:
                shown.write(reply.text)
        return reply

    def _with(self, **fields: object) -> LLMRequest:
        return LLMRequest.model_validate({**self.request.model_dump(exclude_unset=True), **fields})

    def _guarded(self, act: Callable[[], bool | None]) -> bool:
        """Do it; whether to go on. What is wrong is told and ends nothing."""
        try:
            return act() is not False
        except LLMError as error:
            self._code = report(error.info)
        except ValidationError as error:
            refuse(error)
            self._code = USAGE
        except UsageError as error:
            output.complain(str(error))
            self._code = USAGE
        except BrokenPipeError:
            raise
        except OSError as error:
            self._code = tell(error)
        return True


def _next(heard: _Heard, shown: Screen) -> Sequence[Event] | Literal["stop", "end"]:
    """What happens next. What moves on the screen goes on meanwhile."""
    while True:
        shown.draw()
        with suppress(Empty):
            return heard.get(timeout=DRAW_S)


async def _submit(engine: Engine, request: LLMRequest) -> Call:
    return engine.submit(request, face=FACE, streams=True)


async def _cancel(call: Call) -> None:
    call.cancel()


def _history() -> Path | None:
    """Where the lines of earlier chats are; None: nothing can be kept there."""
    try:
        return state_folder() / "chat_history"
    except OSError:
        return None


def _figures(reply: LLMResponse) -> str:
    """Who answered, how long it took and what it cost."""
    words = [reply.provider or "", reply.model or "", f"{reply.duration_s:.1f} s"]
    if reply.usage is not None:
        for tokens, way in ((reply.usage.input_tokens, "in"), (reply.usage.output_tokens, "out")):
            if tokens is not None:
                words.append(f"{tokens:,} {way}")
    return " · ".join(filter(None, words))
