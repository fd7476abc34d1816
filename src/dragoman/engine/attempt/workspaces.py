"""Which folder a child may look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dragoman.schemas import ErrorCode, error_of


def default_workspaces(folder: Path) -> tuple[Path, ...]:
    """The folder the program was started in, unless that is the root or a home: some clients start servers there."""
    folder = folder.resolve()
    return () if _too_wide(folder) else (folder,)


def check_folder(folder: Path, workspaces: Sequence[Path], *, what: str = "cwd") -> Path:
    """`folder` without links and inside one of the workspaces. `what`: how the caller knows it.

    Raises:
        LLMError: it is no folder (code ``bad_request``), or may not be looked at (code ``policy``).
    """
    try:
        expanded = folder.expanduser()
        if not expanded.is_absolute():
            if not workspaces:
                raise _error(ErrorCode.BAD_REQUEST, f"{what} {str(folder)!r} is relative", "give an absolute path")
            expanded = workspaces[0] / expanded
        real = expanded.resolve()
        is_folder = real.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        # The home of nobody, a name that is too long, links in a circle, a NUL.
        raise _no_folder(what, folder) from error
    if not is_folder:
        raise _no_folder(what, folder)
    allowed = [workspace.expanduser().resolve() for workspace in workspaces]
    if not any(real.is_relative_to(workspace) for workspace in allowed):
        listed = ", ".join(map(str, allowed)) or "none"
        raise _error(
            ErrorCode.POLICY,
            f"{what} {str(real)!r} is outside the workspaces ({listed})",
            "start Dragoman in that folder, or add it to `workspaces` in your configuration file",
        )
    if _too_wide(real) and real not in allowed:
        raise _error(
            ErrorCode.POLICY, f"{what} {str(real)!r} is the root or the home folder", "name a project folder inside it"
        )
    return real


def new_file(path: str, workspaces: Sequence[Path]) -> Path:
    """Where a file may be written: inside one of the workspaces, whatever links say.

    Raises:
        LLMError: its folder is none (code ``bad_request``), or nothing may be written there (code ``policy``).
    """
    if "\0" in path or not Path(path).name:
        raise _error(ErrorCode.BAD_REQUEST, f"{path!r} names no file", "give the path of a new file")
    return check_folder(Path(path).parent, workspaces, what="folder") / Path(path).name


def _too_wide(folder: Path) -> bool:
    return folder == Path(folder.anchor) or folder == Path.home().resolve()


def _no_folder(what: str, folder: Path) -> Exception:
    return _error(ErrorCode.BAD_REQUEST, f"{what} {str(folder)!r} is not a folder", "give a folder that exists")


def _error(code: ErrorCode, message: str, next_step: str) -> Exception:
    return error_of(code, message, next_step=next_step)
