"""The library for programs without an event loop: `Dragoman` with the same methods, which wait.

::

    from dragoman.sync import Dragoman

    with Dragoman() as d:
        print(d.ask("claude", "What is a dragoman?").text)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Self, Unpack

from anyio.from_thread import BlockingPortal, start_blocking_portal

from dragoman.client import AskOptions
from dragoman.client import Dragoman as AsyncDragoman
from dragoman.config import Configuration
from dragoman.schemas import Event, LLMResponse, ProviderStatus


class Dragoman:
    """The twin of `dragoman.Dragoman`. Its engine runs in a thread of its own; any thread may call."""

    def __init__(self, configuration: Configuration | None = None) -> None:
        self._configuration = configuration
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._inner: AsyncDragoman | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            self._inner = self._portal.call(self._open)
            opened: AbstractContextManager[Any] = self._portal.wrap_async_context_manager(self._inner)
            stack.enter_context(opened)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def ask(self, provider: str | None, prompt: str, **options: Unpack[AskOptions]) -> LLMResponse:
        """See `dragoman.Dragoman.ask`. Ctrl-C cancels the call."""
        portal, inner = self._running()

        async def ask() -> LLMResponse:
            return await inner.ask(provider, prompt, **options)

        future = portal.start_task_soon(ask)
        try:
            return future.result()
        except BaseException:
            # KeyboardInterrupt lands here, in the caller's thread: the call must not go on without anyone waiting.
            future.cancel()
            raise

    def stream(self, provider: str | None, prompt: str, **options: Unpack[AskOptions]) -> Iterator[Event]:
        """See `dragoman.Dragoman.stream`. Leaving the iteration early cancels the call."""
        portal, inner = self._running()
        events = inner.stream(provider, prompt, **options)
        iterator = aiter(events)

        async def following() -> Event | None:
            return await anext(iterator, None)

        try:
            while (event := portal.call(following)) is not None:
                yield event
        finally:
            portal.call(events.aclose)

    def providers(self, *, deep: bool = False) -> list[ProviderStatus]:
        """See `dragoman.Dragoman.providers`."""
        portal, inner = self._running()

        async def ask() -> list[ProviderStatus]:
            return await inner.providers(deep=deep)

        return portal.call(ask)

    async def _open(self) -> AsyncDragoman:
        return AsyncDragoman(self._configuration)

    def _running(self) -> tuple[BlockingPortal, AsyncDragoman]:
        if self._portal is None or self._inner is None:
            raise RuntimeError("not open: use `with Dragoman() as d:`")
        return self._portal, self._inner
