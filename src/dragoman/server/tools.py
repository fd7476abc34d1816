"""The tools as a client sees them. Every word here is in the context of every agent, so there are few.

A tool publishes only arguments that work, and its hints tell the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_types import Tool, ToolAnnotations

from dragoman.adapters.base import Profile

ASK = "ask_"
JOB = "job"
PROVIDERS = "providers"
JOB_ACTIONS = ("wait", "result", "cancel", "list")

INSTRUCTIONS = (
    "Dragoman asks the LLM command-line tools of this machine. Each ask_… tool puts one question to one of them and "
    "returns its answer; every call starts a new conversation, so put all it needs into the prompt. A slow answer "
    'comes back as status "running" with a job_id: collect it with `job`. When a call fails, do what its next_step '
    "says. "
    "`providers` tells which ones are ready."
)

# Without it Claude Code puts an answer of over 50,000 characters into a file and shows the model its first 2,000.
_WHOLE_ANSWERS: dict[str, Any] = {"anthropic/maxResultSizeChars": 200000}

_PROMPT = {"type": "string", "description": "The question or task, complete in itself."}
_MODEL = {"type": "string", "description": "Model, as this CLI names it. Default: its own choice."}
_SYSTEM_PROMPT = {"type": "string", "description": "Instructions above the prompt."}
_CWD = {"type": "string", "description": "Absolute path of a folder it may read. Without it, it sees no files."}
_TIMEOUT = {"type": "number", "exclusiveMinimum": 0, "description": "Give the call up after so many seconds."}


def ask_tool(profile: Profile, max_wait_s: float | None) -> Tool:
    """The tool that asks one provider. `max_wait_s` is the default; None: to the end."""
    properties: dict[str, Any] = {"prompt": _PROMPT}
    if profile.takes_model:
        properties["model"] = _MODEL
    if profile.takes_system_prompt:
        properties["system_prompt"] = _SYSTEM_PROMPT
    if profile.reads_folder:
        properties["cwd"] = _CWD
    properties["timeout_s"] = _TIMEOUT
    properties["max_wait_s"] = _max_wait(max_wait_s)
    reads_only = profile.strength.get("read-only") == "enforced"
    return _tool(
        f"{ASK}{profile.name}",
        f"Ask {profile.title}",
        f"{profile.description} It remembers nothing between calls{' and changes nothing' if reads_only else ''}. "
        f'Not done within max_wait_s: status "running" and a job_id for `{JOB}`.',
        properties,
        # Nobody can vouch for what a CLI leaves alone that is not held to reading.
        ToolAnnotations(
            read_only_hint=reads_only, destructive_hint=not reads_only, open_world_hint=profile.billing != "local"
        ),
        required=("prompt",),
        meta=_WHOLE_ANSWERS,
    )


def job_tool(max_wait_s: float | None) -> Tool:
    """The tool for answers that were not ready in time."""
    return _tool(
        JOB,
        "Jobs",
        "Answers that took longer than max_wait_s. wait: until the answer is there; result: what there is now; "
        "cancel: end the job; list: all jobs.",
        {
            "action": {"type": "string", "enum": list(JOB_ACTIONS)},
            "job_id": {"type": "string", "description": "For every action but list."},
            "max_wait_s": _max_wait(max_wait_s),
        },
        # Not read-only: `cancel` throws away what was not answered yet.
        ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False),
        required=("action",),
        meta=_WHOLE_ANSWERS,
    )


def providers_tool() -> Tool:
    """The tool that tells who can be asked."""
    return _tool(
        PROVIDERS,
        "Providers",
        "Which LLM CLIs are on this machine, whether each is ready, and what to do when it is not.",
        {"deep": {"type": "boolean", "description": "Run each CLI for its version and ask for its login anew."}},
        ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False),
    )


def _max_wait(default: float | None) -> Mapping[str, Any]:
    usual = "to the end" if default is None else f"{default:g}"
    return {"type": "number", "minimum": 0, "description": f"Seconds to wait for the answer. Default: {usual}."}


def _tool(
    name: str,
    title: str,
    description: str,
    properties: dict[str, Any],
    annotations: ToolAnnotations,
    *,
    required: tuple[str, ...] = (),
    meta: dict[str, Any] | None = None,
) -> Tool:
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    return Tool(
        name=name, title=title, description=description, input_schema=schema, annotations=annotations, _meta=meta
    )
