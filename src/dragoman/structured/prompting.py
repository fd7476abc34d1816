"""What is said to a model: how to answer in JSON, and what was wrong with the last answer."""

from __future__ import annotations

from collections.abc import Iterable

from dragoman.structured.extraction import Extraction
from dragoman.structured.problems import shortened
from dragoman.structured.schema import OutputSchema, SchemaSource

MAX_FEEDBACK = 2000
"""Characters of what is said about an answer."""

_RULES = """\
Answer with exactly one JSON value that is valid against this JSON Schema, and write nothing else:

{schema}

- No words before or after the JSON, and no code fence around it.
- Give every required field. A field that is not required and has no value is null where the schema allows null, \
and is left out where it does not.
- Use only the fields, types and values that the schema allows, each field once."""

_LINES = """\
Answer with JSON values, one on each line, each valid against this JSON Schema, and write nothing else:

{schema}

- Each value stands on one line of its own, with no line end in it; no list around them, no commas between them.
- No words before, between or after them, and no code fence.
- Give every required field. Use only the fields, types and values that the schema allows."""

_AGAIN_JSON = "Send the whole JSON value again, corrected, and nothing else: no words around it, no code fence."
_AGAIN = "Answer again, the whole of it, so that this is put right."


def instructions(schema: SchemaSource | OutputSchema) -> str:
    """The text that asks for JSON, for a system prompt or the end of a prompt."""
    return _RULES.format(schema=OutputSchema.of(schema).text)


def prompt_for(prompt: str, schema: SchemaSource | OutputSchema) -> str:
    """`prompt` with the `instructions` after it, where models follow them best."""
    return f"{prompt.rstrip()}\n\n{instructions(schema)}"


def lines_prompt_for(prompt: str, schema: SchemaSource | OutputSchema) -> str:
    """`prompt`, and after it that many values are wanted, one on each line."""
    return f"{prompt.rstrip()}\n\n{_LINES.format(schema=OutputSchema.of(schema).text)}"


def feedback(found: Extraction, most: int = MAX_FEEDBACK) -> str:
    """What to tell the model about an answer in which there was no valid value; at most `most` characters."""
    if found.problems:
        faults = [f"at {problem.path}: expected {problem.expected}, got {problem.got}" for problem in found.problems]
        return _said("Your answer is JSON, but it does not match the schema.", faults, _AGAIN_JSON, most)
    return _said("Your answer could not be used.", [found.error or "it has no JSON value in it"], _AGAIN_JSON, most)


def correction(messages: Iterable[str], most: int = MAX_FEEDBACK, *, wants_json: bool = False) -> str:
    """What to tell the model when validators found fault with its answer; at most `most` characters."""
    return _said("Your answer could not be used.", list(messages), _AGAIN_JSON if wants_json else _AGAIN, most)


def _said(opening: str, faults: list[str], closing: str, most: int) -> str:
    room = most - len(opening) - len(closing) - 40
    lines: list[str] = []
    for number, fault in enumerate(faults):
        line = f"- {shortened(fault, max(room // max(len(faults), 1), 200))}"
        if sum(map(len, lines)) + len(line) + len(lines) > room and lines:
            lines.append(f"- and {len(faults) - number} more")
            break
        lines.append(shortened(line, max(room, 1)))
    return "\n".join([opening, *lines, "", closing])
