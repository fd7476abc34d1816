"""Validators by name: ours, those that a program registers, those that other distributions bring."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any, TypeVar, cast

from dragoman.schemas import ErrorCode, LLMError, error_of
from dragoman.structured.problems import shown
from dragoman.structured.validators import BUILT_IN, PASSED, AsyncValidationStrategy, Verdict, failed

GROUP = "dragoman.validators"

Judged = Verdict | bool | str | None
"""What a function of one's own may give: a verdict; True or None: passed; False or a message: failed."""

Check = Callable[..., Judged | Awaitable[Judged]]
"""A function of the answer's text and, when it takes a second argument, of what a spec has after its colon."""

ValidatorSource = str | AsyncValidationStrategy | type[AsyncValidationStrategy] | Check
"""A spec such as ``regex:^ok``, a validator, a class of them, or a function."""

T = TypeVar("T")

_known: dict[str, Any] = {kind.name: kind for kind in BUILT_IN}


def validator(name: str) -> Callable[[T], T]:
    """Registers a class or a function under `name`, so that ``name`` and ``name:argument`` are specs of it::

        @validator("short")
        def short(text: str) -> bool:
            return len(text) < 80

    A function may be async. One that is not is run in the event loop, so it must be quick.

    Raises:
        ValueError: the name has a colon or white space in it, or is one of Dragoman's own.
    """
    if not name or ":" in name or any(character.isspace() for character in name):
        raise ValueError(f"{name!r} cannot be a validator's name: it has a colon or white space in it, or is empty")
    if any(name == kind.name for kind in BUILT_IN):
        raise ValueError(f"{name!r} is the name of a validator of Dragoman's own; choose another")

    def register(check: T) -> T:
        _known[name] = check
        return check

    return register


def validators_from(sources: Iterable[ValidatorSource]) -> tuple[AsyncValidationStrategy, ...]:
    """The validators that specs, classes and functions stand for, in their order.

    Raises:
        LLMError: ``bad_request``: a name is not known, or an argument cannot be used.
    """
    return tuple(_validator_from(source) for source in sources)


async def judge(text: str, validators: Iterable[AsyncValidationStrategy]) -> list[str]:
    """What the validators find wrong with `text`, each message with what to do better; empty when it passes.

    Raises:
        LLMError: ``internal``: a validator itself broke; the message names it.
    """
    messages: list[str] = []
    for each in validators:
        try:
            verdict = await each.validate(text)
        except ValueError as error:
            verdict = failed(str(error))
        except LLMError:
            raise
        except Exception as error:
            raise _broken(each.name or type(each).__name__, repr(error)) from error
        if not verdict.ok:
            # Whatever else is asked of an empty answer would only repeat it.
            if messages and not text.strip():
                break
            messages.append(verdict.message or f"it does not pass {each.name or type(each).__name__!r}")
    return messages


class FunctionValidator(AsyncValidationStrategy):
    """A function as a validator."""

    def __init__(self, name: str, check: Check, argument: str | None = None) -> None:
        self.name = name  # pyright: ignore[reportAttributeAccessIssue, reportIncompatibleVariableOverride] - of the class elsewhere, of each object here
        self._check = check
        self._arguments = () if argument is None else (argument,)

    async def validate(self, text: str) -> Verdict:
        """See the class."""
        given = self._check(text, *self._arguments)
        return _verdict(self.name, await given if inspect.isawaitable(given) else given)


def _verdict(name: str, judged: object) -> Verdict:
    if isinstance(judged, Verdict):
        return judged
    if judged is False:
        return failed(f"the answer does not pass the check {name!r}")
    if judged is None or judged is True or judged == "":
        return PASSED
    if isinstance(judged, str):
        return failed(judged)
    raise TypeError(f"it gave {shown(judged)}; a validator gives a Verdict, a bool, a message or None")


def _validator_from(source: ValidatorSource) -> AsyncValidationStrategy:
    if isinstance(source, str):
        name, colon, argument = source.partition(":")
        name = name.strip()
        return _made(name, _found(name), argument if colon else None)
    if isinstance(source, AsyncValidationStrategy):
        return source
    return _made(getattr(source, "name", "") or getattr(source, "__name__", "validator"), source, None)


def _made(name: str, found: Any, argument: str | None) -> AsyncValidationStrategy:  # noqa: ANN401 - a stranger's
    if isinstance(found, AsyncValidationStrategy):
        if argument is not None:
            raise _unusable(name, "it takes no argument")
        return found
    if isinstance(found, type):
        return _instance(name, found, argument)
    if not callable(found):
        raise _unusable(name, f"{shown(found)} is no validator: it must be a class or a function")
    least, most = _parameters(found)
    if argument is not None and most < 2:
        raise _unusable(name, "it takes no argument")
    if argument is None and least > 1:
        raise _unusable(name, f"it needs an argument; write it like {name}:…")
    return FunctionValidator(name, cast("Check", found), argument)


def _instance(name: str, kind: type, argument: str | None) -> AsyncValidationStrategy:
    if not issubclass(kind, AsyncValidationStrategy):
        raise _unusable(name, f"{kind.__name__} is not an AsyncValidationStrategy")
    least, most = _parameters(kind)
    if argument is None and least > 0:
        raise _unusable(name, f"it needs an argument; write it like {name}:…")
    if argument is not None and most < 1:
        raise _unusable(name, "it takes no argument")
    try:
        return kind(*(() if argument is None else (argument,)))
    except ValueError as error:
        raise _unusable(name, str(error)) from None


def _parameters(function: Callable[..., object]) -> tuple[int, int]:
    """How many positional arguments it must get, and how many it can."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    plain = [parameter for parameter in parameters if parameter.kind in kinds]
    least = sum(parameter.default is inspect.Parameter.empty for parameter in plain)
    is_open = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    return least, 99 if is_open else len(plain)


def _found(name: str) -> object:
    if name in _known:
        return _known[name]
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name in points:
        try:
            _known[name] = points[name].load()
        except Exception as error:
            raise _unusable(name, f"{points[name].value} did not load: {error!r}") from error
        return _known[name]
    names = sorted({*_known, *points})
    near = get_close_matches(name, names, 1)
    meant = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
    raise _unusable(name, f"there is none of this name; {meant}")


def _unusable(name: str, reason: str) -> LLMError:
    return error_of(
        ErrorCode.BAD_REQUEST,
        f"The validator {name!r} cannot be used: {reason}",
        next_step="Write it like not-empty, json, regex:^ok, length:1..200, contains:foo or python.",
    )


def _broken(name: str, reason: str) -> LLMError:
    return error_of(
        ErrorCode.INTERNAL,
        f"The validator {name!r} broke: {reason}.",
        next_step="Correct the validator; the answer was not judged.",
    )
