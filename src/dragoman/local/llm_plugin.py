"""Our plugin of the `llm` CLI: the model ``smollm2``. Every `llm` start in this venv imports it: keep it light."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import llm
from pydantic import Field

MODEL_ID = "smollm2"
CUT = "smollm2: the answer was cut at max_tokens"
"""What stderr says when the model did not come to an end by itself."""
UNSUPPORTED = "does not support this schema"
"""What stderr says when no grammar can be made of a schema."""
LEFT_OUT = "smollm2: too much was said before; earlier questions left out:"
"""What stderr says, with their number."""
HISTORY_CHARS = 6_000
"""It reads about a thousand characters in a second, and a third of its context is enough for what it can make of it."""
PROSE_TOKENS = 256
"""It can go on for ever where nothing holds it."""
JSON_TOKENS = 512

DEFAULT_SYSTEM = "Answer in one short sentence."
"""Without a system prompt so small a model gets easy questions wrong that it gets right with this one."""


class SmolLM2(llm.Model):
    """SmolLM2 135M: small enough for any machine, and no more than that."""

    model_id = MODEL_ID
    can_stream = True
    supports_schema = True

    class Options(llm.Options):  # pyright: ignore[reportIncompatibleVariableOverride] - how `llm` wants it
        """What a caller may set."""

        temperature: float = Field(default=0.0, ge=0, le=2, description="0 gives the same answer every time")
        max_tokens: int | None = Field(default=None, ge=1, le=4096, description="The most tokens to answer with")
        seed: int | None = Field(default=None, ge=0, description="For a temperature above 0")

    def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,  # noqa: ARG002 - `llm` passes it; the pieces come all the same
        response: llm.Response,
        conversation: llm.Conversation | None,
    ) -> Iterator[str]:
        """The answer in pieces; `llm` joins them when nobody streams."""
        from dragoman.local import model, narrow, weights

        try:
            path = weights.find_weights(weights.weights_folder())
        except weights.WeightsError as error:
            raise llm.ModelError(str(error)) from error
        if path is None:
            raise llm.ModelError(f"the weights of {MODEL_ID} are not here yet; run `{weights.FETCH_COMMAND}`")
        options: Any = prompt.options
        asked: Any = prompt  # `llm` types a schema as a bare dict
        told: Any = response  # and details of the usage likewise
        schema = narrow.narrowed(asked.schema) if asked.schema is not None else None
        max_tokens = options.max_tokens or (PROSE_TOKENS if schema is None else JSON_TOKENS)
        try:
            ending = yield from model.answer(
                model.load_server(path),
                _messages(prompt, conversation),
                temperature=options.temperature,
                max_tokens=max_tokens,
                seed=options.seed,
                schema=schema,
            )
        except model.SchemaRefusedError as error:
            raise llm.ModelError(f"{MODEL_ID} {UNSUPPORTED}: {error}") from error
        except model.ModelFailedError as error:
            raise llm.ModelError(str(error)) from error
        told.set_usage(input=ending.input_tokens, output=ending.output_tokens)
        response.response_json = {"finish_reason": ending.finish_reason}
        if ending.finish_reason == "length":
            sys.stderr.write(f"{CUT} {max_tokens}\n")


def _messages(prompt: llm.Prompt, conversation: llm.Conversation | None) -> list[dict[str, str]]:
    responses: Any = list(conversation.responses) if conversation else []
    # A conversation keeps the system prompt it was begun with.
    system = prompt.system or next((earlier.prompt.system for earlier in responses), None) or DEFAULT_SYSTEM
    messages = [{"role": "system", "content": system}]
    exchanges = [(earlier.prompt.prompt or "", earlier.text()) for earlier in responses]
    kept = _latest(exchanges)
    if len(kept) < len(exchanges):
        sys.stderr.write(f"{LEFT_OUT} {len(exchanges) - len(kept)}\n")
    for question, answer in kept:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    messages.append({"role": "user", "content": prompt.prompt or ""})
    return messages


def _latest(exchanges: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    room = HISTORY_CHARS
    for number, (question, answer) in enumerate(reversed(exchanges)):
        room -= len(question) + len(answer)
        if room < 0:
            return exchanges[len(exchanges) - number :]
    return exchanges


@llm.hookimpl
def register_models(register: Callable[[llm.Model], None]) -> None:
    """Make the model known to `llm`."""
    register(SmolLM2())
