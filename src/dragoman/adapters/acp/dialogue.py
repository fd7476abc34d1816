"""The dialogue in ACP, the Agent Client Protocol, version 1: JSON-RPC in lines, requests in both directions.

Each of our turns gets a session of its own, or goes on with the one that it names::

    initialize      ->  no file system, no terminal: the agent gets neither from us
    session/new     ->  in the folder the child runs in, without MCP servers; then the model, where one is asked for
    session/load    ->  the same, where the agent says it can; what was said before is told again, and passed over
    session/prompt  ->  session/update …, and an answer that says why the turn ended

The answer is what was said after the last use of a tool; what came before (such as "I will look at the files") is
streamed too. Whatever the agent asks permission for is denied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dragoman.adapters.acp import copilot
from dragoman.adapters.acp.errors import explain
from dragoman.adapters.acp.rpc import Asked, Peer, Reply, Told
from dragoman.adapters.answer import Answer
from dragoman.adapters.base import (
    Act,
    Completed,
    Done,
    Emit,
    Exit,
    Failed,
    Poison,
    Ready,
    Stream,
    Turn,
    TurnId,
)
from dragoman.adapters.classify import code_from_text, misused
from dragoman.adapters.json_lines import items, mapping, objects, text, whole
from dragoman.schemas import Billing, Bound, ErrorCode, ErrorInfo, FinishReason, Notice, Text, Thought, Tool, Usage

PROTOCOL_VERSION = 1
# With these at the start an agent takes a prompt for a command of its own.
_COMMAND_SIGNS = ("/", "$")
_NOT_A_COMMAND = "The message:\n\n"
_READING_KINDS = ("read", "search", "think")
_DENIALS = ("reject_once", "reject_always")
_STDERR_LINES = 100
"""So many are kept, for a word that explains an exit: what is wrong with an option stands before pages of help."""
_SHOWN_LINES = 10

_FENCE = "_dragoman/fence"
"""A request that no agent knows. That one says so tells that it has done what it was asked to do before."""

Step = Literal["initialize", "session", "load", "fence", "model", "prompt"]


class Agent:
    """What is known of an agent beyond the protocol; this one is any agent."""

    name = "the agent"
    billing: Billing | None = None
    sets_model = True
    """Whether the model is chosen over the protocol, and not by the command line."""
    wishes: Mapping[str, Any] = copilot.WISHES
    """What else it is asked to tell, as extensions of the client's capabilities."""

    def native(self, session: str) -> str:
        """The name under which a session of this name can be gone on with."""
        return session

    def own(self, native: str) -> str:
        """Its own name for a session, from the one under which that can be gone on with."""
        return native

    def error(self, error: Mapping[str, Any]) -> ErrorInfo:
        """The failure that the error of an answer tells of."""
        return explain(self.name, error)

    def exit(self, code: int, stderr: str) -> ErrorInfo:
        """The failure when it ended in mid-turn, from its exit code and the end of its stderr."""
        if (wrong := misused("acp", stderr)) is not None:
            return wrong
        stderr = "\n".join(stderr.splitlines()[-_SHOWN_LINES:])
        # Some end with 0 on a signal, too: what is to stay and does not has crashed.
        kind = code_from_text(stderr, ErrorCode.CRASHED) if 0 < code < 128 else ErrorCode.CRASHED
        return ErrorInfo.of(kind, f"{self.name} ended in mid-turn (exit {code})" + (f": {stderr}" if stderr else ""))

    def flaw(self, reason: str, result: Mapping[str, Any], *, answered: bool) -> ErrorInfo | None:
        """What is wrong with the end of a turn that looks good, from its stop reason and its result."""
        return None

    def unusable(self, said: Mapping[str, Any]) -> ErrorInfo | None:
        """Why it cannot be asked, from what it says of itself."""
        return copilot.outdated(said)

    def beside(self, answer: Answer) -> copilot.Beside:
        """Hears what it tells of a turn beside the protocol."""
        return copilot.Beside(self.name, answer)

    def stray(self, line: str) -> ErrorInfo | None:
        """Why nothing more can come after a line that is not of the protocol."""
        return None


@dataclass(slots=True)
class _Lane:
    """One of our turns."""

    turn: Turn
    beside: copilot.Beside
    answer: Answer
    session: str | None = None
    offered: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What it said of the session, such as which models there are."""
    usage: Usage | None = None
    model: str | None = None
    unwanted: bool = False
    """It was interrupted before there was a session to cancel."""


class AcpDialogue:
    """See the module."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._peer = Peer[tuple[Step, TurnId]]()
        self._lanes: dict[TurnId, _Lane] = {}
        self._initialized = False
        self._loads = False
        self._unusable: ErrorInfo | None = None
        self._stderr: list[str] = []

    def start(self) -> Iterable[Act]:
        """The handshake. Turns are taken at once, so that one is told how the agent ended if it ends here."""
        wishes = {"_meta": dict(self._agent.wishes)} if self._agent.wishes else {}
        capabilities = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False, **wishes}
        client = {"name": "dragoman", "title": "Dragoman", "version": "1"}
        hello = {"protocolVersion": PROTOCOL_VERSION, "clientCapabilities": capabilities, "clientInfo": client}
        yield self._peer.ask(("initialize", ""), "initialize", hello)
        yield Ready()

    def begin(self, turn: Turn) -> Iterable[Act]:
        """A session of its own, as soon as the handshake is done."""
        answer = Answer()
        lane = self._lanes[turn.id] = _Lane(turn, self._agent.beside(answer), answer, model=turn.model)
        if self._unusable is not None:
            yield self._fail(lane, self._unusable)
        elif self._initialized:
            yield self._open(lane)

    def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        """Messages on stdout; stderr is kept for the case that the agent dies."""
        if stream is Stream.STDERR:
            lines = (frame.decode("utf-8", "replace").strip() for frame in frames)
            self._stderr = [*self._stderr, *filter(None, lines)][-_STDERR_LINES:]
            return
        for message, noise in objects(frames):
            if noise and (failure := self._agent.stray(noise)) is not None:
                yield from self._give_up(failure)
            elif noise:
                yield from (Emit(turn, Notice(message=noise)) for turn in self._lanes)
            if message:
                yield from self._message(message)

    def interrupt(self, turn: TurnId) -> Iterable[Act] | None:
        """Ends the turn; the agent answers the prompt that it was cancelled."""
        lane = self._lanes.get(turn)
        if lane is None:
            return ()
        lane.unwanted = True
        if lane.session is not None:
            return (self._peer.tell("session/cancel", {"sessionId": lane.session}),)
        return () if self._initialized else (self._fail(lane, _cancelled()),)

    def closed(self, end: Exit) -> Iterable[Act]:
        """The agent ended; what is open ends with it."""
        for lane in list(self._lanes.values()):
            failure = _cancelled() if lane.unwanted else self._agent.exit(end.code, "\n".join(self._stderr))
            yield self._fail(lane, failure)

    def _message(self, message: Mapping[str, Any]) -> Iterator[Act]:
        match self._peer.read(message):
            case Reply(("initialize", _), result, error):
                yield from self._hello(result, error)
            case Reply((step, turn), result, error) if lane := self._lanes.get(turn):
                if error is not None and step != "fence":
                    yield self._refused(lane, step, error)
                else:
                    yield from self._go_on(lane, step, result)
            case Asked(method="session/request_permission") as asked:
                yield from self._deny(asked)
            case Asked() as asked:
                yield self._peer.decline(asked)
            case Told("session/update", params) if lane := self._lane_of(params):
                yield from self._update(lane, mapping(params.get("update")))
            case Told(copilot.EVENT, params) if lane := self._lane_of(params):
                yield from self._hear(lane, params)
            case _:
                pass

    def _hello(self, result: Mapping[str, Any], error: Mapping[str, Any] | None) -> Iterator[Act]:
        version = result.get("protocolVersion")
        if error is not None:
            yield from self._give_up(self._agent.error(error))
        elif version != PROTOCOL_VERSION:
            words = f"{self._agent.name} speaks version {version!r} of ACP, Dragoman speaks {PROTOCOL_VERSION}"
            step = f"install a version of {self._agent.name} that speaks version {PROTOCOL_VERSION}"
            yield from self._give_up(ErrorInfo.of(ErrorCode.NOT_FOUND, words, next_step=step))
        elif (unusable := self._agent.unusable(mapping(result.get("agentInfo")))) is not None:
            yield from self._give_up(unusable)
        else:
            self._initialized = True
            self._loads = mapping(result.get("agentCapabilities")).get("loadSession") is True
            for lane in list(self._lanes.values()):
                yield self._open(lane)

    def _give_up(self, failure: ErrorInfo) -> Iterator[Act]:
        self._unusable = failure
        yield Poison(failure.message)
        for lane in list(self._lanes.values()):
            yield self._fail(lane, failure)

    def _open(self, lane: _Lane) -> Act:
        session = lane.turn.session
        where: dict[str, object] = {"cwd": str(lane.turn.runs_in or lane.turn.cwd or "/"), "mcpServers": []}
        if session is None or session.is_new:
            return self._peer.ask(("session", lane.turn.id), "session/new", where)
        if not self._loads or session.fork:
            words = f"{self._agent.name} cannot {'copy' if session.fork else 'go on with'} a session"
            return self._lost(lane, ErrorInfo.of(ErrorCode.BAD_REQUEST, words))
        where["sessionId"] = self._agent.own(session.id)
        return self._peer.ask(("load", lane.turn.id), "session/load", where)

    def _refused(self, lane: _Lane, step: Step, error: Mapping[str, Any]) -> Act:
        failure = _cancelled() if lane.unwanted else self._agent.error(error)
        if step == "load" and failure.code not in (ErrorCode.CANCELLED, ErrorCode.AUTH):
            return self._lost(lane, failure)
        return self._fail(lane, failure)

    def _go_on(self, lane: _Lane, step: Step, result: Mapping[str, Any]) -> Iterator[Act]:
        kept = lane.turn.session
        match step:
            case "prompt":
                yield from self._ended(lane, result)
                return
            case "session":
                lane.session, lane.offered = text(result.get("sessionId")), result
                if kept is not None and lane.session and self._loads:
                    yield Emit(lane.turn.id, Bound(native_session=self._agent.native(lane.session)))
            case "load":
                # It should have told what was said before by now, but gemini does so only when it has said that it did.
                lane.offered = result
                yield self._peer.ask(("fence", lane.turn.id), _FENCE, {})
                return
            case "fence" if kept is not None:
                # From here on, what it says is the answer.
                lane.session = self._agent.own(kept.id)
                yield Emit(lane.turn.id, Bound(native_session=kept.id))
            case _:
                pass
        if lane.unwanted:
            yield self._fail(lane, _cancelled())
        elif not lane.session:
            words = f"{self._agent.name} opened a session without a name"
            yield self._fail(lane, ErrorInfo.of(ErrorCode.MALFORMED_OUTPUT, words))
        elif step != "model" and lane.turn.model is not None and self._agent.sets_model:
            yield self._choose(lane, lane.turn.model, lane.offered)
        else:
            question = {"sessionId": lane.session, "prompt": [{"type": "text", "text": as_text(lane.turn.prompt)}]}
            yield self._peer.ask(("prompt", lane.turn.id), "session/prompt", question)

    def _choose(self, lane: _Lane, model: str, result: Mapping[str, Any]) -> Act:
        """Ask for a model, in the way this agent offers: as an option of the session, or the older one."""
        options = [mapping(option) for option in items(result.get("configOptions"))]
        option = next((option for option in options if option.get("category") == "model"), None)
        models = items(mapping(result.get("models")).get("availableModels"))
        if option is not None:
            where = {"sessionId": lane.session, "configId": option.get("id"), "value": model}
            return self._peer.ask(("model", lane.turn.id), "session/set_config_option", where)
        if models:
            where = {"sessionId": lane.session, "modelId": model}
            return self._peer.ask(("model", lane.turn.id), "session/set_model", where)
        words = f"{self._agent.name} offers no choice of models"
        return self._fail(lane, ErrorInfo.of(ErrorCode.BAD_REQUEST, words, next_step="leave out `model`"))

    def _deny(self, asked: Asked) -> Iterator[Act]:
        offered = [mapping(option) for option in items(asked.params.get("options"))]
        refusal = next((option for kind in _DENIALS for option in offered if option.get("kind") == kind), None)
        outcome = {"outcome": "selected", "optionId": refusal.get("optionId")} if refusal else {"outcome": "cancelled"}
        yield self._peer.answer(asked, {"outcome": outcome})
        if lane := self._lane_of(asked.params):
            title = text(mapping(asked.params.get("toolCall")).get("title"))[:200] or "use a tool"
            yield Emit(lane.turn.id, Notice(message=f"{self._agent.name} asked for permission and was denied: {title}"))

    def _lane_of(self, params: Mapping[str, Any]) -> _Lane | None:
        session = params.get("sessionId")
        return next((lane for lane in self._lanes.values() if session and lane.session == session), None)

    def _update(self, lane: _Lane, update: Mapping[str, Any]) -> Iterator[Act]:
        content = text(mapping(update.get("content")).get("text"))
        match update.get("sessionUpdate"):
            case "agent_message_chunk" if content and not lane.beside.repeats(content):
                yield Emit(lane.turn.id, Text(text=lane.answer.add(content)))
            case "agent_thought_chunk" if content:
                yield Emit(lane.turn.id, Thought(text=content))
            case "tool_call":
                lane.answer.tool_used()
                kind = text(update.get("kind")) or "tool"
                places = [text(mapping(place).get("path")) for place in items(update.get("locations"))]
                detail = next(filter(None, places), "") or text(update.get("title"))
                yield Emit(lane.turn.id, Tool(name=kind, detail=detail[:200], reads_only=kind in _READING_KINDS))
            case _:
                pass

    def _hear(self, lane: _Lane, event: Mapping[str, Any]) -> Iterator[Act]:
        yield from (Emit(lane.turn.id, each) for each in lane.beside.hear(event))
        if lane.beside.is_hopeless and lane.beside.failure is not None:
            yield self._peer.tell("session/cancel", {"sessionId": lane.session})
            yield self._fail(lane, lane.beside.failure)

    def _ended(self, lane: _Lane, result: Mapping[str, Any]) -> Iterator[Act]:
        reason = text(result.get("stopReason"))
        lane.usage, model = _usage(result)
        lane.model = model or lane.model
        answered = bool(lane.answer.text.strip())
        failure: ErrorInfo | None = None
        if not lane.unwanted:
            failure = lane.beside.failure or self._agent.flaw(reason, result, answered=answered)
        if failure is not None:
            yield self._fail(lane, failure)
        elif reason == "cancelled":
            yield self._fail(lane, _cancelled())
        elif reason == "refusal":
            words = f"{self._agent.name} refused to answer"
            yield self._fail(lane, ErrorInfo.of(ErrorCode.REFUSED, words), "refused")
        elif reason == "max_turn_requests" or not answered:
            yield self._fail(lane, _unfinished(self._agent.name, reason))
        else:
            del self._lanes[lane.turn.id]
            yield Done(
                lane.turn.id,
                Completed(
                    text=lane.answer.whole,
                    finish_reason="max_tokens" if reason == "max_tokens" else "stop",
                    model=lane.model,
                    usage=lane.usage,
                    billing=self._agent.billing,
                ),
            )

    def _fail(self, lane: _Lane, failure: ErrorInfo, reason: FinishReason = "error") -> Act:
        del self._lanes[lane.turn.id]
        return Done(lane.turn.id, Failed(failure, model=lane.model, usage=lane.usage, finish_reason=reason))

    def _lost(self, lane: _Lane, failure: ErrorInfo) -> Act:
        del self._lanes[lane.turn.id]
        return Done(lane.turn.id, Failed(failure, model=lane.model, session="lost"))


def as_text(prompt: str) -> str:
    """The prompt, so that an agent does not take it for a command of its own."""
    return _NOT_A_COMMAND + prompt if prompt.lstrip("\ufeff \t\r\n\v\f").startswith(_COMMAND_SIGNS) else prompt


def _unfinished(name: str, reason: str) -> ErrorInfo:
    match reason:
        case "max_turn_requests":
            return ErrorInfo.of(
                ErrorCode.OUTPUT_LIMIT,
                f"{name} stopped after too many rounds with its tools, or going in a circle",
                next_step="ask for less at once",
            )
        case "max_tokens":
            words = f"{name} reached its limit of tokens before any answer"
            return ErrorInfo.of(ErrorCode.OUTPUT_LIMIT, words, next_step="shorten the prompt, or ask for less")
        case _:
            words = f"{name} ended the turn without an answer: it was empty, or the model refused"
            return ErrorInfo.of(ErrorCode.MALFORMED_OUTPUT, words, next_step="ask again, or rephrase the question")


def _cancelled() -> ErrorInfo:
    return ErrorInfo.of(ErrorCode.CANCELLED, "the turn was interrupted")


def _usage(result: Mapping[str, Any]) -> tuple[Usage | None, str | None]:
    """Tokens and model: from ``usage``, as the protocol drafts it, or from where Gemini's family puts it."""
    drafted = mapping(result.get("usage"))
    if drafted:
        cached = whole(drafted.get("cachedReadTokens"))
        tokens = whole(drafted.get("inputTokens")), whole(drafted.get("outputTokens"))
        return Usage(input_tokens=tokens[0], cached_input_tokens=cached, output_tokens=tokens[1]), None
    quota = mapping(mapping(result.get("_meta")).get("quota"))
    counted = mapping(quota.get("token_count"))
    used = [mapping(model) for model in items(quota.get("model_usage"))]
    # The first has the model's full name; later ones may have the alias that was asked for.
    model = text(used[0].get("model")) or None if used else None
    if not counted:
        return None, model
    usage = Usage(input_tokens=whole(counted.get("input_tokens")), output_tokens=whole(counted.get("output_tokens")))
    return usage, model
