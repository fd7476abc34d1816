"""How the four model APIs say the same thing: streams of events, whole answers, errors.

Pure text: what is sent, and when, is decided by the server.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tests.fakes.http1 import Request
from tests.fakes.scenario import Ending, Scenario

Body = dict[str, Any]
"""What is sent as JSON."""
_NUMBERS = itertools.count(1)
"""claude drops a use of a tool from its session whose name it has seen before."""


class Dialect(Protocol):
    """One model API: the bytes of an answer, in the order they are sent."""

    def streams(self, request: Request) -> bool:
        """Whether the client asked for a stream."""
        ...

    def opening(self, request: Request, scenario: Scenario) -> bytes:
        """What comes before the text."""
        ...

    def chunk(self, request: Request, text: str, scenario: Scenario) -> bytes:
        """One piece of the text."""
        ...

    def closing(self, request: Request, scenario: Scenario) -> bytes:
        """What ends a complete answer."""
        ...

    def whole(self, request: Request, scenario: Scenario) -> Body:
        """The same answer to a client that did not ask for a stream."""
        ...

    def error(self, scenario: Scenario) -> Body:
        """The body of a failure."""
        ...

    def failure(self, scenario: Scenario) -> bytes:
        """A failure in mid-stream."""
        ...


class Messages:
    """Anthropic, ``POST /v1/messages``."""

    def streams(self, request: Request) -> bool:
        return _stream_member(request)

    def opening(self, request: Request, scenario: Scenario) -> bytes:
        message: Body = {
            **self._message(request),
            "content": [],
            "usage": {"input_tokens": scenario.input_tokens, "output_tokens": 1},
        }
        block = {"type": "text", "text": ""}
        return _typed({"type": "message_start", "message": message}) + _typed(
            {"type": "content_block_start", "index": 0, "content_block": block}
        )

    def chunk(self, request: Request, text: str, scenario: Scenario) -> bytes:
        return _typed({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})

    def closing(self, request: Request, scenario: Scenario) -> bytes:
        return b"".join(
            map(
                _typed,
                (
                    {"type": "content_block_stop", "index": 0},
                    *self._tool_events(scenario),
                    {
                        "type": "message_delta",
                        "delta": {"stop_reason": self._stop(scenario), "stop_sequence": None},
                        "usage": {"output_tokens": scenario.output_tokens},
                    },
                    {"type": "message_stop"},
                ),
            )
        )

    def whole(self, request: Request, scenario: Scenario) -> Body:
        return {
            **self._message(request),
            "content": [{"type": "text", "text": scenario.text}, *self._tool_uses(scenario)],
            "stop_reason": self._stop(scenario),
            "usage": {"input_tokens": scenario.input_tokens, "output_tokens": scenario.output_tokens},
        }

    def error(self, scenario: Scenario) -> Body:
        kinds = {
            400: "invalid_request_error",
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            429: "rate_limit_error",
            529: "overloaded_error",
        }
        kind = kinds.get(scenario.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": scenario.message}}

    def failure(self, scenario: Scenario) -> bytes:
        return _typed({"type": "error", "error": {"type": scenario.failure, "message": scenario.message}})

    @staticmethod
    def _message(request: Request) -> Body:
        return {
            "id": f"msg_{next(_NUMBERS)}",
            "type": "message",
            "role": "assistant",
            "model": model_of(request),
            "stop_reason": None,
            "stop_sequence": None,
        }

    @staticmethod
    def _stop(scenario: Scenario) -> str:
        usual = "tool_use" if scenario.tool else "end_turn"
        return {Ending.REFUSED: "refusal", Ending.TOO_LONG: "max_tokens"}.get(scenario.ending, usual)

    @staticmethod
    def _tool_uses(scenario: Scenario) -> list[Body]:
        if scenario.tool is None:
            return []
        return [
            {"type": "tool_use", "id": f"toolu_{next(_NUMBERS)}", "name": scenario.tool[0], "input": scenario.tool[1]}
        ]

    def _tool_events(self, scenario: Scenario) -> list[Body]:
        events: list[Body] = []
        for use in self._tool_uses(scenario):
            delta = {"type": "input_json_delta", "partial_json": json.dumps(use["input"])}
            events += [
                {"type": "content_block_start", "index": 1, "content_block": {**use, "input": {}}},
                {"type": "content_block_delta", "index": 1, "delta": delta},
                {"type": "content_block_stop", "index": 1},
            ]
        return events


class Responses:
    """OpenAI, ``POST /v1/responses``."""

    def streams(self, request: Request) -> bool:
        return _stream_member(request)

    def opening(self, request: Request, scenario: Scenario) -> bytes:
        item: Body = {"type": "message", "id": "msg_fake", "role": "assistant", "status": "in_progress", "content": []}
        return _typed(
            {"type": "response.created", "response": self._response(request, "in_progress", output=[])}
        ) + _typed({"type": "response.output_item.added", "output_index": 0, "item": item})

    def chunk(self, request: Request, text: str, scenario: Scenario) -> bytes:
        kind = "response.refusal.delta" if scenario.ending is Ending.REFUSED else "response.output_text.delta"
        return _typed({"type": kind, "item_id": "msg_fake", "output_index": 0, "content_index": 0, "delta": text})

    def closing(self, request: Request, scenario: Scenario) -> bytes:
        done = [
            {"type": "response.output_item.done", "output_index": index, "item": item}
            for index, item in enumerate(self._items(scenario))
        ]
        whole = self.whole(request, scenario)
        return b"".join(map(_typed, (*done, {"type": f"response.{whole['status']}", "response": whole})))

    def whole(self, request: Request, scenario: Scenario) -> Body:
        cut_off = scenario.ending is Ending.TOO_LONG
        return self._response(
            request,
            "incomplete" if cut_off else "completed",
            output=self._items(scenario),
            incomplete_details={"reason": "max_output_tokens"} if cut_off else None,
            usage={
                "input_tokens": scenario.input_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": scenario.output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": scenario.input_tokens + scenario.output_tokens,
            },
        )

    def error(self, scenario: Scenario) -> Body:
        return _openai_error(scenario)

    def failure(self, scenario: Scenario) -> bytes:
        error = {"code": scenario.failure, "message": scenario.message}
        head = {"id": "resp_fake", "object": "response", "created_at": 0, "status": "failed"}
        return _typed({"type": "response.failed", "response": {**head, "error": error}})

    @classmethod
    def _items(cls, scenario: Scenario) -> list[Body]:
        if scenario.tool is None:
            return [cls._item(scenario)]
        # Tools may be told in groups: the tool a::b is the tool b of the group a.
        group, _, name = scenario.tool[0].rpartition("::")
        call: Body = {
            "type": "function_call",
            "id": "fc_fake",
            "call_id": "call_fake",
            "status": "completed",
            **({"namespace": group} if group else {}),
            "name": name,
            "arguments": json.dumps(scenario.tool[1]),
        }
        return [cls._item(scenario), call]

    @staticmethod
    def _item(scenario: Scenario) -> Body:
        refused = scenario.ending is Ending.REFUSED
        part: Body = (
            {"type": "refusal", "refusal": scenario.text}
            if refused
            else {"type": "output_text", "text": scenario.text, "annotations": []}
        )
        return {"type": "message", "id": "msg_fake", "role": "assistant", "status": "completed", "content": [part]}

    @staticmethod
    def _response(request: Request, status: str, **more: object) -> Body:
        head = {"id": "resp_fake", "object": "response", "created_at": 0, "model": model_of(request)}
        return {**head, "status": status, "error": None, **more}


class ChatCompletions:
    """OpenAI, ``POST /v1/chat/completions``."""

    def streams(self, request: Request) -> bool:
        return _stream_member(request)

    def opening(self, request: Request, scenario: Scenario) -> bytes:
        return self._event(request, {"role": "assistant", "content": ""})

    def chunk(self, request: Request, text: str, scenario: Scenario) -> bytes:
        key = "refusal" if scenario.ending is Ending.REFUSED else "content"
        return _data(self._chunk(request, {key: text}))

    def closing(self, request: Request, scenario: Scenario) -> bytes:
        usage: Body = {**self._chunk(request, {}), "choices": [], "usage": self._usage(scenario)}
        return self._event(request, {}, self._finish(scenario)) + _data(usage) + b"data: [DONE]\n\n"

    def whole(self, request: Request, scenario: Scenario) -> Body:
        refused = scenario.ending is Ending.REFUSED
        message = {
            "role": "assistant",
            "content": None if refused else scenario.text,
            "refusal": scenario.text if refused else None,
        }
        choice = {"index": 0, "message": message, "finish_reason": self._finish(scenario)}
        head = {"id": "chatcmpl-fake", "object": "chat.completion", "created": 0, "model": model_of(request)}
        return {**head, "choices": [choice], "usage": self._usage(scenario)}

    def error(self, scenario: Scenario) -> Body:
        return _openai_error(scenario)

    def failure(self, scenario: Scenario) -> bytes:
        return _data({"error": {"message": scenario.message, "type": scenario.failure, "code": scenario.failure}})

    def _event(self, request: Request, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        return _data(self._chunk(request, delta, finish))

    @staticmethod
    def _chunk(request: Request, delta: Mapping[str, Any], finish: str | None = None) -> Body:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        head = {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 0, "model": model_of(request)}
        return {**head, "choices": [choice]}

    @staticmethod
    def _finish(scenario: Scenario) -> str:
        return {Ending.REFUSED: "content_filter", Ending.TOO_LONG: "length"}.get(scenario.ending, "stop")

    @staticmethod
    def _usage(scenario: Scenario) -> dict[str, int]:
        return {
            "prompt_tokens": scenario.input_tokens,
            "completion_tokens": scenario.output_tokens,
            "total_tokens": scenario.input_tokens + scenario.output_tokens,
        }


class GenerateContent:
    """Google, ``POST /v1beta/models/MODEL:generateContent`` and ``:streamGenerateContent``."""

    def streams(self, request: Request) -> bool:
        return request.path.endswith(":streamGenerateContent")

    def opening(self, request: Request, scenario: Scenario) -> bytes:
        return b""

    def chunk(self, request: Request, text: str, scenario: Scenario) -> bytes:
        # A blocked answer has a reason and no content.
        return b"" if scenario.ending is Ending.REFUSED else _data(self._response(request, [{"text": text}]))

    def closing(self, request: Request, scenario: Scenario) -> bytes:
        return _data(self._response(request, self._calls(scenario), **self._end(scenario)))

    def whole(self, request: Request, scenario: Scenario) -> Body:
        text = "" if scenario.ending is Ending.REFUSED else scenario.text
        return self._response(request, [{"text": text}, *self._calls(scenario)], **self._end(scenario))

    def error(self, scenario: Scenario) -> Body:
        names = {
            400: "INVALID_ARGUMENT",
            401: "UNAUTHENTICATED",
            403: "PERMISSION_DENIED",
            404: "NOT_FOUND",
            429: "RESOURCE_EXHAUSTED",
            503: "UNAVAILABLE",
        }
        name = names.get(scenario.status, "INTERNAL")
        return {"error": {"code": scenario.status, "message": scenario.message, "status": name}}

    def failure(self, scenario: Scenario) -> bytes:
        return _data({"error": {"code": 500, "message": scenario.message, "status": scenario.failure}})

    @staticmethod
    def _calls(scenario: Scenario) -> list[Body]:
        return [{"functionCall": {"name": scenario.tool[0], "args": scenario.tool[1]}}] if scenario.tool else []

    @staticmethod
    def _end(scenario: Scenario) -> Body:
        reasons = {Ending.REFUSED: "SAFETY", Ending.TOO_LONG: "MAX_TOKENS"}
        usage = {
            "promptTokenCount": scenario.input_tokens,
            "candidatesTokenCount": scenario.output_tokens,
            "totalTokenCount": scenario.input_tokens + scenario.output_tokens,
        }
        return {"finishReason": reasons.get(scenario.ending, "STOP"), "usageMetadata": usage}

    @staticmethod
    def _response(
        request: Request,
        parts: Sequence[Body],
        finishReason: str | None = None,  # noqa: N803 - its name on the wire
        **more: object,
    ) -> Body:
        candidate: Body = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
        if finishReason:
            candidate["finishReason"] = finishReason
        return {"candidates": [candidate], "modelVersion": model_of(request), **more}


class CodeAssist(GenerateContent):
    """Google's API behind a Google account, ``POST /v1internal:streamGenerateContent``: the same, wrapped."""

    def chunk(self, request: Request, text: str, scenario: Scenario) -> bytes:
        return self._wrapped(super().chunk(request, text, scenario))

    def closing(self, request: Request, scenario: Scenario) -> bytes:
        return self._wrapped(super().closing(request, scenario))

    def whole(self, request: Request, scenario: Scenario) -> Body:
        return {"response": super().whole(request, scenario)}

    @staticmethod
    def _wrapped(event: bytes) -> bytes:
        return event and _data({"response": json.loads(event.removeprefix(b"data: "))})


DIALECTS: Mapping[str, Dialect] = {
    "/v1/messages": Messages(),
    "/v1/responses": Responses(),
    "/v1/chat/completions": ChatCompletions(),
    "/v1internal:generateContent": CodeAssist(),
    "/v1internal:streamGenerateContent": CodeAssist(),
}
_GEMINI = GenerateContent()
_GEMINI_PATH = re.compile(r"/v1(?:beta)?/models/([^/:]+):(?:streamG|g)enerateContent")


def dialect_of(request: Request) -> Dialect | None:
    """The API that a request asks for an answer of a model; None when it asks for something else."""
    if request.method != "POST" or request.body is None:
        return None
    return _GEMINI if _GEMINI_PATH.fullmatch(request.path) else DIALECTS.get(request.path)


def model_of(request: Request) -> str:
    """The model that was asked for, as the client wrote it."""
    named = _GEMINI_PATH.fullmatch(request.path)
    return named[1] if named else str((request.body or {}).get("model", "fake"))


def _stream_member(request: Request) -> bool:
    return bool((request.body or {}).get("stream"))


def _openai_error(scenario: Scenario) -> Body:
    kinds = {
        401: ("invalid_request_error", "invalid_api_key"),
        404: ("invalid_request_error", "model_not_found"),
        429: ("requests", "rate_limit_exceeded"),
        503: ("server_error", "server_is_overloaded"),
    }
    server = "server_error" if scenario.status >= 500 else "invalid_request_error"
    kind, code = kinds.get(scenario.status, (server, None))
    return {"error": {"message": scenario.message, "type": kind, "param": None, "code": code}}


def _typed(event: Mapping[str, Any]) -> bytes:
    """A server-sent event that is named after its type."""
    return f"event: {event['type']}\n".encode() + _data(event)


def _data(event: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"
