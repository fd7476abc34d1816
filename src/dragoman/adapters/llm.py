"""Simon Willison's `llm`: one process for one question, the prompt on stdin, the answer as it comes on stdout.

A conversation that is kept has a database of its own, which `llm` goes on with: there it finds what the models' answers
had beside their text, such as signed thoughts. Calls that share a database fail by its lock, after the whole answer was
printed.

It has no error codes and no machine-readable stream, so failures are told by their text, and an answer that the
provider cut without an error cannot be told from a whole one. Measured with llm 0.36.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, cast

from dragoman.adapters.base import (
    FINISH_S,
    FLUSH_S,
    Act,
    Argument,
    Close,
    Completed,
    Done,
    Emit,
    Exit,
    Failed,
    Framing,
    Installed,
    KeptFile,
    Launch,
    Login,
    Outcome,
    Plan,
    PrivateFile,
    Profile,
    Ready,
    Refused,
    Session,
    Stream,
    Turn,
    TurnId,
    Value,
    Write,
)
from dragoman.adapters.classify import code_from_status, code_from_text
from dragoman.adapters.llm_history import CONVERSATION, database
from dragoman.schemas import Bound, ErrorCode, ErrorInfo, Notice, Text, Thought, TimeoutOverrides, Usage

STDERR_LINES = 100
"""How many lines of stderr are kept to explain a failure."""

_USAGE = re.compile(r"Token usage:(?: (\d[\d,]*) input)?,?(?: (\d[\d,]*) output)?(?:,? \{.*\})?")
_COUNT_CHARS = 40
"""A longer count of tokens is none; `int` takes some thousands of digits and then raises."""
_FAILURE = re.compile(r"Error: |Usage: |Traceback \(most recent call last\):")
_STATUS = re.compile(r"Error code: (\d{3})\b")
_NO_SCHEMA = re.compile(r"does not support (?:schemas|this schema)")
_NO_SUCH_OPTION = re.compile(r"(temperature|max_tokens)\n\s*Extra inputs are not permitted")
_NO_CONVERSATION = "No conversation found with id="
_LOCKED = "sqlite3.OperationalError: database is locked"
_DATABASE_FAILS = re.compile(r"sqlite3\.(?:Operational|Database|Integrity)Error: ")
_SESSION = re.compile(r"[0-9a-f-]{36}")
_KEY_NAME = re.compile(r"llm keys set ([\w.-]+)")
_MORE_PRECISE = {ErrorCode.QUOTA, ErrorCode.CONTEXT_LENGTH, ErrorCode.PROMPT_TOO_LARGE, ErrorCode.REFUSED}
"""What a provider's words may say more precisely than its status: 429 is also "no quota", 400 also "too long"."""


# `llm` has no login check, and a list of keys does not tell whether the default model needs one. This code runs inside
# `llm`, where it defines "functions" for a prompt, and ends it before there is any; it shows a verdict, never a key.
_LOGIN_CHECK = """\
import os, llm
model = llm.get_model(os.environ.get("LLM_MODEL") or llm.get_default_model())
try:
    model.get_key()
except llm.NeedsKeyException:
    print("no key")
else:
    print("ready")
raise SystemExit(0)
"""

PROFILE = Profile(
    name="llm",
    title="llm",
    description="The `llm` command: whichever model its user has set up, hosted or local. It answers from the prompt "
    "alone: it reads no files and has no tools.",
    executables=("llm",),
    install_hint="run `pipx install llm` or `uv tool install llm`, then `llm keys set openai`",
    order=40,
    minimum_version=(0, 26),
    login=Login(
        argv=("prompt", "--database=:memory:", f"--functions={_LOGIN_CHECK}"),
        hint="store a key with `llm keys set openai`, or choose a model that needs none with `llm models default`",
    ),
    pass_env=("LLM_USER_PATH", "LLM_MODEL", "LLM_LOAD_PLUGINS", "OLLAMA_HOST"),
    metered_env=(
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
        "LLM_GEMINI_KEY",
        "MISTRAL_API_KEY",
        "LLM_MISTRAL_KEY",
        "OPENROUTER_KEY",
        "GROQ_API_KEY",
        "LLM_GROQ_KEY",
        "DEEPSEEK_API_KEY",
        "XAI_API_KEY",
        "AZURE_OPENAI_API_KEY",
    ),
    # It is silent while a model thinks without telling its thoughts, and to the end of one that cannot stream.
    timeouts=TimeoutOverrides(startup=180),
    own_retries="limited",  # the OpenAI client's: two, which take 2 to 3 seconds
    strength={"read-only": "enforced"},
    reads_folder=False,
    takes_history=True,
    takes_temperature=True,
    takes_max_tokens=True,
    keeps_sessions=True,
    native_schema="any",
    detaches=True,
)


class LlmDialogue:
    """One question to one `llm prompt`. `explain` turns an exit code and stderr's lines into a failure."""

    def __init__(self, explain: Callable[[int, Sequence[str]], ErrorInfo] | None = None) -> None:
        self._explain = explain or explain_failure
        self._turn: Turn | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._answered = False
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._failing = False
        self._usage: Usage | None = None

    def start(self) -> Iterable[Act]:
        """The process takes its prompt at once."""
        return (Ready(),)

    def begin(self, turn: Turn) -> Iterable[Act]:
        """`llm` reads stdin to its end before it does anything, so the prompt's end is the start."""
        self._turn = turn
        return (Write(turn.prompt.encode()), Close())

    def receive(self, stream: Stream, frames: Sequence[bytes]) -> Iterable[Act]:
        """Answer on stdout; reasoning, usage and errors, in words, on stderr."""
        if self._turn is None:
            return ()
        if stream is Stream.STDOUT:
            return self._text(self._decoder.decode(b"".join(frames)))
        return [act for frame in frames for act in self._stderr_line(self._turn.id, frame)]

    def interrupt(self, turn: TurnId) -> Iterable[Act] | None:
        """There is no way but a signal."""
        return None

    def closed(self, end: Exit) -> Iterable[Act]:
        """The process ended: exit code 0 with text is an answer."""
        if self._turn is None:
            return ()
        turn, rest = self._turn, self._text(self._decoder.decode(b"", final=True))
        self._turn = None
        bound = self._bound(turn) if end.code == 0 and not self._answered else ()
        return (*rest, *bound, *self._done(turn, end))

    def _text(self, text: str) -> Sequence[Act]:
        """Pass on the answer, without the line end that `llm` prints behind it."""
        text, self._held = self._held + text, ""
        if text.endswith("\n"):
            text, self._held = text[:-1], "\n"
        if not text or self._turn is None:
            return ()
        bound = () if self._answered else self._bound(self._turn)
        self._answered = self._answered or not text.isspace()
        return (*bound, Emit(self._turn.id, Text(text=text)))

    def _bound(self, turn: Turn) -> Sequence[Act]:
        """The session, once something may stand in it."""
        return (Emit(turn.id, Bound(native_session=turn.session.id)),) if turn.session is not None else ()

    def _stderr_line(self, turn: TurnId, frame: bytes) -> Iterable[Act]:
        line = frame.decode("utf-8", "replace").rstrip()
        self._stderr.append(line)
        if usage := _USAGE.fullmatch(line):
            self._usage = _read_usage(usage)
            return ()
        # What follows the first word of an error is no reasoning, so it is kept for the end.
        self._failing = self._failing or _FAILURE.match(line) is not None
        return () if self._failing or not line else (Emit(turn, Thought(text=f"{line}\n")),)

    def _done(self, turn: Turn, end: Exit) -> Iterable[Act]:
        words = "\n".join(self._stderr)
        if turn.session is None or end.code == 0 or not (fault := _DATABASE_FAILS.search(words)):
            yield Done(turn.id, self._outcome(turn, end))
        elif self._answered and self._held:
            # It prints an answer whole, with a line end, before it writes it down.
            yield Emit(turn.id, Notice(message=f"llm could not write its session down: {words[fault.start() :]}"))
            yield Done(turn.id, Completed(model=turn.model, usage=self._usage, session="lost"))
        elif self._answered:
            yield Done(turn.id, self._outcome(turn, end))
        else:
            reason: Literal["busy", "lost"] = "busy" if _LOCKED in words else "lost"
            yield Done(turn.id, Failed(self._explain(end.code, tuple(self._stderr)), session=reason))

    def _outcome(self, turn: Turn, end: Exit) -> Outcome:
        if end.code != 0:
            error = self._explain(end.code, tuple(self._stderr))
            lost = turn.session is not None and _NO_CONVERSATION in error.message
            return Failed(
                error,
                model=turn.model,
                usage=self._usage,
                session="lost" if lost else None,
                unsupported=_unsupported(error.message),
            )
        if not self._answered:
            empty = "llm ended well but answered nothing"
            error = ErrorInfo.of(ErrorCode.MALFORMED_OUTPUT, empty, next_step="ask again, or name another `model`")
            return Failed(error, model=turn.model, usage=self._usage)
        return Completed(model=turn.model, usage=self._usage)


class LlmAdapter:
    """What knows `llm`."""

    profile = PROFILE

    def plan(self, turn: Turn, found: Installed) -> Plan:
        """One process for this turn, beside the database of its session."""
        model = (Value("--model=", turn.model),) if turn.model else ()
        if turn.session is None:
            return plan_prompt(turn, *prompt_arguments(turn), *said_before(turn), *model)
        if not _SESSION.fullmatch(turn.session.id):
            words = f"{turn.session.id!r} is not the name of a session of ours"
            raise Refused(ErrorCode.BAD_REQUEST, words, "begin a new conversation")
        return plan_prompt(turn, *prompt_arguments(turn), *_kept(turn, turn.session), *model)

    def dialogue(self, plan: Plan) -> LlmDialogue:
        """A new dialogue for one process."""
        return LlmDialogue()

    def logged_in(self, code: int, stdout: str, stderr: str) -> bool | None:
        """Whether the default model needs no key or has one."""
        if code == 0:
            return {"ready": True, "no key": False}.get(stdout.strip())
        return False if "Unknown model" in stderr else None


def prompt_arguments(turn: Turn) -> tuple[Argument, ...]:
    """The arguments of `llm prompt` that every turn has, but for what was said before."""
    schema = json.dumps(turn.schema).encode() if turn.schema is not None else None
    return (
        "prompt",
        "--usage",
        *_option("temperature", turn.temperature),
        *_option("max_tokens", turn.max_tokens),
        *((PrivateFile("--schema=", "schema.json", schema),) if schema else ()),
    )


def said_before(turn: Turn) -> tuple[Argument, ...]:
    """The arguments that tell what was said before, and keep nothing."""
    if not turn.history:
        return ("--database=:memory:", *_system(turn))
    # In a conversation `llm` ignores a system prompt that it is given: it goes on with the one that stands there.
    content = database(turn.history, turn.model, turn.system, CONVERSATION)
    return (PrivateFile("--database=", "conversation.db", content), f"--cid={CONVERSATION}", "--no-log")


def _kept(turn: Turn, session: Session) -> tuple[Argument, ...]:
    conversation = _conversation_of(turn.system, turn.model)
    content = database(turn.history, turn.model, turn.system, conversation) if session.is_new else None
    # The log also where the user has switched it off, which would be of all that is asked.
    return (KeptFile("--database=", f"{session.id}.db", content), f"--cid={conversation}", "--log", *_system(turn))


@lru_cache(maxsize=8)
def _conversation_of(system: str | None, model: str | None) -> str:
    """Its name in the session's database: of another system prompt or model there is none, and `llm` says so.

    It goes on with those that a conversation began with, whatever a later turn is given or not given.
    """
    sticks = json.dumps([system, model]).encode()
    return f"{CONVERSATION}-{blake2b(sticks, digest_size=8).hexdigest()}"


def _system(turn: Turn) -> tuple[Argument, ...]:
    return (PrivateFile("--sf=", "system.txt", turn.system.encode()),) if turn.system is not None else ()


def _option(name: str, value: float | None) -> tuple[Argument, ...]:
    return () if value is None else ("-o", name, Value("", f"{value}"))


def plan_prompt(turn: Turn, *argv: Argument) -> Plan:
    """A plan for one process that takes one turn."""
    channel = Launch(
        argv=argv,
        # UTF-8 whatever the locale: otherwise Python decodes the prompt by it, and fails on the answer.
        env={"PYTHONUTF8": "1"},
        framing=Framing.RAW,
        finish_s=FINISH_S if turn.session is None else FLUSH_S,
        can_be_left=True,
    )
    return Plan(channel=channel, host_key=turn.id)


def explain_failure(code: int, stderr: Sequence[str]) -> ErrorInfo:
    """The failure behind an exit code and what stderr said, and what to do next."""
    tail = "\n".join(stderr).strip()[-4000:] or None
    if code < 0:
        return ErrorInfo.of(ErrorCode.CRASHED, f"llm was ended by signal {-code}", stderr_tail=tail)
    cause = _cause(stderr) or f"llm ended with exit code {code} and said nothing"
    kind, step = _classify(code, cause, crashed=not any(line.startswith("Error: ") for line in stderr))
    return ErrorInfo.of(kind, cause, next_step=step, stderr_tail=tail)


def _cause(stderr: Sequence[str]) -> str:
    """An error's own words, all of its lines; of a traceback the last line."""
    errors = [number for number, line in enumerate(stderr) if line.startswith("Error: ")]
    if errors:
        return "\n".join(stderr[errors[-1] :]).strip().removeprefix("Error: ")
    return next((line.strip() for line in reversed(stderr) if line.strip()), "")


def _classify(exit_code: int, cause: str, *, crashed: bool) -> tuple[ErrorCode, str | None]:
    if cause.startswith("No key found"):
        name = _KEY_NAME.search(cause)
        command = f"llm keys set {name[1] if name else 'openai'}"
        return ErrorCode.AUTH, f"run `{command}`, or name a `model` that needs no key"
    if "Unknown model" in cause:
        return ErrorCode.BAD_REQUEST, "run `llm models` to see the models there are, or `llm install` one's plugin"
    if status := _STATUS.match(cause):
        return _of_status(int(status[1]), cause)
    if _NO_SCHEMA.search(cause):
        return ErrorCode.BAD_REQUEST, "ask without a schema, or name a `model` that takes one"
    if option := _NO_SUCH_OPTION.search(cause):
        return ErrorCode.BAD_REQUEST, f"leave out `{option[1]}`, or name a `model` that takes it"
    if "database is locked" in cause or "_llm_migrations" in cause:
        return ErrorCode.CRASHED, "another `llm` holds its database; ask again"
    if exit_code == 2:
        return ErrorCode.BAD_REQUEST, "this `llm` does not know these options: update it, or correct its `args`"
    if crashed:
        return ErrorCode.CRASHED, "run `llm plugins`: if it fails too, a plugin or a file of `llm` is broken"
    kind = code_from_text(cause, ErrorCode.BAD_REQUEST)
    return kind, "Is the network up, and the model's server running?" if kind is ErrorCode.NETWORK else None


def _unsupported(cause: str) -> Literal["schema", "temperature", "max_tokens"] | None:
    """What of a turn a model does not take, by `llm`'s words when it refuses it."""
    if _NO_SCHEMA.search(cause):
        return "schema"
    option = _NO_SUCH_OPTION.search(cause)
    return cast('Literal["temperature", "max_tokens"]', option[1]) if option else None


def _of_status(status: int, cause: str) -> tuple[ErrorCode, str | None]:
    kind = code_from_status(status)
    if (by_text := code_from_text(cause, kind)) in _MORE_PRECISE:
        kind = by_text
    steps = {
        ErrorCode.AUTH: "the stored key is not accepted: run `llm keys set` for this model's provider again",
        ErrorCode.RATE_LIMITED: "wait a little and ask again, or ask another provider",
        ErrorCode.QUOTA: "look at the account's plan and billing, or ask another provider",
    }
    return kind, steps.get(kind)


def _read_usage(line: re.Match[str]) -> Usage | None:
    read, written = (
        int(count.replace(",", "")) if count and len(count) <= _COUNT_CHARS else None for count in line.groups()
    )
    return None if read is None and written is None else Usage(input_tokens=read, output_tokens=written)


adapter = LlmAdapter()
