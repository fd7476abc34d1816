"""The frame around every command: failures as exit codes and sentences, never as tracebacks."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dragoman.cli import output
from dragoman.cli.exits import CANCELLED, CLOSED_PIPE, EXIT_CODES, FAILURE, USAGE

if TYPE_CHECKING:
    from dragoman.schemas import ErrorInfo

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def guarded(command: Callable[[], int]) -> int:
    """Run a command; what it raises becomes a message on stderr and an exit code."""
    try:
        code = command()
        output.flush()
    except KeyboardInterrupt:
        return CANCELLED
    except BrokenPipeError:
        output.abandon()
        return CLOSED_PIPE
    except Exception as error:  # noqa: BLE001 - the outermost frame: a traceback would tell a person nothing
        return failed(error)
    return code


def failed(error: Exception) -> int:
    """Tell what ended a command on stderr; the exit code."""
    try:
        output.flush()
    except OSError:
        # Nothing can be written to it, such as when its disk is full: the interpreter shall not try again.
        output.abandon()
    return _explain(error)


def tell(error: OSError) -> int:
    """Tell what the system refused on stderr; the exit code."""
    from dragoman.engine.advice import said_by_system

    message, step = said_by_system(error)
    output.complain(message)
    if step:
        output.suggest(step)
    return FAILURE


def report(error: ErrorInfo) -> int:
    """Tell a failure on stderr; its exit code."""
    output.complain(error.message, kind=error.code.value)
    if error.next_step:
        output.suggest(error.next_step)
    return EXIT_CODES[error.code]


def run(main: Callable[[], Awaitable[int]]) -> int:
    """Run an asynchronous command. A signal to stop cancels it, so that it can stop its children."""
    import anyio

    return anyio.run(stoppable, main)


async def stoppable(act: Callable[[], Awaitable[int]]) -> int:
    """Do it; a signal to stop cancels it, and gives the exit code of that."""
    import anyio

    with anyio.CancelScope() as scope, on_stop(scope.cancel):
        return await act()
    return CANCELLED


@contextmanager
def on_stop(act: Callable[[], None]) -> Generator[None]:
    """While inside, a signal that asks this process to stop calls `act` instead. Needs asyncio's event loop."""
    loop = asyncio.get_running_loop()
    # Who started us may have them ignored, as nohup does.
    heard = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, act)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


def _explain(error: Exception) -> int:
    from dragoman.config import ConfigurationError
    from dragoman.schemas import LLMError
    from dragoman.store import StoreError

    match error:
        case ConfigurationError(problems=problems):
            for problem in problems:
                output.complain(problem)
            return USAGE
        case LLMError(info=info):
            return report(info)
        case StoreError(cause=cause, path=path, next_step=step):
            output.complain(f"{str(path)!r}: {cause}")
            output.suggest(step)
            return FAILURE
        case OSError():
            return tell(error)
        case _:
            from dragoman.log import logger

            logger.opt(exception=error).debug("the command failed")
            output.complain(repr(error), kind="internal")
            output.suggest("run it again with --log-level debug, and report what it shows")
            return FAILURE
