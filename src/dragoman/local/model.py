"""The model in this process: messages in, pieces of an answer out. xllamacpp is imported only when it is asked."""

from __future__ import annotations

import importlib
import os
import queue
import secrets
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

CONTEXT_TOKENS = 8192
MAX_THREADS = 4

_NO_GRAMMAR = "JSON schema"
"""What the engine's words have when it cannot make a grammar of a schema."""

Json = Mapping[str, Any]


class ModelFailedError(Exception):
    """The model did not answer; the message says why."""


class SchemaRefusedError(ModelFailedError):
    """The engine can make no grammar of the schema; the message says why."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended."""

    finish_reason: str
    """``stop``, or ``length`` when it was cut at the most tokens allowed."""
    input_tokens: int | None
    output_tokens: int | None


class _Threads(Protocol):
    n_threads: int


class _ModelFile(Protocol):
    path: str


class _Parameters(Protocol):
    model: _ModelFile
    cpuparams: _Threads
    cpuparams_batch: _Threads
    n_ctx: int
    n_parallel: int
    port: int
    verbosity: int
    ui: bool
    warmup: bool
    api_keys: list[str]


class Server(Protocol):
    """The engine: llama.cpp's server inside this process."""

    def handle_chat_completions(self, request: Json, callback: Callable[[Json], bool], /) -> None:
        """Answer `request`; every chunk goes to `callback`, on this thread, until it returns True."""
        ...


class _Library(Protocol):
    CommonParams: Callable[[], _Parameters]
    Server: Callable[[_Parameters], Server]


@cache
def load_server(weights: Path) -> Server:
    """Load the model; once in a process, about half a second.

    Raises:
        ModelFailedError: the engine or the weights do not load.
    """
    # Idle OpenMP threads otherwise spin, and several times slow down whoever shares the processor. Read at import.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        library = cast("_Library", importlib.import_module("xllamacpp"))
    except ImportError as error:
        hint = "install libgomp1 (Debian, Ubuntu)" if "libgomp" in str(error) else "run `pip install 'dragoman[local]'`"
        raise ModelFailedError(f"the model's engine does not load: {error}; {hint}") from error
    parameters = library.CommonParams()
    parameters.model.path = str(weights)
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = min(MAX_THREADS, _processors())
    parameters.verbosity = -1
    parameters.ui = False
    parameters.warmup = False
    # The engine opens a loopback port whether we want it or not; a key that nobody knows shuts it.
    parameters.port = 0
    parameters.api_keys = [secrets.token_hex(16)]
    try:
        return library.Server(parameters)
    except Exception as error:
        raise ModelFailedError(f"the model does not load from {str(weights)!r}: {error}") from error


def answer(
    server: Server,
    messages: Sequence[Json],
    *,
    temperature: float,
    max_tokens: int,
    seed: int | None = None,
    schema: Json | None = None,
) -> Generator[str, None, Ending]:
    """The answer in pieces. Closing the generator stops the model.

    Raises:
        ModelFailedError: the model refuses the messages, for one because they are too long.
        SchemaRefusedError: the schema has something that the engine cannot hold an answer to.
    """
    request: dict[str, Any] = {"messages": list(messages), "temperature": temperature, "max_tokens": max_tokens}
    request |= {"stream": True, "stream_options": {"include_usage": True}}
    if seed is not None:
        request["seed"] = seed
    if schema is not None:
        request["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
    finish_reason, usage = "stop", cast("Json", {})
    for chunk in _chunks(server, request):
        if "error" in chunk:
            raise _failure(str(chunk["error"].get("message", chunk["error"])))
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices", ()):
            finish_reason = choice.get("finish_reason") or finish_reason
            if text := choice.get("delta", {}).get("content"):
                yield text
    return Ending(finish_reason, usage.get("prompt_tokens"), usage.get("completion_tokens"))


def _failure(words: str) -> ModelFailedError:
    _, found, why = words.partition(_NO_GRAMMAR)
    return SchemaRefusedError(why.strip(" ':)")) if found else ModelFailedError(words)


def _chunks(server: Server, request: Json) -> Generator[Json, None, None]:
    """Turn the engine's callback into an iterator: it runs in a thread, which ends before this generator does."""
    chunks: queue.SimpleQueue[Json | None] = queue.SimpleQueue()
    stop = threading.Event()

    def take(chunk: Json) -> bool:
        chunks.put(chunk)
        return stop.is_set()

    def run() -> None:
        try:
            server.handle_chat_completions(request, take)
        except Exception as error:  # noqa: BLE001 - it belongs to the reader of the chunks, not to this thread
            chunks.put({"error": {"message": f"the model's engine failed: {error!r}"}})
        finally:
            chunks.put(None)

    thread = threading.Thread(target=run, name="smollm2", daemon=True)
    thread.start()
    try:
        while (chunk := chunks.get()) is not None:
            yield chunk
    finally:
        stop.set()
        thread.join()


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
