"""``ask_many``: several questions at once, and one answer of several."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from mcp_types import CallToolResult, Tool, ToolAnnotations
from pydantic import ValidationError

from dragoman.adapters.base import Completed, Failed, Outcome
from dragoman.engine import Engine
from dragoman.engine.context import Context, Handler
from dragoman.engine.many import Many, questions
from dragoman.schemas import Combine, Combined, LLMRequest, ManyAnswer, Notice, Text
from dragoman.server.arguments import wrong
from dragoman.server.callers import ToolCall
from dragoman.server.pages import FRAME_BYTES, json_bytes
from dragoman.server.tools.base import WHOLE_ANSWERS, ToolForAny, tool

NAME = "ask_many"
MOST = 500
"""How many questions one call may ask."""
TWICE_SHARE = 0.25
"""Answers stand in the text, and as data too when they take no more than this share of what a client shows, and all of
the data is shown beside them."""


class AskMany(ToolForAny):
    """It is a job as any other: what takes long is collected by its id."""

    name = NAME

    async def call(self, call: ToolCall) -> CallToolResult:
        many = _many(self._engine, call.given)
        # What is asked, so that a repeated call is told from another one.
        asked = {name: value for name, value in call.given.items() if name not in ("max_wait_s", "timeout_s")}
        request = LLMRequest(prompt=json.dumps(asked, ensure_ascii=False, sort_keys=True), remember=False)
        return await self._desk.answer(request, call, _work(many, call.caller.answer_bytes))

    def described(self, hints: ToolAnnotations) -> Tool:
        return tool(
            NAME,
            "Ask many",
            "Every prompt to every provider at once. combine, for each prompt: vote: what most say; judge: a provider "
            "weighs the answers.",
            {
                "prompts": {"type": "array", "items": {"type": "string"}},
                "providers": {"type": "array", "items": {"type": "string"}},
                "pairs": {
                    "type": "array",
                    "items": {"type": "object"},
                    "description": "Instead: {provider, prompt}, …",
                },
                "combine": {"type": "string", "enum": ["none", "vote", "judge"]},
                "judge": {"type": "string"},
                "timeout_s": {"type": "number", "exclusiveMinimum": 0},
                "max_wait_s": {"type": "number", "minimum": 0},
            },
            hints,
            meta=WHOLE_ANSWERS,
        )


def _many(engine: Engine, given: Mapping[str, Any]) -> Many:
    for name in ("prompts", "providers"):
        if not all(isinstance(each, str) for each in given.get(name, ())):
            raise wrong(f"{name!r} must be a list of strings", f"correct {name!r} and call again")
    pairs = [_pair(each) for each in given.get("pairs", ())]
    asked = questions(given.get("prompts"), given.get("providers"), pairs)
    if len(asked) > MOST:
        raise wrong(f"these are {len(asked)} questions", f"ask at most {MOST} at once, or use `dragoman many FILE`")
    for name, _ in asked:
        if name is not None and name not in engine.providers.adapters:
            raise engine.providers.unknown(name)
    try:
        requests = [LLMRequest(provider=provider, prompt=prompt, remember=False) for provider, prompt in asked]
    except ValidationError as error:
        raise wrong(
            f"a prompt {error.errors()[0]['msg'].removeprefix('Value error, ')}", "correct it and call again"
        ) from error
    return Many(
        engine,
        requests,
        face="mcp",
        timeout_s=given.get("timeout_s"),
        combine=cast("Combine", given.get("combine", "none")),
        judge=given.get("judge"),
    )


def _pair(value: object) -> tuple[str | None, str]:
    match value:
        case {"prompt": str(prompt), "provider": str(provider)} if len(cast("dict[str, Any]", value)) == 2:
            return provider, prompt
        case {"prompt": str(prompt)} if len(cast("dict[str, Any]", value)) == 1:
            return None, prompt
        case _:
            pass
    raise wrong("'pairs' must be a list of objects", 'write each as {"provider": "…", "prompt": "…"}')


def _work(many: Many, answer_bytes: int) -> Handler:
    """Ask all, tell how far it is, and make one text of the answers."""

    async def work(context: Context) -> Outcome:
        from dragoman.engine.layers.validation import Wanted

        answers: list[ManyAnswer] = []
        async with aclosing(aiter(many)) as coming:
            async for answer in coming:
                answers.append(answer)
                # Not a notice of the reply: it is of use while others are awaited.
                context.call.log.append(Notice(message=f"{many.progress} answered"))
                context.take(Text(text=f"{_told(answer)}\n\n"))
        answers.sort(key=lambda answer: answer.number)
        completed = [answer for answer in answers if answer.reply.status == "completed"]
        first = next((answer.reply.error for answer in answers if answer.reply.error is not None), None)
        if not completed and first is not None:
            message = f"none of the {len(answers)} questions was answered; the first: {first.message}"
            return Failed(first.model_copy(update={"message": message}))
        text = "\n\n".join([*map(_combined, many.combined), *map(_told, answers)])
        data = _data(many, answers, brief=False)
        if json_bytes(text) > answer_bytes * TWICE_SHARE or json_bytes([text, data]) > answer_bytes - FRAME_BYTES:
            data = _data(many, answers, brief=True)
        context.wanted = Wanted(data=data, has_data=True)
        return Completed(text)

    return work


def _told(answer: ManyAnswer) -> str:
    reply = answer.reply
    head = f"[{answer.number}] {reply.provider or answer.request.provider or 'nobody'}"
    if reply.error is None:
        return f"{head}: {reply.text}"
    return f"{head} failed: {reply.error.code.value}: {reply.error.message}"


def _combined(combined: Combined) -> str:
    if combined.error is not None:
        return f"[{combined.how}] failed: {combined.error.message}"
    numbers = ", ".join(map(str, combined.numbers)) or "none of them"
    if combined.how == "vote":
        tied = ", and as many say something else" if combined.tied else ""
        return f"[vote] {len(combined.numbers)} of {combined.answered} say so ({numbers}){tied}: {combined.text}"
    return f"[judge {combined.judge}] best: {numbers}. {combined.why}\n{combined.text}"


def _data(many: Many, answers: Sequence[ManyAnswer], *, brief: bool) -> dict[str, Any]:
    told = [answer.public() for answer in answers]
    combined = [each.public() for each in many.combined]
    for each in (*told, *combined):
        each.pop("call_id", None)
        if brief:
            each.pop("text", None)
    return {"answers": told, "combined": combined} if combined else {"answers": told}
