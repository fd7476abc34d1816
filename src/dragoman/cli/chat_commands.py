"""What can be done in a chat besides talking: lines that begin with a slash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dragoman.cli import output
from dragoman.cli.conversations import FORMATS, say_list, say_turn, write_new
from dragoman.cli.question import UsageError
from dragoman.engine.conversations import PAGE
from dragoman.schemas import ConversationInfo, ErrorCode, LLMError

if TYPE_CHECKING:
    from dragoman.cli.chat import Chat

LISTED = 10
RECALLED = 2
"""How many turns are shown of a conversation that is gone on with."""
DEFAULT = "-"
"""Takes back what was chosen."""


@dataclass(frozen=True)
class Command:
    """One of them. `do` is given what stands behind the name; False ends the chat."""

    takes: str
    help: str
    do: Callable[[str], bool | None]


class Commands:
    """Those of one chat."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._all = {
            "/help": Command("", "show this", self._help),
            "/provider": Command(
                "NAME", "let another one answer from here on; without NAME, list them", self._provider
            ),
            "/model": Command("MODEL", f"choose the provider's model; {DEFAULT} for its own choice", self._model),
            "/system": Command("TEXT", "give instructions that stand above all that follows", self._system),
            "/new": Command("", "begin a new conversation", self._new),
            "/list": Command("", "list the latest conversations", self._list),
            "/resume": Command("ID", "go on with an earlier conversation; without ID, the latest one", self._resume),
            "/export": Command("FILE", "write the conversation to a new file, .md or .json", self._export),
            "/quit": Command("", "leave, as Ctrl-D does", lambda _: False),
        }

    def run(self, line: str) -> bool:
        """Do what a line says; whether the chat goes on.

        Raises:
            UsageError: there is no such command, or it is not complete.
            LLMError: it could not be done.
            OSError: a file could not be written.
        """
        name, _, rest = line.partition(" ")
        command = self._all.get(name)
        if command is None:
            raise UsageError(f"there is no {name}; /help shows what there is, // begins a message with a slash")
        return command.do(rest.strip()) is not False

    def complete(self, line: str) -> Sequence[str]:
        """The lines that this one may become."""
        name, space, rest = line.partition(" ")
        if not space:
            if not name.startswith("/"):
                return []
            return [f"{known} " if each.takes else known for known, each in self._all.items() if known.startswith(name)]
        match name:
            case "/provider":
                words: Sequence[str] = list(self._chat.engine.providers.adapters)
            case "/resume":
                try:
                    words = self._chat.do(lambda: self._chat.engine.conversations.ids(rest))
                except LLMError:
                    words = []
            case _:
                words = []
        return [f"{name} {word}" for word in words if word.startswith(rest)]

    def check(self, provider: str) -> None:
        """Check that there is such a provider.

        Raises:
            LLMError: there is none (code ``not_found``).
        """
        providers = self._chat.engine.providers
        if provider not in providers.adapters:
            raise providers.unknown(provider)

    def recall(self) -> None:
        """Show the end of the conversation that is gone on with."""
        conversation_id = self._chat.conversation_id
        assert conversation_id is not None  # noqa: S101 - who calls looked
        show = self._chat.engine.conversations.show
        try:
            info, turns, more = self._chat.do(lambda: show(conversation_id))
            if more is not None:
                turns = self._chat.do(lambda: show(conversation_id, -(-info.turn_count // PAGE)))[1]
        except LLMError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                raise
            output.remark(f"a new conversation, {conversation_id}")
            return
        if (earlier := info.turn_count - len(turns[-RECALLED:])) > 0:
            counted = f"{earlier} earlier turn{'s' if earlier > 1 else ''}"
            output.remark(f"{counted}: dragoman conversations show {info.conversation_id}")
        for turn in turns[-RECALLED:]:
            say_turn(turn)

    def _help(self, _: str) -> None:
        rows = [(f"{name} {command.takes}".rstrip(), command.help) for name, command in self._all.items()]
        for line in output.columns(rows):
            output.say(line)
        output.say("A message that begins with a slash begins with two.")
        output.say("A line that ends with \\ goes on in the next one; so does a text of many lines that is pasted.")

    def _provider(self, name: str) -> None:
        if not name:
            statuses = self._chat.do(self._chat.engine.providers.statuses)
            rows = [(status.name, status.state, status.next_step or "") for status in statuses]
            output.say_table(("provider", "state", "next step"), rows)
            return
        self.check(name)
        self._answered_by(name)

    def _model(self, name: str) -> None:
        if not name:
            output.say(self._chat.request.model or "the provider chooses")
            return
        self._chat.change(model=None if name == DEFAULT else name)
        output.remark("the provider chooses" if name == DEFAULT else f"{name} answers from here on")

    def _system(self, text: str) -> None:
        if not text:
            output.say(self._chat.request.system_prompt or "there are no instructions of this chat")
            return
        self._chat.change(system_prompt=text)
        output.remark("noted")

    def _new(self, _: str) -> None:
        self._chat.change(conversation_id=None)
        output.remark("a new conversation")

    def _list(self, _: str) -> None:
        say_list(self._chat.do(lambda: self._chat.engine.conversations.list(LISTED)))

    def _resume(self, conversation_id: str) -> None:
        kept = self._chat.engine.conversations
        if not conversation_id:
            newest = self._chat.do(lambda: kept.list(1))
            if not newest:
                raise UsageError("there is no conversation yet")
            conversation_id = newest[0].conversation_id
        whole_id = self._chat.do(lambda: kept.full_id(conversation_id))
        info: ConversationInfo = self._chat.do(lambda: kept.show(whole_id))[0]
        if info.provider not in (None, self._chat.request.provider):
            self._answered_by(info.provider)
        self._chat.change(conversation_id=info.conversation_id, system_prompt=None)
        self.recall()

    def _answered_by(self, provider: str) -> None:
        # A model is one provider's.
        self._chat.change(provider=provider, model=None, effort=None)

    def _export(self, name: str) -> None:
        conversation_id = self._chat.conversation_id
        if not name:
            raise UsageError("/export wants the name of a new file, such as talk.md")
        if conversation_id is None:
            raise UsageError("nothing was said yet")
        try:
            file = Path(name).expanduser()
        except RuntimeError as error:
            raise UsageError(f"{name!r}: nobody has that home; give another path") from error
        form = FORMATS["json" if name.lower().endswith(".json") else "markdown"]
        document = self._chat.do(lambda: self._chat.engine.conversations.export(conversation_id, form))
        write_new(file, document)
