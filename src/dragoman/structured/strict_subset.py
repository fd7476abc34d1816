"""OpenAI's strict subset of JSON Schema: what breaks its rules, and a schema moved into it.

The rules are those of the public guide to structured outputs, as of 2026. They are checked here because a schema that
breaks one costs a process and a request before it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from dragoman.structured.native import Native, Schema, accepts_null, drop_nulls, wrap
from dragoman.structured.pointers import resolved
from dragoman.structured.problems import path_of, shortened
from dragoman.structured.schema import OutputSchema, SchemaSource

MAX_LEVELS = 10
MAX_PROPERTIES = 5000
MAX_NAMES = 120_000
"""Characters of all names of properties and definitions, and of all enum and const values."""
MAX_ENUM_VALUES = 1000
MAX_LONG_ENUM = 15_000
"""Characters of one enum of more than 250 strings."""
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})

_EVERYWHERE = {"description", "title", "$defs", "definitions"}
_OF_TYPE: Mapping[str, set[str]] = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"pattern", "format"},
    "number": {"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "integer": {"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "boolean": set(),
    "null": set(),
}

_Path = tuple[str | int, ...]


def strict_problems(schema: SchemaSource | OutputSchema) -> list[str]:
    """What OpenAI's strict mode would refuse, one sentence for each; empty when it takes the schema."""
    root = OutputSchema.of(schema).schema
    if isinstance(root, bool):
        return ["at $: it must be an object with properties, not a boolean"]
    found = _Lint(root)
    if root.get("type") != "object":
        found.say((), "the root must be of type object")
    if "anyOf" in root:
        found.say((), "the root must not be an anyOf")
    found.look((), root, 0, frozenset())
    for keyword in ("$defs", "definitions"):
        for name, part in cast("Mapping[str, object]", root.get(keyword, {})).items():
            found.characters += len(name)
            found.look((keyword, name), part, 0, frozenset())
    return found.all()


class _Lint:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._problems: list[str] = []
        self._counted: set[int] = set()
        self._seen: dict[int, int] = {}
        self._properties = 0
        self._enum_values = 0
        self.characters = 0

    def say(self, path: _Path, problem: str) -> None:
        self._problems.append(f"at {path_of(path)}: {problem}")

    def all(self) -> list[str]:
        """Everything that was found, the sums last."""
        for what, count, most in (
            ("properties", self._properties, MAX_PROPERTIES),
            ("enum values", self._enum_values, MAX_ENUM_VALUES),
            ("characters of names and of enum and const values", self.characters, MAX_NAMES),
        ):
            if count > most:
                self.say((), f"it has {count:,} {what}; at most {most:,} are taken")
        return list(dict.fromkeys(self._problems))

    def look(self, path: _Path, schema: object, levels: int, within: frozenset[int]) -> None:
        if not isinstance(schema, Mapping):
            self.say(path, "a schema must be an object, not a boolean")
            return
        here = cast("Mapping[str, Any]", schema)
        # Recursion is allowed, and what was seen as deep as here, or deeper, has nothing new.
        if id(here) in within or self._seen.get(id(here), -1) >= levels:
            return
        self._seen[id(here)] = levels
        within |= {id(here)}
        self._count(path, here)
        if "$ref" in here:
            self._reference(path, here, levels, within)
        elif "anyOf" in here:
            self._keywords(path, here, {"anyOf", "type"} if path else {"anyOf", "type", *_OF_TYPE["object"]})
            for index, part in enumerate(here["anyOf"]):
                self.look((*path, "anyOf", index), part, levels, within)
        else:
            self._typed(path, here, levels, within)

    def _reference(self, path: _Path, here: Mapping[str, Any], levels: int, within: frozenset[int]) -> None:
        if len(here) > 1:
            self.say(path, "nothing may stand beside a $ref")
        target = resolved(str(here["$ref"]), self._root)
        if target is None:
            self.say(path, "a $ref must be '#' or begin with '#/'")
        else:
            self.look(path, target, levels, within)

    def _typed(self, path: _Path, here: Mapping[str, Any], levels: int, within: frozenset[int]) -> None:
        given = here.get("type")
        kinds = cast("list[str]", [given] if isinstance(given, str) else given or [])
        if not kinds:
            self.say(path, "it must have a type")
        self._keywords(path, here, {"type", "enum", "const"}.union(*(_OF_TYPE[kind] for kind in kinds)))
        if "format" in here and here["format"] not in FORMATS:
            self.say(path, f"the format {shortened(str(here['format']), 40)!r} is not supported")
        if "object" in kinds or "array" in kinds:
            levels += 1
            if levels > MAX_LEVELS:
                self.say(path, f"it is nested more than {MAX_LEVELS} levels deep")
                return
        if "object" in kinds:
            self._object(path, here, levels, within)
        if "array" in kinds:
            if "items" not in here:
                self.say(path, "an array must have items")
            else:
                self.look((*path, "items"), here["items"], levels, within)

    def _object(self, path: _Path, here: Mapping[str, Any], levels: int, within: frozenset[int]) -> None:
        properties = cast("Mapping[str, object]", here.get("properties", {}))
        if here.get("additionalProperties") is not False:
            self.say(path, "additionalProperties must be false")
        for name in sorted(set(properties) - set(here.get("required", ()))):
            self.say(path, f"{shortened(name, 60)!r} must be required; let it be null instead")
        for name in sorted(set(here.get("required", ())) - set(properties)):
            self.say(path, f"{shortened(name, 60)!r} is required and no property")
        for name, part in properties.items():
            self.look((*path, "properties", name), part, levels, within)

    def _keywords(self, path: _Path, here: Mapping[str, Any], allowed: set[str]) -> None:
        for keyword in here:
            if keyword not in allowed and keyword not in _EVERYWHERE:
                self.say(path, f"{keyword!r} is not supported here")

    def _count(self, path: _Path, here: Mapping[str, Any]) -> None:
        if id(here) in self._counted:
            return
        self._counted.add(id(here))
        properties = cast("Mapping[str, object]", here.get("properties", {}))
        self._properties += len(properties)
        values = cast("list[object]", here.get("enum", []))
        size = sum(len(value) for value in values if isinstance(value, str))
        self._enum_values += len(values)
        constant = here.get("const")
        self.characters += size + sum(map(len, properties)) + (len(constant) if isinstance(constant, str) else 0)
        if len(values) > 250 and size > MAX_LONG_ENUM:
            self.say(path, f"an enum of more than 250 strings may have {MAX_LONG_ENUM:,} characters, not {size:,}")


class _NotLosslessError(Exception):
    """The schema says something that the subset cannot."""


_WORTHLESS = (
    "title",
    "default",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "discriminator",
    "$comment",
)
"""Keywords that decide nothing."""

_IN_WORDS: Mapping[str, str] = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minProperties": "at least {} properties that are not null",
    "maxProperties": "at most {} properties that are not null",
    "uniqueItems": "no two items are equal",
    "format": "the format is {}",
}
"""Keywords that the subset lacks, and that can be told in the description: the answer is checked against them."""

_KEPT = {"type", "enum", "const", "description", "$defs", "definitions", "$ref", "anyOf"}.union(*_OF_TYPE.values())


def to_strict(schema: SchemaSource | OutputSchema) -> Native | None:
    """The schema moved into the strict subset; None when that would lose something, and the model is asked in words.

    What may be left out becomes required and may be null, and such nulls are taken out of the answer. Bounds that the
    subset lacks, such as ``maxLength``, are told in the description; our own check enforces them.
    """
    wrapped = wrap(schema)
    if wrapped is None:
        return None
    original = wrapped.schema
    try:
        strict = _Mover(original).moved(original)
    except _NotLosslessError:
        return None
    if strict_problems(strict):
        return None

    def unwrap(value: object) -> object:
        return wrapped.unwrap(drop_nulls(value, original))

    return Native(strict, unwrap)


class _Mover:
    def __init__(self, root: Schema) -> None:
        self._root = root

    def moved(self, schema: object) -> Schema:
        """`schema` in the subset. Raises `_NotLosslessError`."""
        if not isinstance(schema, dict):
            raise _NotLosslessError
        here = {key: part for key, part in cast("Schema", schema).items() if key not in _WORTHLESS}
        here = self._one_of(self._all_of(here))
        self._say_in_words(here)
        if not set(here) <= _KEPT:
            raise _NotLosslessError
        for keyword in ("$defs", "definitions"):
            if keyword in here:
                here[keyword] = {name: self.moved(part) for name, part in here[keyword].items()}
        if "$ref" in here and len(here) > 1:
            here["anyOf"] = [{"$ref": here.pop("$ref")}]
        if "anyOf" in here:
            if not set(here) <= {"anyOf", "description", "$defs", "definitions"}:
                raise _NotLosslessError
            here["anyOf"] = [self.moved(part) for part in here["anyOf"]]
            return here
        return here if "$ref" in here else self._typed(here)

    def _typed(self, here: Schema) -> Schema:
        if "type" not in here:
            here["type"] = _type_of(here)
        kinds = here["type"]
        if isinstance(kinds, list):
            plain = [kind for kind in cast("list[str]", kinds) if kind not in ("object", "array")]
            if len(plain) < len(cast("list[str]", kinds)):
                return self._split(here, cast("list[str]", kinds))
        if kinds == "object":
            return self._object(here)
        if kinds == "array":
            here["items"] = self.moved(here.get("items"))
        return here

    def _split(self, here: Schema, kinds: list[str]) -> Schema:
        """A type among several that is a container gets an alternative of its own."""
        own = {keyword for allowed in _OF_TYPE.values() for keyword in allowed}
        shared = {key: part for key, part in here.items() if key not in own and key != "type"}
        if not set(shared) <= {"description"}:
            raise _NotLosslessError
        parts = [
            self._typed({"type": kind} | {key: here[key] for key in here if key in _OF_TYPE[kind]}) for kind in kinds
        ]
        return shared | {"anyOf": parts}

    def _object(self, here: Schema) -> Schema:
        if here.get("additionalProperties", False) is not False:
            raise _NotLosslessError  # any names: the subset has none
        if "properties" not in here and here.get("additionalProperties") is not False:
            raise _NotLosslessError
        properties, required = cast("Schema", here.get("properties", {})), cast("list[str]", here.get("required", []))
        if not set(required) <= set(properties):
            raise _NotLosslessError
        here["properties"] = {
            name: self.moved(part) if name in required else self._nullable(part) for name, part in properties.items()
        }
        return here | {"required": [*properties], "additionalProperties": False}

    def _nullable(self, schema: object) -> Schema:
        moved = self.moved(schema)
        if accepts_null(moved, self._root):
            return moved
        kinds = moved.get("type")
        if kinds and not {"enum", "const"} & set(moved) and kinds not in ("object", "array"):
            return moved | {"type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}
        description = {"description": moved.pop("description")} if "description" in moved and len(moved) > 1 else {}
        parts = moved["anyOf"] if set(moved) == {"anyOf"} else [moved]
        return description | {"anyOf": [*parts, {"type": "null"}]}

    def _all_of(self, here: Schema) -> Schema:
        """An ``allOf`` of one is that one, as long as the two do not speak of the same things."""
        parts = here.pop("allOf", None)
        if parts is None:
            return here
        if len(parts) != 1 or not isinstance(parts[0], dict):
            raise _NotLosslessError
        inner = {key: part for key, part in cast("Schema", parts[0]).items() if key not in _WORTHLESS}
        if (set(inner) & set(here)) - {"description"}:
            raise _NotLosslessError
        return self._all_of(inner | here)

    def _one_of(self, here: Schema) -> Schema:
        """A ``oneOf`` whose alternatives exclude each other is an ``anyOf``."""
        if "oneOf" not in here:
            return here
        if "anyOf" in here or not self._exclude_each_other(here["oneOf"]):
            raise _NotLosslessError
        return {("anyOf" if key == "oneOf" else key): part for key, part in here.items()}

    def _exclude_each_other(self, parts: list[object]) -> bool:
        seen = [cast("Schema", self._followed(part)) for part in parts if isinstance(self._followed(part), dict)]
        if len(seen) < len(parts):
            return False
        kinds = [part.get("type") for part in seen]
        if all(isinstance(kind, str) for kind in kinds) and len(set(kinds)) == len(kinds):
            return not {"integer", "number"} <= set(kinds)
        tags = [dict(_tags(part)) for part in seen]
        shared = set(tags[0]).intersection(*tags[1:]) if tags else set[str]()
        return any(len({repr(tag[name]) for tag in tags}) == len(tags) for name in shared)

    def _followed(self, schema: object) -> object:
        for _ in range(8):
            if not isinstance(schema, dict) or "$ref" not in schema:
                return cast("object", schema)
            schema = resolved(str(cast("Schema", schema)["$ref"]), self._root)
        return None

    def _say_in_words(self, here: Schema) -> None:
        said = [here["description"]] if here.get("description") else []
        for keyword, words in _IN_WORDS.items():
            if keyword in here and not (keyword == "format" and here[keyword] in FORMATS):
                value = here.pop(keyword)
                said += [] if value is False else [words.format(value)]
        if said:
            here["description"] = "; ".join(map(str, said))


def _tags(schema: Schema) -> Iterator[tuple[str, object]]:
    required = schema.get("required", ())
    for name, part in cast("dict[str, object]", schema.get("properties", {})).items():
        if name in required and isinstance(part, dict) and "const" in part:
            yield name, cast("Schema", part)["const"]


def _type_of(here: Schema) -> str | list[str]:
    """The type that a schema without one has, by its values or its keywords."""
    values = here.get("enum") or ([here["const"]] if "const" in here else [])
    names: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    kinds = sorted({names.get(type(cast("object", value)), "") for value in values})
    if kinds and "" not in kinds:
        return kinds[0] if len(kinds) == 1 else kinds
    fitting = [kind for kind in ("object", "array", "string") if _OF_TYPE[kind] & set(here)]
    if values or len(fitting) != 1:
        raise _NotLosslessError
    return fitting[0]
