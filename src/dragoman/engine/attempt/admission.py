"""What a call asks, checked against what its provider can do and what is allowed."""

from __future__ import annotations

from pathlib import Path

from dragoman.adapters.base import Profile, Turn
from dragoman.config import LimitSettings
from dragoman.engine.attempt.workspaces import check_folder
from dragoman.engine.context import Context, Route, Saying
from dragoman.engine.layers.validation import Wanted
from dragoman.schemas import ErrorCode, ErrorInfo, LLMError, LLMRequest, error_from


def admitted(context: Context, route: Route, limits: LimitSettings, workspaces: tuple[Path, ...]) -> Turn:
    """The turn that the provider is to answer. `workspaces`: where folders may be, unless the provider has its own.

    Raises:
        LLMError: it is not allowed, or the provider has no use for it; nothing was started.
    """
    request, profile = context.request, route.adapter.profile
    _check_access(request, route)
    _check_options(request, route)
    if len(request.prompt.encode()) > limits.prompt_bytes:
        raise refusal(
            f"the prompt is over {limits.prompt_bytes} bytes",
            "shorten it, or raise `prompt_bytes` under [limits]",
            ErrorCode.PROMPT_TOO_LARGE,
        )
    cwd = None
    if request.cwd is not None:
        own = route.settings.workspaces
        cwd = check_folder(request.cwd, workspaces if own is None else own)
    saying = context.saying or Saying(context.prompt)
    wanted = context.wanted
    system = context.thread.system_prompt if request.system_prompt is None else request.system_prompt
    return Turn(
        id=context.call.id,
        prompt=saying.prompt,
        system=system if profile.takes_system_prompt else None,
        model=request.model or route.settings.model,
        access=request.access,
        cwd=cwd,
        session=saying.session,
        history=saying.history,
        schema=wanted.native.schema if wanted and wanted.native else None,
        effort=request.effort,
        temperature=_temperature(request, profile, wanted),
        max_tokens=request.max_tokens,
        detached=request.background and context.call.is_kept,
    )


def refusal(message: str, next_step: str, code: ErrorCode = ErrorCode.POLICY) -> LLMError:
    """The error for what is not even tried."""
    return error_from(ErrorInfo.of(code, message, next_step=next_step))


def _check_access(request: LLMRequest, route: Route) -> None:
    strength, configured = route.adapter.profile.strength, route.settings.access
    if request.access not in strength:
        raise refusal(
            f"{route.name} cannot be held to access {request.access!r}",
            f"ask with one of: {', '.join(strength)}",
        )
    if _rank(request.access) > _rank(configured):
        raise refusal(
            f"access {request.access!r} is more than the configured {configured!r}",
            f"set `access` under [providers.{route.name}] in your own configuration file",
        )


def _check_options(request: LLMRequest, route: Route) -> None:
    profile = route.adapter.profile
    for name, given, taken in (
        ("model", request.model, profile.takes_model),
        ("system_prompt", request.system_prompt, profile.takes_system_prompt),
        ("cwd", request.cwd, profile.reads_folder),
        ("effort", request.effort, bool(profile.efforts)),
        ("temperature", request.temperature, profile.takes_temperature),
        ("max_tokens", request.max_tokens, profile.takes_max_tokens),
        ("background", request.background or None, profile.detaches),
    ):
        if given is not None and not taken:
            raise refusal(f"{route.name} has no use for `{name}`", f"leave out `{name}`", ErrorCode.BAD_REQUEST)
    if request.effort is not None and request.effort not in profile.efforts:
        raise refusal(
            f"{route.name} has no effort {request.effort!r}",
            f"use one of: {', '.join(profile.efforts)}",
            ErrorCode.BAD_REQUEST,
        )


def _temperature(request: LLMRequest, profile: Profile, wanted: Wanted | None) -> float | None:
    if request.temperature is not None or wanted is None or wanted.schema is None:
        return request.temperature
    return 0.0 if profile.takes_temperature and "temperature" not in wanted.unsupported else None


def _rank(access: str) -> int:
    return ("read-only", "edit", "full").index(access)
